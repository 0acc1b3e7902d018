/** The digests and signatures that are taken, by their AlgorithmIdentifiers (RFC 5754, 4056, 8419). */
import { constants, type KeyObject, verify } from 'node:crypto'
import { contextTag, type DerNode, numberOf, oidOf, TAG } from '../der.js'

export type Digest = 'sha256' | 'sha384' | 'sha512'

/** How a signature is made. `digest` is null where the signature's OID does not tell it. */
export type Scheme =
  | { readonly kind: 'rsa'; readonly digest: Digest | null }
  | { readonly kind: 'rsa-pss'; readonly digest: Digest; readonly saltLength: number }
  | { readonly kind: 'ecdsa'; readonly digest: Digest }
  | { readonly kind: 'ed25519'; readonly digest: 'sha512' }

const DIGESTS: Readonly<Record<string, Digest>> = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
}

const RSA: Readonly<Record<string, Digest | null>> = {
  '1.2.840.113549.1.1.1': null,
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
}

const ECDSA: Readonly<Record<string, Digest>> = {
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
}

const RSASSA_PSS = '1.2.840.113549.1.1.10'
const MGF1 = '1.2.840.113549.1.1.8'
const ED25519 = '1.3.101.112'

const MIN_RSA_BITS = 2048
/** Greater keys and exponents make each signature take milliseconds, and a token can bring many. */
const MAX_RSA_BITS = 8192
const MAX_RSA_EXPONENT = 0xffffffffn
const CURVES: ReadonlySet<string | undefined> = new Set(['prime256v1', 'secp384r1', 'secp521r1'])
const MAX_SALT = 512

/** OID and parameters, when there is nothing else. */
function partsOf(
  algorithm: DerNode | undefined,
): { oid: string; parameters: DerNode | undefined } | undefined {
  if (algorithm?.tag !== TAG.sequence || algorithm.children.length > 2) return undefined
  const oid = oidOf(algorithm.children[0])
  return oid === undefined ? undefined : { oid, parameters: algorithm.children[1] }
}

const own = <T>(table: Readonly<Record<string, T>>, key: string): T | undefined =>
  Object.hasOwn(table, key) ? table[key] : undefined

/**
 * SHA-256, SHA-384 or SHA-512 with parameters that are absent or NULL (RFC 5754, section 2).
 * @returns undefined for any other
 */
export function digestOf(algorithm: DerNode | undefined): Digest | undefined {
  const parts = partsOf(algorithm)
  if (parts === undefined) return undefined
  const { oid, parameters } = parts
  return parameters === undefined || parameters.tag === TAG.null ? own(DIGESTS, oid) : undefined
}

/** RSASSA-PSS-params (RFC 4055, section 3.1) with one digest for both purposes. */
function pssOf(parameters: DerNode | undefined): Scheme | undefined {
  if (parameters?.tag !== TAG.sequence) return undefined
  const members = [...parameters.children]
  const explicit = (number: number): DerNode | undefined => {
    if (members[0]?.tag !== contextTag(number)) return undefined
    const [value, ...more] = members.shift()?.children ?? []
    return more.length === 0 ? value : undefined
  }
  const digest = digestOf(explicit(0))
  const mask = partsOf(explicit(1))
  // The default is 20, which no digest here has.
  const saltLength = numberOf(explicit(2))
  // The trailer field has one value, the default.
  if (members.length > 0 || digest === undefined || saltLength === undefined) return undefined
  if (mask?.oid !== MGF1 || digestOf(mask.parameters) !== digest) return undefined
  return saltLength <= MAX_SALT ? { kind: 'rsa-pss', digest, saltLength } : undefined
}

/**
 * The scheme of a signatureAlgorithm. Nothing is guessed: it is undefined for an OID or parameters
 * that are not known.
 */
export function schemeOf(algorithm: DerNode | undefined): Scheme | undefined {
  const parts = partsOf(algorithm)
  if (parts === undefined) return undefined
  const { oid, parameters } = parts
  if (oid === RSASSA_PSS) return pssOf(parameters)
  const rsa = own(RSA, oid)
  if (rsa !== undefined) {
    // NULL as it must be written, or absent as it must be taken (RFC 4055, section 5).
    const known = parameters === undefined || parameters.tag === TAG.null
    return known ? { kind: 'rsa', digest: rsa } : undefined
  }
  if (parameters !== undefined) return undefined
  if (oid === ED25519) return { kind: 'ed25519', digest: 'sha512' }
  const ecdsa = own(ECDSA, oid)
  return ecdsa === undefined ? undefined : { kind: 'ecdsa', digest: ecdsa }
}

/** Why no signature of this key is taken, in words after "has"; undefined when one may be. */
export function weaknessOf(key: KeyObject): string | undefined {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  switch (type) {
    case 'rsa':
    case 'rsa-pss': {
      const { modulusLength: bits = 0, publicExponent: exponent = 0n } = details ?? {}
      if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) {
        return `an RSA key of ${bits} bits; ${MIN_RSA_BITS} to ${MAX_RSA_BITS} are taken`
      }
      return exponent <= MAX_RSA_EXPONENT ? undefined : `an RSA exponent of more than 32 bits`
    }
    case 'ec':
      if (CURVES.has(details?.namedCurve)) return undefined
      return `an elliptic curve other than P-256, P-384 and P-521`
    case 'ed25519':
      return undefined
    default:
      return `a key of the type ${type ?? 'unknown'}; RSA, ECDSA and Ed25519 are known`
  }
}

/** Whether keys of this type make signatures of this scheme. */
export function fits(scheme: Scheme, key: KeyObject): boolean {
  const type = key.asymmetricKeyType
  if (scheme.kind === 'rsa-pss') return type === 'rsa' || type === 'rsa-pss'
  return type === (scheme.kind === 'ecdsa' ? 'ec' : scheme.kind)
}

/**
 * Whether the signature is right.
 * @param digest that of the signer, which is the scheme's where that tells one
 */
export function isSignature(
  scheme: Scheme,
  digest: Digest,
  key: KeyObject,
  data: Uint8Array,
  signature: Uint8Array,
): boolean {
  try {
    if (scheme.kind === 'ed25519') return verify(null, data, key, signature)
    if (scheme.kind === 'ecdsa') return verify(digest, data, { key, dsaEncoding: 'der' }, signature)
    if (scheme.kind === 'rsa') {
      return verify(digest, data, { key, padding: constants.RSA_PKCS1_PADDING }, signature)
    }
    const { saltLength } = scheme
    const padding = constants.RSA_PKCS1_PSS_PADDING
    return verify(digest, data, { key, padding, saltLength }, signature)
  } catch (error) {
    // A key may itself forbid the digest (RFC 4055, section 3.1).
    if (isOpensslError(error)) return false
    throw error
  }
}

function isOpensslError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_OSSL_')
}
