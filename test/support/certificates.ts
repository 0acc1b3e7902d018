/** Keys, and certificates of every sort: good ones, and those that no authority would issue. */
import { execFileSync } from 'node:child_process'
import { constants, createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto'
import {
  bits,
  bool,
  explicit,
  generalizedTime,
  int,
  nul,
  octets,
  oid,
  seq,
  set,
  utf8,
} from './der.js'

export type KeyType =
  | 'rsa'
  | 'rsa1024'
  | 'rsa-pss'
  | 'p256'
  | 'p384'
  | 'p521'
  | 'secp256k1'
  | 'ed25519'
export type SignatureKind = 'rsa' | 'pss' | 'ecdsa' | 'ed25519'
export type Hash = 'sha1' | 'sha256' | 'sha384' | 'sha512'

const OPENSSL: Readonly<Record<KeyType, readonly string[]>> = {
  rsa: ['RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
  rsa1024: ['RSA', '-pkeyopt', 'rsa_keygen_bits:1024'],
  'rsa-pss': ['RSA-PSS', '-pkeyopt', 'rsa_keygen_bits:2048'],
  p256: ['EC', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  p384: ['EC', '-pkeyopt', 'ec_paramgen_curve:P-384'],
  p521: ['EC', '-pkeyopt', 'ec_paramgen_curve:P-521'],
  secp256k1: ['EC', '-pkeyopt', 'ec_paramgen_curve:secp256k1'],
  ed25519: ['ED25519'],
}

/** A new private key, made by the `openssl` program. @param options for its `-pkeyopt` */
export function makeKey(type: KeyType, ...options: readonly string[]): KeyObject {
  const more = options.flatMap((option) => ['-pkeyopt', option])
  const args = ['genpkey', '-algorithm', ...OPENSSL[type], ...more]
  return createPrivateKey(execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'ignore'] }))
}

const HASHES: Readonly<Record<Hash, { oid: string; rsa: number; ecdsa: string; salt: number }>> = {
  sha1: { oid: '1.3.14.3.2.26', rsa: 5, ecdsa: '1.2.840.10045.4.1', salt: 20 },
  sha256: { oid: '2.16.840.1.101.3.4.2.1', rsa: 11, ecdsa: '1.2.840.10045.4.3.2', salt: 32 },
  sha384: { oid: '2.16.840.1.101.3.4.2.2', rsa: 12, ecdsa: '1.2.840.10045.4.3.3', salt: 48 },
  sha512: { oid: '2.16.840.1.101.3.4.2.3', rsa: 13, ecdsa: '1.2.840.10045.4.3.4', salt: 64 },
}

/** AlgorithmIdentifier of a hash. */
export const hashAlgorithm = (hash: Hash): Buffer => seq(oid(HASHES[hash].oid), nul)

/** RSASSA-PSS-params. */
export const pssParameters = (hash: Hash, mask: Hash, salt: number): Buffer =>
  seq(
    explicit(0, hashAlgorithm(hash)),
    explicit(1, seq(oid('1.2.840.113549.1.1.8'), hashAlgorithm(mask))),
    explicit(2, int(salt)),
  )

export const kindOf = (key: KeyObject): SignatureKind => {
  const type = key.asymmetricKeyType
  if (type === 'ec') return 'ecdsa'
  if (type === 'ed25519') return 'ed25519'
  return type === 'rsa-pss' ? 'pss' : 'rsa'
}

/** AlgorithmIdentifier of a signature. */
export function signatureAlgorithm(kind: SignatureKind, hash: Hash): Buffer {
  const { rsa, ecdsa, salt } = HASHES[hash]
  if (kind === 'ed25519') return seq(oid('1.3.101.112'))
  if (kind === 'ecdsa') return seq(oid(ecdsa))
  if (kind === 'rsa') return seq(oid(`1.2.840.113549.1.1.${rsa}`), nul)
  return seq(oid('1.2.840.113549.1.1.10'), pssParameters(hash, hash, salt))
}

export function signWith(kind: SignatureKind, hash: Hash, key: KeyObject, data: Buffer): Buffer {
  if (kind === 'ed25519') return sign(null, data, key)
  if (kind !== 'pss') return sign(hash, data, key)
  const padding = constants.RSA_PKCS1_PSS_PADDING
  return sign(hash, data, { key, padding, saltLength: HASHES[hash].salt })
}

/** A Name: each text is `type=value`. */
export function nameOf(text: string): Buffer {
  const types: Readonly<Record<string, string>> = { CN: '2.5.4.3', O: '2.5.4.10', C: '2.5.4.6' }
  return seq(
    ...text.split(',').map((part) => {
      const [type = '', value = ''] = part.split('=')
      return set(seq(oid(types[type] ?? type), utf8(value)))
    }),
  )
}

export const extension = (type: string, critical: boolean, value: Uint8Array): Buffer =>
  seq(oid(type), ...(critical ? [bool(true)] : []), octets(value))

export const TIME_STAMPING = '1.3.6.1.5.5.7.3.8'
export const basicConstraints = (ca: boolean, pathLength?: number): Buffer =>
  extension(
    '2.5.29.19',
    true,
    seq(...(ca ? [bool(true)] : []), ...(pathLength === undefined ? [] : [int(pathLength)])),
  )
/** @param bytes KeyUsage, for example 0x80 for digitalSignature and 0x04 for keyCertSign */
export const keyUsage = (byte: number): Buffer => {
  let unused = 0
  while (unused < 8 && ((byte >> unused) & 1) === 0) unused += 1
  return extension('2.5.29.15', true, bits(Buffer.of(byte), unused))
}
export const extendedKeyUsage = (critical: boolean, ...purposes: readonly string[]): Buffer =>
  extension('2.5.29.37', critical, seq(...purposes.map(oid)))
export const keyId = (id: Uint8Array): Buffer => extension('2.5.29.14', false, octets(id))

export interface TestCertificate {
  readonly der: Buffer
  readonly pem: string
  readonly key: KeyObject
  /** A Name in DER. */
  readonly subject: Buffer
  readonly issuer: Buffer
  readonly serial: number
}

export interface CertificateOptions {
  readonly key: KeyObject
  readonly subject?: string
  /** Itself unless given. */
  readonly issuer?: TestCertificate
  /** The issuer's name, where it is not the true one. */
  readonly issuerName?: Buffer
  readonly serial?: number
  /** `20260131120000Z` */
  readonly notBefore?: string
  readonly notAfter?: string
  readonly extensions?: readonly Buffer[]
  readonly kind?: SignatureKind
  readonly hash?: Hash
  /** Signature algorithm inside, where it is not the one outside. */
  readonly innerAlgorithm?: Buffer
}

/** Of an authority's own certificate. */
export const SIGNER_EXTENSIONS = [
  basicConstraints(false),
  keyUsage(0x80),
  extendedKeyUsage(true, TIME_STAMPING),
]
/** Of the certificate of one who issues certificates. */
export const CA_EXTENSIONS = [basicConstraints(true), keyUsage(0x06)]

let serials = 1

export function makeCertificate(options: CertificateOptions): TestCertificate {
  const { key, issuer, extensions = [], hash = 'sha256' } = options
  const serial = options.serial ?? ++serials
  const subject = nameOf(options.subject ?? `O=Bytes,CN=Certificate ${serial}`)
  const issuerName = options.issuerName ?? issuer?.subject ?? subject
  const signer = issuer?.key ?? key
  const kind = options.kind ?? kindOf(signer)
  const algorithm = signatureAlgorithm(kind, hash)
  const times = [options.notBefore ?? '20200101000000Z', options.notAfter ?? '20491231235959Z']
  const tbs = seq(
    explicit(0, int(2)),
    int(serial),
    options.innerAlgorithm ?? algorithm,
    issuerName,
    seq(...times.map((time) => generalizedTime(time))),
    subject,
    createPublicKey(key).export({ format: 'der', type: 'spki' }),
    ...(extensions.length > 0 ? [explicit(3, seq(...extensions))] : []),
  )
  const der = seq(tbs, algorithm, bits(signWith(kind, hash, signer, tbs)))
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  const pem = `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
  return { der, pem, key, subject, issuer: issuerName, serial }
}
