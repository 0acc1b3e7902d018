import nacl from 'tweetnacl'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { openFileKey, sealFileKey } from '../../src/raw/middleware/sealed-box/file-key.js'
import {
  createKeyRing,
  generateKeyPair,
  keyIdOf,
} from '../../src/raw/middleware/sealed-box/keys.js'
import { createSealedBox } from '../../src/raw/middleware/sealed-box/sealed-box.js'
import {
  encoded,
  fileMiddlewareContract,
  storedBytes,
} from '../contracts/file-middleware.contract.js'
import { collect } from '../contracts/raw-repository.contract.js'
import { flipped } from '../support/sealed-content.js'

/** What was drawn and derived, by reference: to see what becomes of it. */
const { secrets } = vi.hoisted(() => ({ secrets: [] as [name: string, bytes: Uint8Array][] }))

vi.mock('node:crypto', async (importOriginal) => {
  const real = await importOriginal<typeof import('node:crypto')>()
  const kept = <T extends Uint8Array | ArrayBuffer>(name: string, bytes: T): T => {
    secrets.push([name, bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes)])
    return bytes
  }
  return {
    ...real,
    randomBytes: (size: number) => kept('random', real.randomBytes(size)),
    hkdfSync: (...args: Parameters<typeof real.hkdfSync>) =>
      kept('payload key', real.hkdfSync(...args)),
    createPrivateKey: (key: { key: Buffer; format: 'der'; type: 'pkcs8' }) => {
      kept('private key', key.key)
      return real.createPrivateKey(key)
    },
    diffieHellman: (...args: Parameters<typeof real.diffieHellman>) =>
      kept('shared secret', real.diffieHellman(...args)),
  }
})

/** tweetnacl's types leave it out. */
const { lowlevel } = nacl as unknown as {
  lowlevel: { crypto_core_hsalsa20(...args: readonly Uint8Array[]): void }
}
const hsalsa20 = lowlevel.crypto_core_hsalsa20

beforeEach(() => {
  secrets.length = 0
  vi.spyOn(lowlevel, 'crypto_core_hsalsa20').mockImplementation((out, ...args) => {
    if (out) secrets.push(['box key', out])
    hsalsa20(out ?? new Uint8Array(0), ...args)
  })
})

const sealedBox = () => createSealedBox(createKeyRing(generateKeyPair()))
const content = Buffer.from('the content')
const whole = { start: 0, end: content.length }

fileMiddlewareContract('sealed boxes', sealedBox)

describe('sealed boxes', () => {
  it('do not show the content, nor that two are equal', async () => {
    const middleware = sealedBox()
    const [one, other] = [
      await encoded(middleware, [content]),
      await encoded(middleware, [content]),
    ]
    expect(one.stored.includes('content')).toBe(false)
    expect(one.stored.subarray(16)).not.toEqual(other.stored.subarray(16))
    expect(one.sealedKey?.sealed).toHaveLength(64)
    expect(one.sealedKey).not.toEqual(other.sealedKey)
    expect(one.sealedKey?.keyId).toBe(other.sealedKey?.keyId)
  })

  it('are made without a private key, and opened by whoever has it', async () => {
    const { publicKey, privateKey } = generateKeyPair()
    const { stored, ...kept } = await encoded(createSealedBox(createKeyRing({ publicKey })), [
      content,
    ])
    const old = generateKeyPair()
    const reader = createSealedBox(createKeyRing({ ...old, oldPrivateKeys: [privateKey] }))
    expect(await collect(reader.decode(storedBytes(stored, 9), whole, kept))).toEqual(content)
  })

  it('say at once which key is missing, and what to do', async () => {
    const { publicKey } = generateKeyPair()
    const writer = createSealedBox(createKeyRing({ publicKey }))
    const { stored, ...kept } = await encoded(writer, [content])
    const message =
      `the content is sealed to the key ${kept.sealedKey?.keyId}, whose private key this service ` +
      'does not have: set BYTES_PRIVATE_KEY_B64, or add it to BYTES_OLD_PRIVATE_KEYS_B64'
    for (const middleware of [writer, sealedBox(), createSealedBox(createKeyRing({}))]) {
      const decoding = () => middleware.decode(storedBytes(stored, 9), whole, kept)
      expect(decoding).toThrow(expect.objectContaining({ code: 'key_missing', message }))
    }
  })

  it('find the private key by its id, and try no other', async () => {
    const [one, other] = [generateKeyPair(), generateKeyPair()]
    const ring = createKeyRing({ ...one, oldPrivateKeys: [other.privateKey] })
    const middleware = createSealedBox(ring)
    const { stored, size, sealedKey } = await encoded(middleware, [content])
    const otherId = keyIdOf(other.publicKey)
    const kept = { size, sealedKey: { keyId: otherId, sealed: sealedKey?.sealed ?? stored } }
    expect(() => middleware.decode(storedBytes(stored, 9), whole, kept)).toThrow(
      expect.objectContaining({
        code: 'blob_damaged',
        message: `the key of its content does not open with the key ${otherId}`,
      }),
    )
  })

  it('are damaged when the sealed key is', async () => {
    const ring = createKeyRing(generateKeyPair())
    const middleware = createSealedBox(ring)
    const { stored, size, sealedKey } = await encoded(middleware, [content])
    if (!sealedKey || !ring.current) throw new Error('there is one')
    const { keyId, sealed } = sealedKey
    const wrong = [
      null,
      { keyId, sealed: Buffer.alloc(0) },
      { keyId, sealed: sealed.subarray(1) },
      { keyId, sealed: flipped(sealed, 40) },
      // Opens, to a key that is no file key.
      sealFileKey(Buffer.alloc(15), ring.current),
      sealFileKey(Buffer.alloc(32), ring.current),
    ]
    for (const each of wrong) {
      const decoding = () =>
        middleware.decode(storedBytes(stored, 9), whole, { size, sealedKey: each })
      expect(decoding).toThrow(expect.objectContaining({ code: 'blob_damaged' }))
    }
  })

  it('do not open with the key of another blob', async () => {
    const middleware = sealedBox()
    const { stored, size } = await encoded(middleware, [content])
    const { sealedKey } = await encoded(middleware, [content])
    const reading = collect(middleware.decode(storedBytes(stored, 9), whole, { size, sealedKey }))
    await expect(reading).rejects.toMatchObject({ code: 'blob_damaged' })
  })

  it('can be sealed to another key, and the content stays as it is', async () => {
    const [old, next] = [generateKeyPair(), generateKeyPair()]
    const nextRing = createKeyRing({ ...next, privateKey: Buffer.from(next.privateKey) })
    const both = createKeyRing({ ...next, oldPrivateKeys: [Buffer.from(old.privateKey)] })
    const { stored, size, sealedKey } = await encoded(createSealedBox(createKeyRing(old)), [
      content,
    ])
    if (!both.current) throw new Error('there is one')
    const moved = sealFileKey(openFileKey(sealedKey, both), both.current)
    const plain = createSealedBox(nextRing).decode(storedBytes(stored, 9), whole, {
      size,
      sealedKey: moved,
    })
    expect(await collect(plain)).toEqual(content)
  })

  it('cannot be made without a public key', () => {
    const { privateKey } = generateKeyPair()
    for (const keys of [{}, { privateKey }]) {
      const middleware = createSealedBox(createKeyRing(keys))
      expect(() => middleware.encode([content])).toThrow('without a public key')
    }
  })

  it('leave no key in a buffer, also when nobody reads on', async () => {
    /** What was used, and whether it is still there. */
    const used = (): [string, boolean][] =>
      secrets.map(([name, bytes]) => [name, bytes.some(Boolean)])
    const { publicKey, privateKey } = generateKeyPair()
    const writer = createSealedBox(createKeyRing({ publicKey }))
    secrets.length = 0
    const reader = createSealedBox(createKeyRing({ privateKey }))
    expect(used()).toEqual([['private key', false]])

    secrets.length = 0
    const { stored: bytes, sealedKey } = writer.encode([content])
    const written = [
      // The file key.
      ['random', false],
      // The ephemeral private key, and its PKCS #8.
      ['random', false],
      ['private key', false],
      ['shared secret', false],
      ['box key', false],
      // The nonce, which is no secret.
      ['random', true],
      ['payload key', false],
    ]
    expect(used()).toEqual(written)
    const stored = await collect(bytes)
    expect(used()).toEqual(written)

    secrets.length = 0
    const open = vi.spyOn(nacl.secretbox, 'open')
    const kept = { size: content.length, sealedKey }
    const pieces = reader.decode(storedBytes(stored, 9), whole, kept)
    const boxes = [
      ['shared secret', false],
      ['box key', false],
    ]
    expect(used()).toEqual(boxes)
    expect(open.mock.results).toEqual([{ type: 'return', value: new Uint8Array(16) }])
    expect(await collect(pieces)).toEqual(content)
    expect(used()).toEqual([...boxes, ['payload key', false]])
  })
})
