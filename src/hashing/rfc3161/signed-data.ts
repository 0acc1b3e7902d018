/** The structure of a TimeStampToken: a ContentInfo with a SignedData (RFC 5652, sections 3 and 5). */

import { contextTag, type DerNode, isInOrder, numberOf, oidOf, parseDer, TAG } from '../der.js'
import { type Certificate, readCertificate } from './certificate.js'
import { TimestampError } from './errors.js'
import { Fields, StructureError } from './fields.js'

const SIGNED_DATA = '1.2.840.113549.1.7.2'
export const TST_INFO = '1.2.840.113549.1.9.16.1.4'

/** Each costs time: it must be read, and its signature checked. */
const MAX_CERTIFICATES = 16
const UNSIGNED = 'are not taken, since nobody vouches for them'

/** Which certificate is the signer's. */
export type SignerId =
  | { readonly issuer: DerNode; readonly serial: DerNode }
  | { readonly subjectKeyId: Uint8Array }

export interface SignerInfo {
  readonly id: SignerId
  readonly digestAlgorithm: DerNode
  /** `[0]`; undefined when there are none. */
  readonly signedAttributes: DerNode | undefined
  readonly signatureAlgorithm: DerNode
  readonly signature: Uint8Array
}

export interface SignedData {
  readonly digestAlgorithm: DerNode
  /** What is signed: TSTInfo in DER. */
  readonly content: Uint8Array
  /** In the order of the token: not every authority sorts them, as DER would have it. */
  readonly certificates: readonly Certificate[]
  readonly signer: SignerInfo
}

function readSigner(node: DerNode | undefined): SignerInfo {
  const fields = new Fields(node, 'SignerInfo')
  const version = numberOf(fields.take(TAG.integer, 'the version'))
  const byName = fields.optional(TAG.sequence)
  let id: SignerId
  if (byName === undefined) {
    id = { subjectKeyId: fields.take(contextTag(0, false), 'the identifier').content }
  } else {
    const names = new Fields(byName, 'issuerAndSerialNumber')
    const issuer = names.take(TAG.sequence, 'the issuer')
    id = { issuer, serial: names.only(TAG.integer, 'the serial number') }
  }
  if (version !== (byName === undefined ? 3 : 1)) {
    throw new StructureError('the version of SignerInfo does not go with its identifier')
  }
  const digestAlgorithm = fields.take(TAG.sequence, 'digestAlgorithm')
  const signedAttributes = fields.optional(contextTag(0))
  if (signedAttributes !== undefined && !isInOrder(signedAttributes)) {
    throw new StructureError('the signed attributes are not in order')
  }
  const signatureAlgorithm = fields.take(TAG.sequence, 'signatureAlgorithm')
  const signature = fields.take(TAG.octetString, 'the signature').content
  if (fields.optional(contextTag(1)) !== undefined) {
    throw new StructureError(`unsigned attributes ${UNSIGNED}`)
  }
  fields.end()
  return { id, digestAlgorithm, signedAttributes, signatureAlgorithm, signature }
}

function readCertificates(list: DerNode | undefined): Certificate[] {
  const nodes = list?.children ?? []
  if (nodes.length > MAX_CERTIFICATES) {
    throw new StructureError(`there are more than ${MAX_CERTIFICATES} certificates`)
  }
  return nodes.map((node, i) => {
    if (node.tag !== TAG.sequence) {
      throw new StructureError(`certificate ${i + 1} is of another kind than X.509`)
    }
    return readCertificate(node.raw)
  })
}

function wrongType(what: string): TimestampError {
  return new TimestampError('wrong_content_type', `the token's ${what}`)
}

/**
 * Reads a token with exactly one signer.
 * @throws DerError, StructureError
 * @throws TimestampError `wrong_content_type`, `not_one_signer`
 */
export function readSignedData(token: Uint8Array): SignedData {
  const outer = new Fields(parseDer(token), 'the token')
  if (outer.oid('the content type') !== SIGNED_DATA) throw wrongType('content is not SignedData')
  const explicit = outer.only(contextTag(0), 'the content')
  const [signedData, ...more] = explicit.children
  if (more.length > 0) throw new StructureError('the token has more than one content')

  const fields = new Fields(signedData, 'SignedData')
  if (numberOf(fields.take(TAG.integer, 'the version')) !== 3) {
    throw new StructureError('the version of SignedData is not 3')
  }
  const algorithms = fields.take(TAG.set, 'digestAlgorithms').children
  const contentInfo = new Fields(fields.take(TAG.sequence, 'encapContentInfo'), 'encapContentInfo')
  if (oidOf(contentInfo.take(TAG.oid, 'eContentType')) !== TST_INFO) {
    throw wrongType('eContentType is not TSTInfo')
  }
  const content = new Fields(
    contentInfo.only(contextTag(0), 'eContent'),
    'eContent',
    contextTag(0),
  ).only(TAG.octetString, 'the octets').content
  const certificates = fields.optional(contextTag(0))
  if (fields.optional(contextTag(1)) !== undefined) {
    throw new StructureError(`lists of revoked certificates ${UNSIGNED}`)
  }
  const signers = fields.take(TAG.set, 'signerInfos').children
  fields.end()
  if (signers.length !== 1) {
    const what = `the token has ${signers.length} signers; it must have one`
    throw new TimestampError('not_one_signer', what)
  }
  const [digestAlgorithm, ...others] = algorithms
  if (digestAlgorithm === undefined || others.length > 0) {
    throw new StructureError('there is not exactly one of digestAlgorithms')
  }
  const signer = readSigner(signers[0])
  return { digestAlgorithm, content, certificates: readCertificates(certificates), signer }
}
