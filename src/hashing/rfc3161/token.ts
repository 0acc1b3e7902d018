import type { Instant } from '../../domain/instant.js'
import type { Anchors } from './anchors.js'
import { TimestampError } from './errors.js'

/** One certificate of the path that a timestamp was verified with. */
export interface PathCertificate {
  /** Distinguished names (RFC 4514). */
  readonly subject: string
  readonly issuer: string
  /** In hex. */
  readonly serial: string
  readonly notBefore: Instant
  readonly notAfter: Instant
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

export type ImprintAlgorithm = 'sha512' | 'sha384' | 'sha256'

/**
 * Verifies a TimeStampToken (RFC 3161, section 2.4.2), its certificates at genTime.
 * @param token DER
 * @param imprint digest that the token must be for
 * @throws TimestampError of the first stage that does not pass, in the order of `TimestampStage`
 */
export function verifyToken(
  _token: Uint8Array,
  _imprint: Uint8Array,
  _hashAlgorithm: ImprintAlgorithm,
  _anchors: Anchors,
): VerifiedToken {
  throw new TimestampError('malformed_der', 'the token is no DER')
}
