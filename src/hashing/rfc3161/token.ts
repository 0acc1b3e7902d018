import { createHash } from 'node:crypto'
import type { Instant } from '../../domain/instant.js'
import { DerError, hexOf, sameBytes } from '../der.js'
import type { Digest } from './algorithms.js'
import type { Anchors } from './anchors.js'
import { type Certificate, pemOf } from './certificate.js'
import { TimestampError } from './errors.js'
import { StructureError } from './fields.js'
import { findPath, refuseStrays } from './path.js'
import { readSignedData } from './signed-data.js'
import { checkProfile, checkSignature, essPathRule } from './signer.js'
import { readTstInfo, type TstInfo } from './tst-info.js'

/** One certificate of the path that a timestamp was verified with. */
export interface PathCertificate {
  /** Distinguished names (RFC 4514). */
  readonly subject: string
  readonly issuer: string
  /** In hex. */
  readonly serial: string
  readonly notBefore: Instant
  readonly notAfter: Instant
  /** SHA-256 of its DER, in upper-case hex with colons, as `openssl x509 -fingerprint` prints it. */
  readonly fingerprint: string
}

/** What a timestamp says, all of it checked. */
export interface VerifiedToken {
  /** genTime, with its fraction. */
  readonly time: Instant
  /** How far the time may be off, in milliseconds; null when the authority does not say. */
  readonly accuracyMs: number | null
  /** The timestamp's serial number, in hex. */
  readonly serial: string
  /** Distinguished name (RFC 4514) of the signer. */
  readonly signer: string
  /** OID of the authority's policy. */
  readonly policy: string
  /** In hex; null when there is none. */
  readonly nonce: string | null
  /** PEM of the certificates in the token. */
  readonly certificates: string
  /** From the signer to the trust anchor, which may be the same. */
  readonly chain: readonly PathCertificate[]
}

/** Of what a timestamp is for. */
export type ImprintAlgorithm = Digest

function pathCertificate(certificate: Certificate): PathCertificate {
  const { subject, issuer, serial, notBefore, notAfter, raw } = certificate
  const digest = createHash('sha256').update(raw).digest('hex').toUpperCase()
  const fingerprint = digest.replace(/..(?!$)/g, '$&:')
  return { subject, issuer, serial, notBefore, notAfter, fingerprint }
}

/** Runs a check; what is no DER, or has another structure, is refused in words of the token. */
function read<T>(check: () => T): T {
  try {
    return check()
  } catch (cause) {
    if (cause instanceof DerError) {
      throw new TimestampError('malformed_der', `the token is damaged: ${cause.message}`, { cause })
    }
    if (cause instanceof StructureError) {
      const what = `the token is not as RFC 3161 wants it: ${cause.message}`
      throw new TimestampError('malformed_token', what, { cause })
    }
    throw cause
  }
}

function checkImprint(info: TstInfo, imprint: Uint8Array, hashAlgorithm: ImprintAlgorithm): void {
  if (info.hashAlgorithm !== hashAlgorithm) {
    const what = `the timestamp is not for a digest of the algorithm ${hashAlgorithm}`
    throw new TimestampError('wrong_imprint_algorithm', what)
  }
  if (!sameBytes(info.imprint, imprint)) {
    throw new TimestampError('wrong_imprint', 'the timestamp is for something else')
  }
}

/**
 * Verifies a TimeStampToken (RFC 3161, section 2.4.2), its certificates at genTime.
 * @param token DER
 * @param imprint digest that the token must be for
 * @throws TimestampError of the first stage that does not pass, in the order of `TimestampStage`
 */
export function verifyToken(
  token: Uint8Array,
  imprint: Uint8Array,
  hashAlgorithm: ImprintAlgorithm,
  anchors: Anchors,
): VerifiedToken {
  return read(() => verify(token, imprint, hashAlgorithm, anchors))
}

function verify(
  token: Uint8Array,
  imprint: Uint8Array,
  hashAlgorithm: ImprintAlgorithm,
  anchors: Anchors,
): VerifiedToken {
  const data = readSignedData(token)
  const info = readTstInfo(data.content)
  checkImprint(info, imprint, hashAlgorithm)
  const trusted = anchors.certificates
  const { certificate, attributes } = checkSignature(data, [...data.certificates, ...trusted])
  checkProfile(certificate, info.tsa)
  const rule = essPathRule(attributes)
  const path = findPath(certificate, data.certificates, trusted, info.time, rule)
  refuseStrays(data.certificates, trusted)
  return {
    time: info.time,
    accuracyMs: info.accuracyMs,
    serial: hexOf(info.serialNode),
    signer: certificate.subject,
    policy: info.policy,
    nonce: info.nonceNode === undefined ? null : hexOf(info.nonceNode),
    certificates: pemOf(data.certificates),
    chain: path.map(pathCertificate),
  }
}
