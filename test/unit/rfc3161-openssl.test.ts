/** OpenSSL, which outsiders check timestamps with, must take what we take. */
import { execFileSync } from 'node:child_process'
import type { KeyObject } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseDer } from '../../src/hashing/der.js'
import { parseAnchors } from '../../src/hashing/rfc3161/anchors.js'
import { TimestampError } from '../../src/hashing/rfc3161/errors.js'
import { makeRequest } from '../../src/hashing/rfc3161/request.js'
import { verifyToken } from '../../src/hashing/rfc3161/token.js'
import {
  basicConstraints,
  CA_EXTENSIONS,
  extendedKeyUsage,
  extension,
  keyUsage,
  makeCertificate,
  makeKey,
  nameOf,
  SIGNER_EXTENSIONS,
  type TestCertificate,
  TIME_STAMPING,
} from '../support/certificates.js'
import { explicit, nul } from '../support/der.js'
import {
  digest,
  essV2,
  makeInfo,
  makeToken,
  signingCertificateV2,
  type TokenOptions,
} from '../support/tokens.js'

const IMPRINT = digest('sha512', Buffer.from('a secure hash'))
/** genTime of the tokens made here. */
const AT = String(Date.UTC(2026, 0, 31, 12) / 1000)

let dir = ''
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'bytes-test-openssl-'))
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

function openssl(...args: readonly string[]): string {
  return execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString()
}

/** Whether the program is content. */
function isFine(...args: readonly string[]): boolean {
  try {
    openssl(...args)
    return true
  } catch {
    return false
  }
}

function file(name: string, content: string | Uint8Array): string {
  const path = join(dir, name)
  writeFileSync(path, content)
  return path
}

/** `openssl ts -verify` of a token for IMPRINT. */
function opensslTakes(token: Buffer, anchors: string, at = AT, imprint = IMPRINT): boolean {
  const files = ['-in', file('token', token), '-token_in', '-CAfile', file('anchors', anchors)]
  const time = ['-attime', at, '-partial_chain']
  return isFine('ts', '-verify', '-digest', imprint.toString('hex'), ...files, ...time)
}

function weTake(token: Buffer, anchors: string): boolean {
  try {
    verifyToken(token, IMPRINT, 'sha512', parseAnchors(anchors))
    return true
  } catch (error) {
    if (error instanceof TimestampError) return false
    throw error
  }
}

const root = makeCertificate({
  key: makeKey('p256'),
  subject: 'O=Bytes,CN=Root',
  extensions: CA_EXTENSIONS,
})
const signerKey = makeKey('p256')
const rsa = makeKey('rsa')

const signerWith = (
  options: Partial<Parameters<typeof makeCertificate>[0]> = {},
): TestCertificate =>
  makeCertificate({ key: signerKey, issuer: root, extensions: SIGNER_EXTENSIONS, ...options })

const info = makeInfo({ imprint: IMPRINT })
const token = (options: Partial<TokenOptions> = {}): Buffer =>
  makeToken({ signer: signerWith(), info, ...options })

describe('openssl ts takes what we take:', () => {
  const keys: readonly [string, () => KeyObject][] = [
    ['RSA', () => rsa],
    ['P-256', () => signerKey],
    ['P-384', () => makeKey('p384')],
    ['P-521', () => makeKey('p521')],
  ]
  const hashes = ['sha256', 'sha384', 'sha512'] as const
  it.each(keys.flatMap(([name, key]) => hashes.map((hash) => ({ name, key, hash }))))(
    '$name with $hash',
    ({ key, hash }) => {
      const der = token({ signer: signerWith({ key: key() }), hash })
      expect({ we: weTake(der, root.pem), openssl: opensslTakes(der, root.pem) }).toEqual({
        we: true,
        openssl: true,
      })
    },
  )

  it.each([
    ['rsa', 'rsa', 'sha256'],
    ['rsa', 'rsa', 'sha512'],
    ['rsa', 'pss', 'sha256'],
    ['rsa-pss', 'pss', 'sha384'],
    ['p384', 'ecdsa', 'sha384'],
    ['p521', 'ecdsa', 'sha512'],
    ['ed25519', 'ed25519', 'sha512'],
  ] as const)('an issuer with a key %s that signs by %s with %s', (type, kind, hash) => {
    const issuer = makeCertificate({
      key: type === 'rsa' ? rsa : makeKey(type),
      kind,
      hash,
      extensions: CA_EXTENSIONS,
    })
    const signer = signerWith({ issuer, kind, hash })
    const der = token({ signer })
    expect(weTake(der, issuer.pem)).toBe(true)
    expect(opensslTakes(der, issuer.pem)).toBe(true)
  })

  it('a path with an authority in the middle, and one that is pinned', () => {
    const middle = makeCertificate({
      key: makeKey('p256'),
      issuer: root,
      extensions: [basicConstraints(true, 0), keyUsage(0x04)],
    })
    const signer = signerWith({ issuer: middle })
    const der = token({
      signer,
      certificates: [signer.der, middle.der],
      attributes: (usual) => [
        ...usual.slice(0, 2),
        signingCertificateV2(essV2(signer), essV2(middle)),
      ],
    })
    for (const { pem } of [root, middle]) {
      expect(weTake(der, pem)).toBe(true)
      expect(opensslTakes(der, pem)).toBe(true)
    }
    const pinned = token({ signer })
    expect(weTake(pinned, signer.pem)).toBe(true)
    expect(opensslTakes(pinned, signer.pem)).toBe(true)
  })

  it('the real ones', () => {
    const fixture = (name: string): Buffer =>
      readFileSync(new URL(`../fixtures/timestamps/${name}`, import.meta.url))
    const pem = fixture('freetsa-root.pem').toString()
    const imprint = Buffer.from(
      'e2361b4053a945dd1d241a6c87dad798b7fd7450614b815a2d947283ed359452',
      'hex',
    )
    expect(opensslTakes(fixture('freetsa-2026-01-04.token'), pem, '1767564000', imprint)).toBe(true)
  })
})

describe('openssl cms takes what we take, where openssl ts knows no such signature:', () => {
  /** `openssl cms -verify` does not look at the imprint, only at who signed. */
  const cmsTakes = (der: Buffer, anchors: string): boolean =>
    isFine(
      ...['cms', '-verify', '-inform', 'DER', '-in', file('token', der)],
      ...['-CAfile', file('anchors', anchors), '-purpose', 'timestampsign', '-attime', AT],
      ...['-out', join(dir, 'content')],
    )

  it.each([
    ['RSA-PSS with a key for RSA', 'rsa', 'sha256'],
    ['RSA-PSS with a key for RSA', 'rsa', 'sha384'],
    ['RSA-PSS with a key for RSA', 'rsa', 'sha512'],
    ['RSA-PSS with a key for nothing else', 'rsa-pss', 'sha512'],
  ] as const)('%s (%s, %s)', (_, type, hash) => {
    const signer = signerWith({ key: type === 'rsa' ? rsa : makeKey(type) })
    const der = token({ signer, kind: 'pss', hash })
    expect(weTake(der, root.pem)).toBe(true)
    expect(cmsTakes(der, root.pem)).toBe(true)
    const other = token({ signer, kind: 'pss', hash, key: makeKey(type) })
    expect(weTake(other, root.pem)).toBe(false)
    expect(cmsTakes(other, root.pem)).toBe(false)
  })

  it('Ed25519, whose signatures in a token the program can only check by hand', () => {
    const signer = signerWith({ key: makeKey('ed25519') })
    const der = token({ signer })
    expect(weTake(der, root.pem)).toBe(true)
    expect(weTake(token({ signer, key: makeKey('ed25519') }), root.pem)).toBe(false)
    // RFC 8419, section 3: with signed attributes the digest is SHA-512.
    expect(weTake(token({ signer, hash: 'sha256' }), root.pem)).toBe(false)

    const [, explicitContent] = parseDer(der).children
    const [signerInfo] = explicitContent?.children[0]?.children.at(-1)?.children ?? []
    const signed = Buffer.from(signerInfo?.children[3]?.raw ?? [])
    signed[0] = 0x31
    const files = [
      '-in',
      file('signed', signed),
      '-sigfile',
      file('signature', signerInfo?.children[5]?.content ?? ''),
    ]
    const certificate = file('signer', signer.pem)
    expect(isFine('pkeyutl', '-verify', '-rawin', '-certin', '-inkey', certificate, ...files)).toBe(
      true,
    )
    const anchors = ['-CAfile', file('anchors', root.pem), '-attime', AT]
    expect(isFine('verify', ...anchors, '-purpose', 'timestampsign', certificate)).toBe(true)
  })
})

describe('openssl ts refuses, as we do,', () => {
  const elsewhere = makeCertificate({
    key: makeKey('p256'),
    subject: 'O=Bytes,CN=Root',
    extensions: CA_EXTENSIONS,
  })
  const withExtensions = (...extensions: readonly Buffer[]): Buffer =>
    token({ signer: signerWith({ extensions }) })

  it.each<[string, () => Buffer]>([
    [
      'a token for something else',
      () => token({ info: makeInfo({ imprint: digest('sha512', nul) }) }),
    ],
    [
      'a certificate that had expired',
      () => token({ signer: signerWith({ notAfter: '20251231000000Z' }) }),
    ],
    ['one not yet valid', () => token({ signer: signerWith({ notBefore: '20260201000000Z' }) })],
    ['a lookalike authority', () => token({ signer: signerWith({ issuer: elsewhere }) })],
    [
      'a lookalike that brings its root',
      () => {
        const signer = signerWith({ issuer: elsewhere })
        return token({ signer, certificates: [signer.der, elsewhere.der] })
      },
    ],
    ['a signature of another key', () => token({ key: makeKey('p256') })],
    ['a certificate for anything', () => withExtensions(basicConstraints(false))],
    ['a usage that is not critical', () => withExtensions(extendedKeyUsage(false, TIME_STAMPING))],
    [
      'another usage beside it',
      () => withExtensions(extendedKeyUsage(true, TIME_STAMPING, '1.3.6.1.5.5.7.3.1')),
    ],
    [
      'a key for other things',
      () => withExtensions(keyUsage(0xa0), extendedKeyUsage(true, TIME_STAMPING)),
    ],
    [
      'a critical extension that nobody knows',
      () => withExtensions(...SIGNER_EXTENSIONS, extension('1.2.3.4', true, nul)),
    ],
    [
      'attributes without signingCertificate',
      () => token({ attributes: (usual) => usual.slice(0, 2) }),
    ],
    [
      'signingCertificate of another',
      () =>
        token({
          attributes: (usual) => [...usual.slice(0, 2), signingCertificateV2(essV2(root))],
        }),
    ],
    [
      'another name of the authority',
      () =>
        token({
          info: makeInfo({
            imprint: IMPRINT,
            after: [explicit(0, explicit(4, nameOf('CN=Somebody else')))],
          }),
        }),
    ],
    [
      'an issuer that is none',
      () => {
        const middle = makeCertificate({ key: makeKey('p256'), issuer: root })
        const signer = signerWith({ issuer: middle })
        return token({ signer, certificates: [signer.der, middle.der] })
      },
    ],
    ['a token that is cut off', () => token().subarray(0, -1)],
    ['two signers', () => token({ signerInfos: (usual) => [usual, usual] })],
  ])('%s', (_, make) => {
    const der = make()
    expect({ we: weTake(der, root.pem), openssl: opensslTakes(der, root.pem) }).toEqual({
      we: false,
      openssl: false,
    })
  })
})

describe('makeRequest', () => {
  it('makes what openssl reads: SHA-512, the nonce, certReq', () => {
    for (let i = 0; i < 4; i++) {
      const { der, nonce } = makeRequest(IMPRINT)
      const text = openssl('ts', '-query', '-in', file('query', der), '-text')
      expect(text).toContain('Version: 1')
      expect(text).toContain('Hash Algorithm: sha512')
      expect(text).toContain('Certificate required: yes')
      expect(text).toContain('Policy OID: unspecified')
      const shown = /Nonce: 0x([0-9A-F]+)/.exec(text)?.[1]
      expect(shown?.toLowerCase()).toBe(nonce)
      expect(Buffer.from(der).includes(IMPRINT)).toBe(true)
    }
  })

  it('asks with another nonce each time, of 64 bits', () => {
    const nonces = Array.from({ length: 500 }, () => makeRequest(IMPRINT).nonce)
    expect(new Set(nonces).size).toBe(500)
    const lengths = nonces.map((nonce) => nonce.length)
    expect(Math.max(...lengths)).toBe(16)
    expect(nonces.some((nonce) => /^[89a-f]/.test(nonce) && nonce.length === 16)).toBe(true)
  })
})
