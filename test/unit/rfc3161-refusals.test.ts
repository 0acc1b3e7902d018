/** Every reason for which a token is refused, each with a token that has nothing else wrong. */
import { createPublicKey } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { weaknessOf } from '../../src/hashing/rfc3161/algorithms.js'
import { parseAnchors } from '../../src/hashing/rfc3161/anchors.js'
import {
  TIMESTAMP_STAGES,
  TimestampError,
  type TimestampErrorCode,
  type TimestampStage,
} from '../../src/hashing/rfc3161/errors.js'
import { verifyToken } from '../../src/hashing/rfc3161/token.js'
import {
  basicConstraints,
  CA_EXTENSIONS,
  extendedKeyUsage,
  extension,
  hashAlgorithm,
  keyId,
  keyUsage,
  makeCertificate,
  makeKey,
  nameOf,
  pssParameters,
  SIGNER_EXTENSIONS,
  signatureAlgorithm,
  type TestCertificate,
  TIME_STAMPING,
} from '../support/certificates.js'
import { bits, bool, explicit, int, nul, octets, oid, seq, set, tlv, utf8 } from '../support/der.js'
import {
  attribute,
  digest,
  essV1,
  essV2,
  type InfoOptions,
  makeInfo,
  makeSignerInfo,
  makeToken,
  signingCertificate,
  signingCertificateV2,
  type TokenOptions,
} from '../support/tokens.js'

const IMPRINT = digest('sha512', Buffer.from('a secure hash'))
const ROOT_NAME = 'O=Bytes,CN=Root'
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
const SIGNING_TIME = '1.2.840.113549.1.9.5'

const rootKey = makeKey('p256')
const signerKey = makeKey('p384')
const rsaKey = makeKey('rsa')
const weakKey = makeKey('rsa1024')
const otherKey = makeKey('p256')

const root = makeCertificate({ key: rootKey, subject: ROOT_NAME, extensions: CA_EXTENSIONS })
const signerWith = (options: Partial<Parameters<typeof makeCertificate>[0]>): TestCertificate =>
  makeCertificate({ key: signerKey, issuer: root, extensions: SIGNER_EXTENSIONS, ...options })
const signer = signerWith({})
const rsaSigner = signerWith({ key: rsaKey })
const elsewhere = makeCertificate({
  key: otherKey,
  subject: 'O=Elsewhere,CN=Root',
  extensions: CA_EXTENSIONS,
})
/** It looks like our root, and has another key. */
const lookalike = makeCertificate({
  key: otherKey,
  subject: ROOT_NAME,
  extensions: CA_EXTENSIONS,
})

type Options = Partial<TokenOptions> & { readonly tst?: Partial<InfoOptions> }

const token = ({ tst = {}, ...options }: Options = {}): Buffer =>
  makeToken({ signer, info: makeInfo({ imprint: IMPRINT, ...tst }), ...options })

const verify = (der: Uint8Array, anchors: readonly TestCertificate[] = [root]) =>
  verifyToken(der, IMPRINT, 'sha512', parseAnchors(anchors.map(({ pem }) => pem).join('')))

/** A token of a signer below an intermediate authority. */
function below(
  options: Partial<Parameters<typeof makeCertificate>[0]>,
  belowIt: Partial<Parameters<typeof makeCertificate>[0]> = {},
  ess?: (end: TestCertificate, middle: TestCertificate) => Buffer,
): Buffer {
  const key = makeKey('p256')
  const middle = makeCertificate({ key, issuer: root, extensions: CA_EXTENSIONS, ...options })
  const end = signerWith({ issuer: middle, ...belowIt })
  const certificates = [end.der, middle.der]
  return token({ signer: end, certificates, ...(ess && withAttribute(2, ess(end, middle))) })
}

/**
 * A certificate with the name of our root as its issuer, and the signature of nobody, that has one of
 * the root's in an extension: OpenSSL would take that for the whole, as it looks for PEM first.
 */
function disguised(extensions: readonly Buffer[]): TestCertificate {
  const honest = makeCertificate({ key: otherKey, issuer: root })
  const inside = extension('1.3.6.1.4.1.32473.1', false, Buffer.from(`\n${honest.pem}`))
  return makeCertificate({ key: otherKey, issuer: lookalike, extensions: [...extensions, inside] })
}

const withoutAttribute = (index: number): Options => ({
  attributes: (usual) => usual.filter((_, i) => i !== index),
})
const withAttribute = (index: number, other: Buffer): Options => ({
  attributes: (usual) => usual.map((one, i) => (i === index ? other : one)),
})
const middleKey = makeKey('p256')
const middleOf = (): TestCertificate =>
  makeCertificate({
    key: middleKey,
    issuer: root,
    subject: 'CN=Renewed',
    extensions: CA_EXTENSIONS,
  })
/** Two certificates of one authority, with one name and one key. */
const original = middleOf()
const renewed = middleOf()
const belowBoth = signerWith({ issuer: original })

/** A token of a signer below them, which names the renewed one. */
const limited = (...embedded: readonly TestCertificate[]): Buffer =>
  token({
    signer: belowBoth,
    certificates: [belowBoth, ...embedded].map(({ der }) => der),
    ...withAttribute(2, signingCertificateV2(essV2(belowBoth), essV2(renewed))),
  })

const part = (index: number, other: Buffer): Options => ({
  parts: (usual) => usual.map((one, i) => (i === index ? other : one)),
})
const member = (index: number, other: Buffer): Options => ({
  members: (usual) => usual.map((one, i) => (i === index ? other : one)),
})

interface Case {
  readonly code: TimestampErrorCode
  readonly stage: TimestampStage
  /** What the message says. */
  readonly says: string
  readonly make: () => Buffer
  readonly anchors?: readonly TestCertificate[]
}

const c = (
  code: TimestampErrorCode,
  stage: TimestampStage,
  says: string,
  make: () => Buffer,
  anchors?: readonly TestCertificate[],
): Case => ({ code, stage, says, make, ...(anchors && { anchors }) })

const CASES: readonly Case[] = [
  c('malformed_der', 'format', 'no DER: the end is missing', () => token().subarray(0, -1)),
  c('malformed_der', 'format', 'more bytes follow', () => Buffer.concat([token(), nul])),
  c('malformed_der', 'format', 'no DER', () => Buffer.from('no token')),
  c('malformed_der', 'format', 'no DER', () => Buffer.alloc(0)),
  c('malformed_der', 'format', 'a set that is not in order', () =>
    token({
      attributes: (usual) => [...usual, seq(oid(SIGNING_TIME), tlv(0x31, utf8('b'), utf8('a')))],
    }),
  ),
  c('malformed_token', 'format', 'the token is missing', () => nul),
  c('malformed_token', 'format', 'version of SignedData is not 3', () => token(part(0, int(1)))),
  c('malformed_token', 'format', 'exactly one of digestAlgorithms', () =>
    token(part(1, set(hashAlgorithm('sha512'), hashAlgorithm('sha256')))),
  ),
  c('malformed_token', 'format', 'exactly one of digestAlgorithms', () => token(part(1, set()))),
  c('malformed_token', 'format', 'octets', () =>
    token(part(2, seq(oid('1.2.840.113549.1.9.16.1.4'), explicit(0, utf8('x'))))),
  ),
  c('malformed_token', 'format', 'of another kind than X.509', () =>
    token({ certificates: [signer.der, explicit(1, int(1))] }),
  ),
  c('malformed_token', 'format', 'more than 16 certificates', () =>
    token({ certificates: Array.from({ length: 17 }, () => signer.der) }),
  ),
  c('malformed_token', 'format', 'signature algorithms within and without', () => {
    const mixed = signerWith({ innerAlgorithm: signatureAlgorithm('ecdsa', 'sha512') })
    return token({ signer: mixed })
  }),
  c('malformed_token', 'format', 'is there twice', () =>
    token({ signer: signerWith({ extensions: [...SIGNER_EXTENSIONS, basicConstraints(false)] }) }),
  ),
  c('malformed_token', 'format', 'lists of revoked certificates', () =>
    token({ parts: (usual) => usual.toSpliced(4, 0, explicit(1, seq())) }),
  ),
  c('malformed_token', 'format', 'a member that has no place there', () =>
    token({ parts: (usual) => [...usual, int(1)] }),
  ),
  c('malformed_token', 'format', 'unsigned attributes', () =>
    token({ members: (usual) => [...usual, explicit(1, attribute(SIGNING_TIME, int(1)))] }),
  ),
  c('malformed_token', 'format', 'version of SignerInfo', () => token({ version: 3 })),
  c('malformed_token', 'format', 'version of SignerInfo', () =>
    token({ keyId: Buffer.alloc(20), version: 1 }),
  ),
  c('malformed_token', 'format', 'signed attributes are not in order', () => {
    const usual = set(
      attribute('1.2.840.113549.1.9.3', oid('1.2.840.113549.1.9.16.1.4')),
      attribute('1.2.840.113549.1.9.4', octets(Buffer.alloc(64))),
    )
    const [first = usual, second = usual] = [usual.subarray(2, 30), usual.subarray(30)]
    return token(member(3, tlv(0xa0, second, first)))
  }),
  c('malformed_token', 'format', 'version of TSTInfo', () => token({ tst: { version: 2 } })),
  c('malformed_token', 'format', 'genTime', () => token({ tst: { time: '20260231120000Z' } })),
  c('malformed_der', 'format', 'a bad time', () => token({ tst: { time: '202601311200Z' } })),
  c('malformed_der', 'format', 'a bad time', () => token({ tst: { time: '20260131120000.50Z' } })),
  c('malformed_token', 'format', 'accuracy is out of range', () =>
    token({ tst: { between: [seq(tlv(0x80, Buffer.of(0x03, 0xe8)))] } }),
  ),
  c('malformed_token', 'format', 'accuracy is out of range', () =>
    token({ tst: { between: [seq(tlv(0x80, Buffer.of(0, 5)))] } }),
  ),
  c('malformed_token', 'format', 'ordering is false', () =>
    token({ tst: { between: [bool(false)] } }),
  ),
  c('malformed_token', 'format', 'TSTInfo has a member', () =>
    token({ tst: { after: [utf8('more')] } }),
  ),
  c('malformed_token', 'format', 'not made of sets', () =>
    token({ tst: { after: [explicit(0, explicit(4, seq(nul)))] } }),
  ),
  c('wrong_content_type', 'format', 'not SignedData', () =>
    token({ contentType: '1.2.840.113549.1.7.1' }),
  ),
  c('wrong_content_type', 'format', 'not TSTInfo', () =>
    token({ eContentType: '1.2.840.113549.1.7.1' }),
  ),
  c('not_one_signer', 'format', '2 signers', () =>
    token({
      signerInfos: (usual) => [
        usual,
        makeSignerInfo(makeInfo({ imprint: IMPRINT }), { signer: rsaSigner }),
      ],
      certificates: [signer.der, rsaSigner.der],
    }),
  ),
  c('not_one_signer', 'format', '0 signers', () => token({ signerInfos: () => [] })),
  c('unknown_token_extension', 'format', '1.2.3.4', () =>
    token({ tst: { after: [explicit(1, extension('1.2.3.4', true, nul))] } }),
  ),
  c('wrong_imprint_algorithm', 'imprint', 'sha512', () =>
    token({ tst: { imprintHash: 'sha256', imprint: digest('sha256', IMPRINT) } }),
  ),
  c('wrong_imprint_algorithm', 'imprint', 'sha512', () => token({ tst: { imprintHash: 'sha1' } })),
  c('wrong_imprint', 'imprint', 'for something else', () =>
    token({ tst: { imprint: digest('sha512', Buffer.from('another')) } }),
  ),
  c('wrong_imprint', 'imprint', 'for something else', () =>
    token({ tst: { imprint: IMPRINT.subarray(0, 63) } }),
  ),
  c('unknown_algorithm', 'signature', 'digest algorithms', () => token({ hash: 'sha1' })),
  c('unknown_algorithm', 'signature', 'digest algorithms', () =>
    token(part(1, set(hashAlgorithm('sha256')))),
  ),
  c('unknown_algorithm', 'signature', '1.2.840.10045.4.1', () =>
    token({ algorithm: signatureAlgorithm('ecdsa', 'sha1') }),
  ),
  c('unknown_algorithm', 'signature', '1.2.3.4.5', () =>
    token({ algorithm: seq(oid('1.2.3.4.5')) }),
  ),
  c('unknown_algorithm', 'signature', 'made with sha256', () =>
    token({ algorithm: signatureAlgorithm('ecdsa', 'sha256') }),
  ),
  c('unknown_algorithm', 'signature', 'not for the key', () =>
    token({ algorithm: signatureAlgorithm('rsa', 'sha512') }),
  ),
  c('unknown_algorithm', 'signature', 'not for the key', () =>
    token({ algorithm: signatureAlgorithm('ed25519', 'sha512') }),
  ),
  c('unknown_algorithm', 'signature', 'parameters', () =>
    token({ algorithm: seq(oid('1.2.840.10045.4.3.4'), nul) }),
  ),
  c('unknown_algorithm', 'signature', 'parameters', () =>
    token({
      signer: rsaSigner,
      kind: 'pss',
      algorithm: seq(oid('1.2.840.113549.1.1.10'), pssParameters('sha512', 'sha256', 64)),
    }),
  ),
  c('unknown_algorithm', 'signature', 'made with sha256', () =>
    token({ signer: rsaSigner, kind: 'pss', algorithm: signatureAlgorithm('pss', 'sha256') }),
  ),
  c('missing_signer_certificate', 'signature', 'neither in the token nor', () =>
    token({ certificates: [root.der] }),
  ),
  c('missing_signer_certificate', 'signature', 'neither in the token nor', () =>
    token({ keyId: Buffer.from('nobody') }),
  ),
  c('missing_signer_certificate', 'signature', 'neither in the token nor', () =>
    token(member(1, seq(nameOf('O=Bytes,CN=Another root'), int(signer.serial)))),
  ),
  c('weak_signer_key', 'signature', '1024 bits', () =>
    token({ signer: signerWith({ key: weakKey }) }),
  ),
  c('weak_signer_key', 'signature', 'exponent of more than 32 bits', () =>
    token({ signer: signerWith({ key: makeKey('rsa', 'rsa_keygen_pubexp:4294967311') }) }),
  ),
  c('weak_signer_key', 'signature', 'an elliptic curve other than', () =>
    token({ signer: signerWith({ key: makeKey('secp256k1') }) }),
  ),
  c('missing_attribute', 'signature', 'contentType', () => token(withoutAttribute(0))),
  c('missing_attribute', 'signature', 'messageDigest', () => token(withoutAttribute(1))),
  c('missing_attribute', 'signature', 'contentType is missing', () =>
    token({ members: (usual) => usual.filter((_, i) => i !== 3) }),
  ),
  c('missing_attribute', 'signature', 'no digest', () =>
    token(withAttribute(1, attribute('1.2.840.113549.1.9.4', utf8('x')))),
  ),
  c('repeated_attribute', 'signature', 'is there twice', () =>
    token({ attributes: (usual) => [...usual, ...usual.slice(1, 2)] }),
  ),
  c('repeated_attribute', 'signature', 'several values', () =>
    token(
      withAttribute(
        1,
        attribute('1.2.840.113549.1.9.4', octets(Buffer.alloc(64)), octets(Buffer.alloc(64, 1))),
      ),
    ),
  ),
  c('wrong_content_type_attribute', 'signature', 'not TSTInfo', () =>
    token(withAttribute(0, attribute('1.2.840.113549.1.9.3', oid('1.2.840.113549.1.7.1')))),
  ),
  c('wrong_message_digest', 'signature', 'not the digest', () =>
    token(withAttribute(1, attribute('1.2.840.113549.1.9.4', octets(Buffer.alloc(64))))),
  ),
  c('missing_ess_cert_id', 'signature', 'signingCertificate', () => token(withoutAttribute(2))),
  c('missing_ess_cert_id', 'signature', 'signingCertificate', () =>
    token(withAttribute(2, signingCertificateV2())),
  ),
  c('wrong_ess_cert_id', 'signature', 'another certificate', () =>
    token(withAttribute(2, signingCertificateV2(essV2(rsaSigner)))),
  ),
  c('wrong_ess_cert_id', 'signature', 'another certificate', () =>
    token(withAttribute(2, signingCertificateV2(essV2(rsaSigner, false)))),
  ),
  c('wrong_ess_cert_id', 'signature', 'another certificate', () =>
    token(withAttribute(2, signingCertificateV2(essV2({ ...signer, serial: 1 })))),
  ),
  c('wrong_ess_cert_id', 'signature', 'another certificate', () =>
    token(withAttribute(2, signingCertificate(essV1(rsaSigner)))),
  ),
  c('wrong_ess_cert_id', 'signature', 'another certificate', () =>
    token({ attributes: (usual) => [...usual, signingCertificate(essV1(rsaSigner))] }),
  ),
  c('wrong_signature', 'signature', 'signature of the token is not that of', () =>
    token({ key: makeKey('p384') }),
  ),
  c('wrong_signature', 'signature', 'signature of the token is not that of', () =>
    token({ signed: Buffer.from('something else') }),
  ),
  c('wrong_signature', 'signature', 'signature of the token is not that of', () =>
    token({
      signer: rsaSigner,
      kind: 'pss',
      algorithm: seq(oid('1.2.840.113549.1.1.10'), pssParameters('sha512', 'sha512', 32)),
    }),
  ),
  c('wrong_signature', 'signature', 'signature of the token is not that of', () => {
    // Its key is for SHA-256 only; another, without that limit, has signed.
    const limited = makeKey('rsa-pss', 'rsa_pss_keygen_md:sha256', 'rsa_pss_keygen_mgf1_md:sha256')
    return token({ signer: signerWith({ key: limited }), kind: 'pss', key: rsaKey })
  }),
  c('wrong_extended_key_usage', 'certificate', 'timeStamping', () =>
    token({ signer: signerWith({ extensions: SIGNER_EXTENSIONS.slice(0, 2) }) }),
  ),
  ...[
    extendedKeyUsage(true, CLIENT_AUTH),
    extendedKeyUsage(true, TIME_STAMPING, CLIENT_AUTH),
    extendedKeyUsage(false, TIME_STAMPING),
    extendedKeyUsage(true, '2.5.29.37.0'),
  ].map((usage) =>
    c('wrong_extended_key_usage', 'certificate', 'as its only extended key usage', () =>
      token({ signer: signerWith({ extensions: [...SIGNER_EXTENSIONS.slice(0, 2), usage] }) }),
    ),
  ),
  ...[0x20, 0xa0, 0x06].map((usage) =>
    c('wrong_key_usage', 'certificate', 'for other things than signing', () =>
      token({
        signer: signerWith({
          extensions: [keyUsage(usage), extendedKeyUsage(true, TIME_STAMPING)],
        }),
      }),
    ),
  ),
  c('wrong_tsa_name', 'certificate', 'another authority', () =>
    token({ tst: { after: [explicit(0, explicit(4, nameOf('CN=Somebody else')))] } }),
  ),
  c('certificate_not_yet_valid', 'certificate', 'only from 2026-01-31T12:00:01Z', () =>
    token({ signer: signerWith({ notBefore: '20260131120001Z' }) }),
  ),
  c('certificate_expired', 'certificate', 'on 2026-01-31T11:59:59Z', () =>
    token({ signer: signerWith({ notAfter: '20260131115959Z' }) }),
  ),
  c('certificate_expired', 'certificate', 'had expired at 2050', () =>
    token({ tst: { time: '20500101000000Z' } }),
  ),
  c('certificate_expired', 'certificate', 'had expired', () =>
    below({ notAfter: '20251231000000Z' }),
  ),
  c('unknown_critical_extension', 'certificate', '1.2.3.4.9', () =>
    token({
      signer: signerWith({ extensions: [...SIGNER_EXTENSIONS, extension('1.2.3.4.9', true, nul)] }),
    }),
  ),
  c('unknown_critical_extension', 'certificate', '2.5.29.30', () =>
    below({ extensions: [...CA_EXTENSIONS, extension('2.5.29.30', true, seq())] }),
  ),
  c('untrusted', 'certificate', 'none of the trust anchors', () => {
    const strange = signerWith({ issuer: elsewhere })
    return token({ signer: strange, certificates: [strange.der, elsewhere.der] })
  }),
  c('untrusted', 'certificate', 'O=Elsewhere, who issued', () =>
    token({ signer: signerWith({ issuer: elsewhere }) }),
  ),
  c('untrusted', 'certificate', 'none of the trust anchors', () => {
    const fake = signerWith({ issuer: lookalike })
    return token({ signer: fake, certificates: [fake.der, lookalike.der] })
  }),
  c('untrusted', 'certificate', 'none of the trust anchors', () => {
    const alone = makeCertificate({
      key: signerKey,
      subject: 'CN=Alone',
      extensions: SIGNER_EXTENSIONS,
    })
    return token({ signer: alone })
  }),
  c('wrong_certificate_signature', 'certificate', 'is not that of CN=Root,O=Bytes', () =>
    token({ signer: signerWith({ issuer: lookalike }) }),
  ),
  c('weak_certificate', 'certificate', '1.2.840.10045.4.1', () =>
    token({ signer: signerWith({ hash: 'sha1' }) }),
  ),
  c('weak_certificate', 'certificate', '1024 bits', () => below({ key: weakKey })),
  c('not_a_ca', 'certificate', 'may not issue', () => below({ extensions: [] })),
  c('not_a_ca', 'certificate', 'may not issue', () =>
    below({ extensions: [basicConstraints(false), keyUsage(0x06)] }),
  ),
  c('wrong_key_usage', 'certificate', 'not for signing certificates', () =>
    below({ extensions: [basicConstraints(true), keyUsage(0x80)] }),
  ),
  c('wrong_extended_key_usage', 'certificate', 'may not issue certificates for timestamps', () =>
    below({ extensions: [...CA_EXTENSIONS, extendedKeyUsage(false, CLIENT_AUTH)] }),
  ),
  c('path_too_long', 'certificate', 'allows 0 certificates below it; there are 1', () => {
    const key = makeKey('p256')
    const upper = makeCertificate({
      key,
      issuer: root,
      extensions: [basicConstraints(true, 0), keyUsage(0x06)],
    })
    const lower = makeCertificate({ key: otherKey, issuer: upper, extensions: CA_EXTENSIONS })
    const end = signerWith({ issuer: lower })
    return token({ signer: end, certificates: [end.der, lower.der, upper.der] })
  }),
  c('malformed_token', 'format', 'OpenSSL reads another certificate', () =>
    token({ signer: disguised(SIGNER_EXTENSIONS) }),
  ),
  c('malformed_token', 'format', 'OpenSSL reads another certificate', () => {
    const middle = disguised(CA_EXTENSIONS)
    const end = signerWith({ issuer: middle })
    return token({ signer: end, certificates: [end.der, middle.der] })
  }),
  c('wrong_ess_path', 'certificate', 'to others than CN=Middle', () =>
    below({ subject: 'CN=Middle' }, {}, (end) => signingCertificateV2(essV2(end), essV2(root))),
  ),
  c('wrong_ess_path', 'certificate', 'to others than CN=Middle', () =>
    below({ subject: 'CN=Middle' }, {}, (end) => signingCertificate(essV1(end), essV1(root))),
  ),
  c('wrong_ess_path', 'certificate', 'to others than CN=Renewed', () => limited(original)),
  c('stray_certificate', 'certificate', 'CN=Stray', () => {
    const stray = makeCertificate({ key: otherKey, subject: 'CN=Stray', issuer: elsewhere })
    return token({ certificates: [signer.der, stray.der] })
  }),
  c('stray_certificate', 'certificate', 'CN=Stray', () => {
    const stray = makeCertificate({ key: otherKey, subject: 'CN=Stray', issuer: lookalike })
    return token({ certificates: [signer.der, root.der, stray.der] })
  }),
]

/** How a token is refused. */
function refusalOf({ make, anchors }: Pick<Case, 'make' | 'anchors'>): TimestampError {
  const der = make()
  try {
    verify(der, anchors)
  } catch (error) {
    if (error instanceof TimestampError) return error
    throw error
  }
  return expect.fail('accepted')
}

describe('verifyToken refuses', () => {
  it('nothing that is right', () => {
    expect(verify(token()).chain.map(({ subject }) => subject)).toHaveLength(2)
    expect(verify(below({})).chain).toHaveLength(3)
    const whole = below({}, {}, (end, middle) =>
      signingCertificateV2(essV2(end), essV2(middle), essV2(root)),
    )
    expect(verify(whole).chain).toHaveLength(3)
    const intermediates = below({}, {}, (end, middle) =>
      signingCertificateV2(essV2(end), essV2(middle)),
    )
    expect(verify(intermediates).chain).toHaveLength(3)
    // What it names beyond the path does no harm: with a lower anchor the path is shorter.
    const pinned = token(withAttribute(2, signingCertificateV2(essV2(signer), essV2(root))))
    expect(verify(pinned, [signer]).chain).toHaveLength(1)
    expect(verify(pinned).chain).toHaveLength(2)
  })

  it('no token for a path beside the one that it names', () => {
    const print = digest('sha256', renewed.der).toString('hex').toUpperCase()
    for (const embedded of [[renewed], [original, renewed], [renewed, original]]) {
      const { chain } = verify(limited(...embedded))
      expect(chain).toHaveLength(3)
      expect(chain[1]?.fingerprint.replaceAll(':', '')).toBe(print)
    }
  })

  it.each(CASES)('$code: $says', (one) => {
    const { code, stage, message } = refusalOf(one)
    expect({ code, stage }).toEqual({ code: one.code, stage: one.stage })
    expect(message).toContain(one.says)
  })

  it('for every reason there is', () => {
    const reasons = CASES.map(({ code }) => code)
    const all = Object.entries(TIMESTAMP_STAGES).flatMap(([code, stage]) => (stage ? [code] : []))
    expect([...new Set<string>(reasons)].sort()).toEqual(all.sort())
  })

  it('a path that goes round in circles, in good time', () => {
    const key = makeKey('p256')
    const subject = 'CN=Everybody'
    const ring = Array.from({ length: 15 }, () =>
      makeCertificate({ key, subject, extensions: CA_EXTENSIONS }),
    )
    const end = signerWith({ key, issuer: ring[0] ?? root })
    const certificates = [end, ...ring].map(({ der }) => der)
    const { code } = refusalOf({ make: () => token({ signer: end, certificates }) })
    expect(code).toBe('untrusted')
  })

  it('keys that would take long', () => {
    const modulus = tlv(2, Buffer.alloc(1), Buffer.alloc(2048, 0xff))
    const key = bits(seq(modulus, int(65537)))
    const der = seq(seq(oid('1.2.840.113549.1.1.1'), nul), key)
    expect(weaknessOf(createPublicKey({ key: der, format: 'der', type: 'spki' }))).toBe(
      'an RSA key of 16384 bits; 2048 to 8192 are taken',
    )
  })

  it('imprints of another length or algorithm than asked for', () => {
    const anchors = parseAnchors(root.pem)
    for (const [imprint, hash] of [
      [IMPRINT, 'sha256'],
      [IMPRINT, 'sha384'],
      [IMPRINT.subarray(1), 'sha512'],
      [Buffer.alloc(0), 'sha512'],
    ] as const) {
      expect(() => verifyToken(token(), imprint, hash, anchors)).toThrow(TimestampError)
    }
  })
})

describe('verifyToken takes', () => {
  const sha256Imprint = digest('sha256', Buffer.from('x'))

  it('ESSCertID with SHA-1, ESSCertIDv2, both, and without a serial number', () => {
    const both: Options = { attributes: (usual) => [...usual, signingCertificate(essV1(signer))] }
    expect(verify(token(both)).serial).toBe('4d')
    expect(verify(token(withAttribute(2, signingCertificate(essV1(signer))))).serial).toBe('4d')
    const bare = signingCertificateV2(essV2(signer, false))
    expect(verify(token(withAttribute(2, bare))).serial).toBe('4d')
    const explicitHash = seq(hashAlgorithm('sha384'), octets(digest('sha384', signer.der)))
    expect(verify(token(withAttribute(2, signingCertificateV2(explicitHash)))).serial).toBe('4d')
    const withRoot = signingCertificateV2(essV2(signer), essV2(root))
    expect(verify(token(withAttribute(2, withRoot))).serial).toBe('4d')
  })

  it('RSA without parameters, as well as with NULL', () => {
    for (const type of ['1.2.840.113549.1.1.1', '1.2.840.113549.1.1.13']) {
      for (const parameters of [[], [nul]]) {
        const algorithm = seq(oid(type), ...parameters)
        expect(verify(token({ signer: rsaSigner, algorithm })).serial).toBe('4d')
      }
    }
  })

  it('further signed attributes, such as signingTime', () => {
    const time = attribute(SIGNING_TIME, tlv(0x17, Buffer.from('260131120000Z')))
    expect(verify(token({ attributes: (usual) => [...usual, time] })).serial).toBe('4d')
  })

  it('a signer that is told by its key identifier', () => {
    const id = Buffer.from('0123456789')
    const told = signerWith({ extensions: [...SIGNER_EXTENSIONS, keyId(id)] })
    expect(verify(token({ signer: told, keyId: id })).chain).toHaveLength(2)
  })

  it('a pinned certificate as an anchor, in the token or not', () => {
    for (const certificates of [[], [signer.der], [signer.der, root.der]]) {
      const { chain, signer: name } = verify(token({ certificates }), [signer])
      expect(chain.map(({ subject }) => subject)).toEqual([name])
    }
  })

  it('the one of several anchors that fits, whatever the others are', () => {
    const expired = makeCertificate({
      key: rootKey,
      subject: ROOT_NAME,
      notAfter: '20211231000000Z',
      extensions: CA_EXTENSIONS,
    })
    const { chain } = verify(token(), [elsewhere, lookalike, expired, root])
    expect(chain.map(({ notAfter }) => notAfter)).toEqual(
      Array.from({ length: 2 }, () => '2049-12-31T23:59:59Z'),
    )
    expect(refusalOf({ make: () => token(), anchors: [expired] }).code).toBe('certificate_expired')
  })

  it('a certificate at the first and at the last second of its validity', () => {
    const brief = signerWith({ notBefore: '20260131120000Z', notAfter: '20260131120000Z' })
    expect(verify(token({ signer: brief })).time).toBe('2026-01-31T12:00:00Z')
    const late = token({ signer: brief, tst: { time: '20260131120000.001Z' } })
    expect(refusalOf({ make: () => late }).code).toBe('certificate_expired')
  })

  it('what a timestamp may say, and passes it on', () => {
    const accuracy = seq(int(2), tlv(0x80, Buffer.of(5)), tlv(0x81, Buffer.of(0, 250)))
    const full = verify(
      token({
        tst: {
          time: '20260131120000.123456Z',
          nonce: 0xff00n,
          between: [accuracy, bool(true)],
          after: [
            explicit(0, explicit(4, signer.subject)),
            explicit(1, extension('1.2.3.4', false, nul)),
          ],
        },
      }),
    )
    expect(full).toMatchObject({
      time: '2026-01-31T12:00:00.123456Z',
      accuracyMs: 2005.25,
      serial: '4d',
      policy: '1.2.3.4.1',
      nonce: 'ff00',
      signer: `CN=Certificate ${signer.serial},O=Bytes`,
      certificates: signer.pem,
      chain: [
        {
          subject: `CN=Certificate ${signer.serial},O=Bytes`,
          issuer: 'CN=Root,O=Bytes',
          notBefore: '2020-01-01T00:00:00Z',
          notAfter: '2049-12-31T23:59:59Z',
        },
        { subject: 'CN=Root,O=Bytes', issuer: 'CN=Root,O=Bytes' },
      ],
    })
    expect(verify(token())).toMatchObject({ accuracyMs: null, nonce: null })
  })

  it('a name of the authority that is one of its alternative names', () => {
    const dns = tlv(0x82, Buffer.from('tsa.example'))
    const named = signerWith({
      extensions: [...SIGNER_EXTENSIONS, extension('2.5.29.17', false, seq(dns))],
    })
    const tst = { after: [explicit(0, dns)] }
    expect(verify(token({ signer: named, tst })).serial).toBe('4d')
    expect(refusalOf({ make: () => token({ tst }) }).code).toBe('wrong_tsa_name')
  })

  it('names in other spellings that are the same', () => {
    const spelled = seq(
      set(seq(oid('2.5.4.10'), tlv(0x13, Buffer.from('  BYTES ')))),
      set(seq(oid('2.5.4.3'), tlv(0x13, Buffer.from('root')))),
    )
    expect(verify(token({ signer: signerWith({ issuerName: spelled }) })).chain).toHaveLength(2)
  })

  it.each(['sha256', 'sha384'] as const)('imprints of %s', (hash) => {
    const imprint = hash === 'sha256' ? sha256Imprint : digest('sha384', Buffer.from('x'))
    const der = token({ tst: { imprint, imprintHash: hash } })
    expect(verifyToken(der, imprint, hash, parseAnchors(root.pem)).serial).toBe('4d')
  })

  it('a bit string of key usages with both bits', () => {
    const usages = extension('2.5.29.15', false, bits(Buffer.of(0xc0), 6))
    const both = signerWith({ extensions: [usages, extendedKeyUsage(true, TIME_STAMPING)] })
    expect(verify(token({ signer: both })).chain).toHaveLength(2)
  })
})
