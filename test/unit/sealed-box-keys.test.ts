import fc from 'fast-check'
import sodium from 'libsodium-wrappers'
import { describe, expect, it } from 'vitest'
import {
  createKeyRing,
  generateKeyPair,
  isPair,
  keyIdOf,
} from '../../src/raw/middleware/sealed-box/keys.js'

const key = fc.uint8Array({ minLength: 32, maxLength: 32 })

describe('ids of keys', () => {
  it('are the first 16 digits of SHA-256', () => {
    expect(keyIdOf(Buffer.alloc(32))).toBe('66687aadf862bd77')
  })
})

describe('pairs of keys', () => {
  it('are those of libsodium', async () => {
    await sodium.ready
    const wrong = generateKeyPair().publicKey
    fc.assert(
      fc.property(key, (privateKey) => {
        expect(isPair(sodium.crypto_scalarmult_base(privateKey), privateKey)).toBe(true)
        expect(isPair(wrong, privateKey)).toBe(false)
      }),
    )
  })

  it('are new each time', () => {
    const pairs = Array.from({ length: 10 }, generateKeyPair)
    expect(new Set(pairs.map(({ publicKey }) => keyIdOf(publicKey))).size).toBe(10)
    expect(new Set(pairs.map(({ privateKey }) => keyIdOf(privateKey))).size).toBe(10)
  })
})

describe('key rings', () => {
  it('find pairs by id, current and old', () => {
    const [current, old, older, foreign] = Array.from({ length: 4 }, () => generateKeyPair())
    if (!current || !old || !older || !foreign) throw new Error('there are four')
    const ring = createKeyRing({ ...current, oldPrivateKeys: [old.privateKey, older.privateKey] })
    expect(ring.current?.id).toBe(keyIdOf(current.publicKey))
    for (const { publicKey } of [current, old, older]) {
      const { id, bytes } = ring.pairOf(keyIdOf(publicKey))?.publicKey ?? {}
      expect([id, bytes]).toEqual([keyIdOf(publicKey), Buffer.from(publicKey)])
    }
    expect(ring.keyIds).toEqual([current, old, older].map(({ publicKey }) => keyIdOf(publicKey)))
    expect(ring.pairOf(keyIdOf(foreign.publicKey))).toBeUndefined()
    expect(ring.pairOf('')).toBeUndefined()
  })

  it('do with a public key alone, with a private key alone, and with none', () => {
    const { publicKey, privateKey } = generateKeyPair()
    const writing = createKeyRing({ publicKey })
    expect([writing.current?.id, writing.pairOf(keyIdOf(publicKey))]).toEqual([
      keyIdOf(publicKey),
      undefined,
    ])
    const reading = createKeyRing({ privateKey })
    expect([reading.current, reading.pairOf(keyIdOf(publicKey))?.publicKey.id]).toEqual([
      undefined,
      keyIdOf(publicKey),
    ])
    expect(createKeyRing({}).current).toBeUndefined()
  })

  it('take the current pair again as an old one', () => {
    const { publicKey, privateKey } = generateKeyPair()
    const ring = createKeyRing({
      publicKey,
      privateKey,
      oldPrivateKeys: [Buffer.from(privateKey)],
    })
    expect(ring.pairOf(keyIdOf(publicKey))?.publicKey.id).toBe(keyIdOf(publicKey))
  })

  it('wipe private keys, and keep public keys as they are', () => {
    const [one, other] = [generateKeyPair(), generateKeyPair()]
    const before = Buffer.from(one.publicKey)
    createKeyRing({ ...one, oldPrivateKeys: [other.privateKey] })
    expect([...one.privateKey, ...other.privateKey].every((byte) => byte === 0)).toBe(true)
    expect(Buffer.from(one.publicKey)).toEqual(before)
  })

  it('refuse a private key of another public key by their ids, and wipe it', () => {
    const [one, other] = [generateKeyPair(), generateKeyPair()]
    const { publicKey } = one
    const make = () => createKeyRing({ publicKey, privateKey: other.privateKey })
    expect(make).toThrow(
      `the private key belongs to the public key ${keyIdOf(other.publicKey)}, and not to the public key ${keyIdOf(publicKey)}`,
    )
    expect(other.privateKey.every((byte) => byte === 0)).toBe(true)
  })

  it('refuse a public key that nothing can be sealed to', () => {
    expect(() => createKeyRing({ publicKey: Buffer.alloc(32) })).toThrow(
      `the public key ${keyIdOf(Buffer.alloc(32))} is none: nothing can be sealed to it`,
    )
  })
})
