/** Certificates (RFC 5280, section 4), as far as timestamps need them. */
import { createHash, type KeyObject, X509Certificate } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Instant } from '../../domain/instant.js'
import {
  contextTag,
  DerError,
  type DerNode,
  hexOf,
  numberOf,
  oidOf,
  parseDer,
  sameBytes,
  TAG,
} from '../der.js'
import { instantOf } from './der-times.js'
import { Fields, StructureError } from './fields.js'
import { nameKey, nameText } from './names.js'

/** OIDs of the extensions that are acted upon. */
const KEY_USAGE = '2.5.29.15'
const BASIC_CONSTRAINTS = '2.5.29.19'
const EXTENDED_KEY_USAGE = '2.5.29.37'
const SUBJECT_KEY_ID = '2.5.29.14'
const SUBJECT_ALT_NAME = '2.5.29.17'
/**
 * May be critical, as they say nothing that a path could break here: certificatePolicies and
 * inhibitAnyPolicy (no policy is asked for), issuerAltName, authorityKeyIdentifier, and
 * cRLDistributionPoints (nothing is asked of the network).
 */
const WITHOUT_CONSEQUENCE = ['2.5.29.32', '2.5.29.54', '2.5.29.18', '2.5.29.35', '2.5.29.31']
const UNDERSTOOD: ReadonlySet<string> = new Set([
  KEY_USAGE,
  BASIC_CONSTRAINTS,
  EXTENDED_KEY_USAGE,
  SUBJECT_KEY_ID,
  SUBJECT_ALT_NAME,
  ...WITHOUT_CONSEQUENCE,
])

/** Bits of KeyUsage (section 4.2.1.3), the first one being the highest bit of the first byte. */
export const KEY_USAGE_BITS = { digitalSignature: 0, nonRepudiation: 1, keyCertSign: 5 } as const

export interface Certificate {
  /** DER. */
  readonly raw: Uint8Array
  /** Text of the Names, see `nameText`. */
  readonly subject: string
  readonly issuer: string
  /** The Names for comparison, see `nameKey`. */
  readonly subjectKey: string
  readonly issuerKey: string
  readonly issuerNode: DerNode
  readonly serialNode: DerNode
  /** In hex. */
  readonly serial: string
  readonly notBefore: Instant
  readonly notAfter: Instant
  /** Undefined when it is of a type, or has parameters, that are not known. */
  readonly publicKey: KeyObject | undefined
  /** For checking the signature that it bears. */
  readonly x509: X509Certificate
  readonly signatureAlgorithm: DerNode
  /** Whether basicConstraints say that it may issue certificates. */
  readonly isCa: boolean
  /** Most certificates between it and the end of a path; undefined when there is no limit. */
  readonly pathLength: number | undefined
  /** Numbers of the bits that are set; undefined without the extension. */
  readonly keyUsage: ReadonlySet<number> | undefined
  readonly extendedKeyUsage:
    | { readonly critical: boolean; readonly purposes: readonly string[] }
    | undefined
  readonly subjectKeyId: Uint8Array | undefined
  /** Each a GeneralName. */
  readonly subjectAltNames: readonly DerNode[]
  /** OIDs of critical extensions that nothing is known of. */
  readonly unknownCritical: readonly string[]
}

interface Extension {
  readonly critical: boolean
  readonly value: DerNode
}

function extensionsOf(node: DerNode | undefined): ReadonlyMap<string, Extension> {
  const found = new Map<string, Extension>()
  if (node === undefined) return found
  const [list, ...more] = node.children
  if (list?.tag !== TAG.sequence || more.length > 0) {
    throw new StructureError('the extensions are no list')
  }
  for (const child of list.children) {
    const fields = new Fields(child, 'the extension')
    const oid = fields.oid('the type')
    const critical = fields.optional(TAG.boolean)?.content[0] === 0xff
    const value = fields.only(TAG.octetString, 'the value').content
    if (found.has(oid)) throw new StructureError(`the extension ${oid} is there twice`)
    // Only those that are understood have to be DER for us.
    if (UNDERSTOOD.has(oid) && !WITHOUT_CONSEQUENCE.includes(oid)) {
      found.set(oid, { critical, value: parseDer(value) })
    } else found.set(oid, { critical, value: child })
  }
  return found
}

function basicConstraintsOf(extension: Extension | undefined): {
  isCa: boolean
  pathLength: number | undefined
} {
  if (extension === undefined) return { isCa: false, pathLength: undefined }
  const fields = new Fields(extension.value, 'the extension basicConstraints')
  const isCa = fields.optional(TAG.boolean)?.content[0] === 0xff
  const length = fields.optional(TAG.integer)
  fields.end()
  const pathLength = numberOf(length)
  if (length !== undefined && (pathLength === undefined || !isCa)) {
    throw new StructureError('the extension basicConstraints has a bad path length')
  }
  return { isCa, pathLength }
}

function keyUsageOf(extension: Extension | undefined): ReadonlySet<number> | undefined {
  if (extension === undefined) return undefined
  if (extension.value.tag !== TAG.bitString) {
    throw new StructureError('the extension keyUsage is no bit string')
  }
  const bits = new Set<number>()
  extension.value.content.subarray(1).forEach((byte, i) => {
    for (let bit = 0; bit < 8; bit++) if ((byte & (0x80 >> bit)) !== 0) bits.add(8 * i + bit)
  })
  return bits
}

function extendedKeyUsageOf(extension: Extension | undefined): Certificate['extendedKeyUsage'] {
  if (extension === undefined) return undefined
  const { critical, value } = extension
  const purposes = value.children.map((child) => oidOf(child) ?? '')
  if (value.tag !== TAG.sequence || purposes.length === 0 || purposes.includes('')) {
    throw new StructureError('the extension extKeyUsage is no list of purposes')
  }
  return { critical, purposes }
}

function publicKeyOf(x509: X509Certificate): KeyObject | undefined {
  try {
    return x509.publicKey
  } catch {
    // OpenSSL knows no such key; whoever needs the key says so.
    return undefined
  }
}

/** The same certificate as OpenSSL reads it, which first looks for one in PEM anywhere within. */
function x509Of(raw: Uint8Array): X509Certificate {
  let x509: X509Certificate
  try {
    x509 = new X509Certificate(raw)
  } catch (error) {
    throw new StructureError(
      `OpenSSL cannot read it (${error instanceof Error ? error.message : 'error'})`,
    )
  }
  if (!sameBytes(x509.raw, raw)) throw new StructureError('OpenSSL reads another certificate in it')
  return x509
}

function read(raw: Uint8Array): Certificate {
  const certificate = new Fields(parseDer(raw), 'the certificate')
  const tbs = new Fields(certificate.take(TAG.sequence, 'the contents'), 'the certificate')
  const signatureAlgorithm = certificate.take(TAG.sequence, 'the signature algorithm')
  const signature = certificate.only(TAG.bitString, 'the signature')
  if (signature.content[0] !== 0) throw new StructureError('the signature is not of whole bytes')

  const version = tbs.optional(contextTag(0))
  if (version !== undefined && version.children.length !== 1) {
    throw new StructureError('the version is no number')
  }
  const serialNode = tbs.take(TAG.integer, 'the serial number')
  const inner = tbs.take(TAG.sequence, 'the signature algorithm')
  if (!sameBytes(inner.raw, signatureAlgorithm.raw)) {
    throw new StructureError('the signature algorithms within and without are not the same')
  }
  const issuerNode = tbs.take(TAG.sequence, 'the issuer')
  const validity = tbs.take(TAG.sequence, 'the validity')
  const subjectNode = tbs.take(TAG.sequence, 'the subject')
  tbs.take(TAG.sequence, 'the public key')
  tbs.optional(contextTag(1, false))
  tbs.optional(contextTag(2, false))
  const extensions = extensionsOf(tbs.optional(contextTag(3)))
  tbs.end()
  if (validity.children.length !== 2) throw new StructureError('the validity is not two times')
  const keyId = extensions.get(SUBJECT_KEY_ID)?.value
  const x509 = x509Of(raw)
  return {
    raw,
    subject: nameText(subjectNode),
    issuer: nameText(issuerNode),
    subjectKey: nameKey(subjectNode),
    issuerKey: nameKey(issuerNode),
    issuerNode,
    serialNode,
    serial: hexOf(serialNode),
    notBefore: instantOf(validity.children[0], 'notBefore'),
    notAfter: instantOf(validity.children[1], 'notAfter'),
    publicKey: publicKeyOf(x509),
    x509,
    signatureAlgorithm,
    ...basicConstraintsOf(extensions.get(BASIC_CONSTRAINTS)),
    keyUsage: keyUsageOf(extensions.get(KEY_USAGE)),
    extendedKeyUsage: extendedKeyUsageOf(extensions.get(EXTENDED_KEY_USAGE)),
    subjectKeyId: keyId?.tag === TAG.octetString ? keyId.content : undefined,
    subjectAltNames: extensions.get(SUBJECT_ALT_NAME)?.value.children ?? [],
    unknownCritical: [...extensions].flatMap(([oid, { critical }]) =>
      critical && !UNDERSTOOD.has(oid) ? [oid] : [],
    ),
  }
}

/** Timestamps of one authority come with the same few certificates. */
const KNOWN = new LRUCache<string, Certificate>({
  maxSize: 1024 * 1024,
  sizeCalculation: ({ raw }) => raw.length,
})

/**
 * Reads a certificate in DER.
 * @throws DerError when it is no DER
 * @throws StructureError when it is no certificate
 */
export function readCertificate(der: Uint8Array): Certificate {
  const digest = createHash('sha256').update(der).digest('base64')
  const known = KNOWN.get(digest)
  if (known !== undefined) return known
  const certificate = read(Uint8Array.from(der))
  KNOWN.set(digest, certificate)
  return certificate
}

/** Whether an error says that bytes are no certificate, or not what they should be. */
export function isFormatError(error: unknown): error is DerError | StructureError {
  return error instanceof DerError || error instanceof StructureError
}

/** Certificates as PEM (RFC 7468). */
export function pemOf(certificates: readonly Certificate[]): string {
  return certificates
    .map(({ raw }) => {
      const lines =
        Buffer.from(raw)
          .toString('base64')
          .match(/.{1,64}/g) ?? []
      return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
    })
    .join('')
}
