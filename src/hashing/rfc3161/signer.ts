/** Who signed a token: which certificate, whether the signature is right, and whether it may. */
import { createHash } from 'node:crypto'
import { type DerNode, oidOf, sameBytes, TAG } from '../der.js'
import { digestOf, fits, isSignature, schemeOf, weaknessOf } from './algorithms.js'
import { DIRECTORY_NAME, readSignedAttributes, type SignedAttributes, tells } from './attributes.js'
import { type Certificate, KEY_USAGE_BITS } from './certificate.js'
import { TimestampError } from './errors.js'
import { nameKey } from './names.js'
import { type PathRule, TIME_STAMPING } from './path.js'
import { type SignedData, type SignerId, TST_INFO } from './signed-data.js'

const SIGNER_USAGES: ReadonlySet<number> = new Set([
  KEY_USAGE_BITS.digitalSignature,
  KEY_USAGE_BITS.nonRepudiation,
])

function isSigner(id: SignerId, certificate: Certificate): boolean {
  if ('subjectKeyId' in id) {
    const { subjectKeyId } = certificate
    return subjectKeyId !== undefined && sameBytes(subjectKeyId, id.subjectKeyId)
  }
  return (
    sameBytes(id.serial.raw, certificate.serialNode.raw) &&
    sameBytes(id.issuer.raw, certificate.issuerNode.raw)
  )
}

/** Among several with the identifier, ESSCertID tells which one it is. */
function signerAmong(
  id: SignerId,
  certificates: readonly Certificate[],
  attributes: SignedAttributes,
): Certificate {
  const possible = certificates.filter((certificate) => isSigner(id, certificate))
  if (possible.length === 0) {
    const what =
      "the signer's certificate is neither in the token nor among the trust anchors; add it to the anchors"
    throw new TimestampError('missing_signer_certificate', what)
  }
  const told = possible.find((certificate) =>
    attributes.essCertIds.every(([first]) => first !== undefined && tells(first, certificate)),
  )
  if (told === undefined) {
    const what = 'the signed attribute signingCertificate is of another certificate than the signer'
    throw new TimestampError('wrong_ess_cert_id', what)
  }
  return told
}

/**
 * Checks the signature of a token (RFC 5652, section 5.6).
 * @param certificates those of the token, and the anchors
 * @returns the signer's certificate, and the signed attributes
 * @throws StructureError
 * @throws TimestampError of the stage `signature`
 */
export function checkSignature(
  { digestAlgorithm, content, signer }: SignedData,
  certificates: readonly Certificate[],
): { certificate: Certificate; attributes: SignedAttributes } {
  const digest = digestOf(signer.digestAlgorithm)
  const scheme = schemeOf(signer.signatureAlgorithm)
  const unknown = (what: string): TimestampError => new TimestampError('unknown_algorithm', what)
  if (digest === undefined || digestOf(digestAlgorithm) !== digest) {
    throw unknown(
      'the digest algorithms of the token differ, or are not SHA-256, SHA-384 or SHA-512',
    )
  }
  if (scheme === undefined) {
    const oid = oidOf(signer.signatureAlgorithm.children[0])
    throw unknown(`the token is signed with an algorithm, or parameters, not taken here: ${oid}`)
  }
  if ((scheme.digest ?? digest) !== digest) {
    throw unknown(`the signature is made with ${scheme.digest}, but the digest with ${digest}`)
  }

  const attributes = readSignedAttributes(signer.signedAttributes)
  if (attributes.contentType !== TST_INFO) {
    const what = 'the signed attribute contentType is not TSTInfo'
    throw new TimestampError('wrong_content_type_attribute', what)
  }
  if (!sameBytes(createHash(digest).update(content).digest(), attributes.messageDigest)) {
    const what = 'the signed attribute messageDigest is not the digest of what the timestamp says'
    throw new TimestampError('wrong_message_digest', what)
  }

  const certificate = signerAmong(signer.id, certificates, attributes)
  const key = certificate.publicKey
  const weakness = key === undefined ? 'a key of a type that is not known' : weaknessOf(key)
  if (key === undefined || weakness !== undefined) {
    throw new TimestampError(
      'weak_signer_key',
      `the signer, ${certificate.subject}, has ${weakness}`,
    )
  }
  if (!fits(scheme, key)) {
    throw unknown(`the algorithm of the signature is not for the key of ${certificate.subject}`)
  }
  // Signed is the SET OF that the tag [0] stands for (section 5.4).
  const signed = Uint8Array.from(signer.signedAttributes?.raw ?? [])
  signed[0] = TAG.set
  if (!isSignature(scheme, digest, key, signed, signer.signature)) {
    const what = `the signature of the token is not that of ${certificate.subject}`
    throw new TimestampError('wrong_signature', what)
  }
  return { certificate, attributes }
}

/**
 * Checks that the certificate is one for timestamps and nothing else (RFC 3161, section 2.3), and
 * that the authority does not go by another name in the timestamp.
 * @param tsa the GeneralName of TSTInfo, if there is one
 * @throws TimestampError `wrong_extended_key_usage`, `wrong_key_usage`, `wrong_tsa_name`
 */
export function checkProfile(certificate: Certificate, tsa: DerNode | undefined): void {
  const { subject, extendedKeyUsage, keyUsage } = certificate
  const { critical = false, purposes = [] } = extendedKeyUsage ?? {}
  if (!critical || purposes.length !== 1 || purposes[0] !== TIME_STAMPING) {
    const what = `the certificate of ${subject} must have timeStamping as its only extended key usage, and critical`
    throw new TimestampError('wrong_extended_key_usage', what)
  }
  if (keyUsage !== undefined) {
    const bits = [...keyUsage]
    if (bits.length === 0 || bits.some((bit) => !SIGNER_USAGES.has(bit))) {
      const what = `the key of ${subject} is for other things than signing`
      throw new TimestampError('wrong_key_usage', what)
    }
  }
  if (tsa === undefined) return
  const [name] = tsa.tag === DIRECTORY_NAME ? tsa.children : []
  if (name !== undefined && nameKey(name) === certificate.subjectKey) return
  if (certificate.subjectAltNames.some((other) => sameBytes(other.raw, tsa.raw))) return
  const what = `the timestamp names another authority than its signer, ${subject}`
  throw new TimestampError('wrong_tsa_name', what)
}

/**
 * Further ESSCertIDs, if there are any, limit the certificates that the path may go by (RFC 5035,
 * section 3). The anchor at its end is trusted anyhow, and the path need not go by all of them.
 * @returns the rule that tells why a path breaks this: `wrong_ess_path`
 */
export function essPathRule({ essCertIds }: SignedAttributes): PathRule {
  const limits = essCertIds.map(([, ...others]) => others).filter((ids) => ids.length > 0)
  // Many paths may be tried, and a token may name many certificates: each is looked for once.
  const known = new Map<Certificate, boolean>()
  const isNamed = (certificate: Certificate): boolean => {
    const named =
      known.get(certificate) ?? limits.every((ids) => ids.some((id) => tells(id, certificate)))
    known.set(certificate, named)
    return named
  }
  return (path) => {
    const other = path.slice(1, -1).find((certificate) => !isNamed(certificate))
    if (other === undefined) return undefined
    const message = `the attribute signingCertificate limits the path to others than ${other.subject}`
    return { code: 'wrong_ess_path', message }
  }
}
