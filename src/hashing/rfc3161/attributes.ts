/** The signed attributes of a token's signer (RFC 5652, section 11; RFC 2634, 5.4; RFC 5035). */
import { createHash } from 'node:crypto'
import { contextTag, type DerNode, oidOf, sameBytes, TAG } from '../der.js'
import { digestOf } from './algorithms.js'
import type { Certificate } from './certificate.js'
import { TimestampError } from './errors.js'
import { Fields } from './fields.js'
import { nameKey } from './names.js'

const CONTENT_TYPE = '1.2.840.113549.1.9.3'
const MESSAGE_DIGEST = '1.2.840.113549.1.9.4'
const SIGNING_CERTIFICATE = '1.2.840.113549.1.9.16.2.12'
const SIGNING_CERTIFICATE_V2 = '1.2.840.113549.1.9.16.2.47'

/** Identifier octet of the directoryName of a GeneralName. */
export const DIRECTORY_NAME = contextTag(4)

/** Tells a certificate: ESSCertID with SHA-1, or ESSCertIDv2. */
export interface EssCertId {
  /** Undefined when it is not known. */
  readonly algorithm: 'sha1' | 'sha256' | 'sha384' | 'sha512' | undefined
  readonly hash: Uint8Array
  readonly issuer: DerNode | undefined
  readonly serial: DerNode | undefined
}

export interface SignedAttributes {
  /** OID. */
  readonly contentType: string | undefined
  readonly messageDigest: Uint8Array
  /** Of each attribute, signingCertificate and signingCertificateV2: the signer's is first. */
  readonly essCertIds: readonly (readonly EssCertId[])[]
}

/** Values by type. @throws TimestampError `repeated_attribute` */
function valuesOf(attributes: DerNode | undefined): ReadonlyMap<string, readonly DerNode[]> {
  const found = new Map<string, readonly DerNode[]>()
  for (const child of attributes?.children ?? []) {
    const fields = new Fields(child, 'the signed attribute')
    const oid = fields.oid('the type')
    const values = fields.only(TAG.set, 'the values').children
    if (found.has(oid)) {
      throw new TimestampError('repeated_attribute', `the signed attribute ${oid} is there twice`)
    }
    found.set(oid, values)
  }
  return found
}

function readEssCertId(node: DerNode, v2: boolean): EssCertId {
  const fields = new Fields(node, 'ESSCertID')
  const given = v2 ? fields.optional(TAG.sequence) : undefined
  const hash = fields.take(TAG.octetString, 'certHash').content
  const issuerSerial = fields.optional(TAG.sequence)
  fields.end()
  const byDefault = v2 ? 'sha256' : 'sha1'
  const algorithm = given === undefined ? byDefault : digestOf(given)
  if (issuerSerial === undefined) return { algorithm, hash, issuer: undefined, serial: undefined }
  const names = new Fields(issuerSerial, 'issuerSerial')
  const issuer = names.take(TAG.sequence, 'the issuer')
  return { algorithm, hash, issuer, serial: names.only(TAG.integer, 'the serial number') }
}

function readEssCertIds(value: DerNode, v2: boolean): EssCertId[] {
  const fields = new Fields(value, 'signingCertificate')
  const certs = fields.take(TAG.sequence, 'certs')
  fields.optional(TAG.sequence)
  fields.end()
  return certs.children.map((child) => readEssCertId(child, v2))
}

/**
 * @throws StructureError
 * @throws TimestampError `missing_attribute`, `repeated_attribute`, `missing_ess_cert_id`
 */
export function readSignedAttributes(attributes: DerNode | undefined): SignedAttributes {
  const values = valuesOf(attributes)
  const single = (oid: string, name: string): DerNode => {
    const [value, ...more] = values.get(oid) ?? []
    if (value === undefined) {
      throw new TimestampError('missing_attribute', `the signed attribute ${name} is missing`)
    }
    if (more.length > 0) {
      throw new TimestampError('repeated_attribute', `the attribute ${name} has several values`)
    }
    return value
  }
  const contentType = oidOf(single(CONTENT_TYPE, 'contentType'))
  const messageDigest = single(MESSAGE_DIGEST, 'messageDigest')
  if (messageDigest.tag !== TAG.octetString) {
    throw new TimestampError('missing_attribute', 'the signed attribute messageDigest is no digest')
  }
  const essCertIds: EssCertId[][] = []
  for (const oid of [SIGNING_CERTIFICATE, SIGNING_CERTIFICATE_V2]) {
    if (!values.has(oid)) continue
    const ids = readEssCertIds(single(oid, 'signingCertificate'), oid === SIGNING_CERTIFICATE_V2)
    essCertIds.push(ids)
  }
  if (essCertIds.length === 0 || essCertIds.some((ids) => ids.length === 0)) {
    const what = 'the signed attribute signingCertificate, which tells the signer, is missing'
    throw new TimestampError('missing_ess_cert_id', what)
  }
  return { contentType, messageDigest: messageDigest.content, essCertIds }
}

/** Whether the ESSCertID is that of this certificate. */
export function tells(id: EssCertId, certificate: Certificate): boolean {
  if (id.algorithm === undefined) return false
  const hash = createHash(id.algorithm).update(certificate.raw).digest()
  if (!sameBytes(hash, id.hash)) return false
  if (id.issuer === undefined || id.serial === undefined) return true
  const [name, ...more] = id.issuer.children
  const issuer = name?.tag === DIRECTORY_NAME ? name.children[0] : undefined
  return (
    more.length === 0 &&
    issuer !== undefined &&
    nameKey(issuer) === certificate.issuerKey &&
    sameBytes(id.serial.raw, certificate.serialNode.raw)
  )
}
