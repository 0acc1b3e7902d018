/** Timestamp tokens and answers of authorities (RFC 3161), right ones and wrong ones. */
import { createHash, type KeyObject } from 'node:crypto'
import {
  type Hash,
  hashAlgorithm,
  kindOf,
  type SignatureKind,
  signatureAlgorithm,
  signWith,
  type TestCertificate,
} from './certificates.js'
import { bits, explicit, generalizedTime, int, octets, oid, seq, set, tlv, utf8 } from './der.js'

const OID = {
  signedData: '1.2.840.113549.1.7.2',
  tstInfo: '1.2.840.113549.1.9.16.1.4',
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingCertificate: '1.2.840.113549.1.9.16.2.12',
  signingCertificateV2: '1.2.840.113549.1.9.16.2.47',
} as const

export const digest = (hash: Hash, data: Uint8Array): Buffer =>
  createHash(hash).update(data).digest()
export const attribute = (type: string, ...values: readonly Buffer[]): Buffer =>
  seq(oid(type), set(...values))

const issuerSerial = (certificate: TestCertificate): Buffer =>
  seq(seq(explicit(4, certificate.issuer)), int(certificate.serial))
/** ESSCertIDv2 with SHA-256. */
export const essV2 = (certificate: TestCertificate, named = true): Buffer =>
  seq(octets(digest('sha256', certificate.der)), ...(named ? [issuerSerial(certificate)] : []))
/** ESSCertID with SHA-1. */
export const essV1 = (certificate: TestCertificate): Buffer =>
  seq(octets(digest('sha1', certificate.der)), issuerSerial(certificate))
export const signingCertificateV2 = (...ids: readonly Buffer[]): Buffer =>
  attribute(OID.signingCertificateV2, seq(seq(...ids)))
export const signingCertificate = (...ids: readonly Buffer[]): Buffer =>
  attribute(OID.signingCertificate, seq(seq(...ids)))

export interface InfoOptions {
  readonly imprint: Uint8Array
  readonly imprintHash?: Hash
  readonly version?: number
  /** `20260131120000Z` */
  readonly time?: string
  readonly nonce?: bigint
  /** The members between genTime and nonce. */
  readonly between?: readonly Buffer[]
  /** The members after nonce. */
  readonly after?: readonly Buffer[]
}

export function makeInfo(options: InfoOptions): Buffer {
  const { imprint, imprintHash = 'sha512', version = 1, time = '20260131120000Z' } = options
  return seq(
    int(version),
    oid('1.2.3.4.1'),
    seq(hashAlgorithm(imprintHash), octets(imprint)),
    int(77),
    generalizedTime(time),
    ...(options.between ?? []),
    ...(options.nonce === undefined ? [] : [int(options.nonce)]),
    ...(options.after ?? []),
  )
}

export interface SignerOptions {
  readonly signer: TestCertificate
  readonly hash?: Hash
  readonly kind?: SignatureKind
  /** Signs in place of the signer. */
  readonly key?: KeyObject
  readonly version?: number
  /** SubjectKeyIdentifier, in place of issuer and serial number. */
  readonly keyId?: Buffer
  readonly digestAlgorithm?: Buffer
  readonly algorithm?: Buffer
  /** What becomes of the attributes contentType, messageDigest and signingCertificateV2. */
  readonly attributes?: (usual: readonly Buffer[]) => readonly Buffer[]
  /** What becomes of SignerInfo's members. */
  readonly members?: (usual: readonly Buffer[]) => readonly Buffer[]
  /** Signed in place of the attributes. */
  readonly signed?: Buffer
}

export function makeSignerInfo(info: Buffer, options: SignerOptions): Buffer {
  const { signer, hash = 'sha512', key = signer.key, attributes = (usual) => usual } = options
  const kind = options.kind ?? kindOf(key)
  const signedAttributes = set(
    ...attributes([
      attribute(OID.contentType, oid(OID.tstInfo)),
      attribute(OID.messageDigest, octets(digest(hash, info))),
      signingCertificateV2(essV2(signer)),
    ]),
  )
  const inToken = Buffer.from(signedAttributes)
  inToken[0] = 0xa0
  const { keyId } = options
  const { members = (usual: readonly Buffer[]) => usual } = options
  return seq(
    ...members([
      int(options.version ?? (keyId === undefined ? 1 : 3)),
      keyId === undefined ? seq(signer.issuer, int(signer.serial)) : tlv(0x80, keyId),
      options.digestAlgorithm ?? hashAlgorithm(hash),
      inToken,
      options.algorithm ?? signatureAlgorithm(kind, hash),
      octets(signWith(kind, hash, key, options.signed ?? signedAttributes)),
    ]),
  )
}

export interface TokenOptions extends SignerOptions {
  readonly info: Buffer
  /** Those in the token; the signer's unless given. */
  readonly certificates?: readonly Buffer[]
  readonly contentType?: string
  readonly eContentType?: string
  /** More SignerInfos, or none but these. */
  readonly signerInfos?: (usual: Buffer) => readonly Buffer[]
  /** What becomes of SignedData's members. */
  readonly parts?: (usual: readonly Buffer[]) => readonly Buffer[]
}

export function makeToken(options: TokenOptions): Buffer {
  const { info, hash = 'sha512', certificates = [options.signer.der] } = options
  const { signerInfos = (usual: Buffer) => [usual] } = options
  const { parts = (usual: readonly Buffer[]) => usual } = options
  const signedData = seq(
    ...parts([
      int(3),
      set(options.digestAlgorithm ?? hashAlgorithm(hash)),
      seq(oid(options.eContentType ?? OID.tstInfo), explicit(0, octets(info))),
      ...(certificates.length > 0 ? [explicit(0, ...certificates)] : []),
      set(...signerInfos(makeSignerInfo(info, options))),
    ]),
  )
  return seq(oid(options.contentType ?? OID.signedData), explicit(0, signedData))
}

/** TimeStampResp. @param failures bytes of PKIFailureInfo */
export function makeResponse(
  status: number,
  token?: Buffer,
  { texts = [], failures }: { texts?: readonly string[]; failures?: Buffer } = {},
): Buffer {
  return seq(
    seq(
      int(status),
      ...(texts.length > 0 ? [seq(...texts.map(utf8))] : []),
      ...(failures === undefined ? [] : [bits(failures)]),
    ),
    ...(token === undefined ? [] : [token]),
  )
}
