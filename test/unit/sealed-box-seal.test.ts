import fc from 'fast-check'
import sodium from 'libsodium-wrappers'
import { beforeAll, describe, expect, it } from 'vitest'
import { open, type PublicKey, seal } from '../../src/raw/middleware/sealed-box/box.js'
import {
  createKeyRing,
  generateKeyPair,
  keyIdOf,
} from '../../src/raw/middleware/sealed-box/keys.js'
import { publicKeyFrom } from '../../src/raw/middleware/sealed-box/x25519.js'
import { flipped } from '../support/sealed-content.js'

beforeAll(() => sodium.ready)

/** Raw keys of a pair, and what our side makes of them. */
function pairFrom(raw: { publicKey: Uint8Array; privateKey: Uint8Array }) {
  const { publicKey, privateKey } = raw
  const ring = createKeyRing({ publicKey, privateKey: Buffer.from(privateKey) })
  const pair = ring.pairOf(keyIdOf(publicKey))
  if (!pair) throw new Error('the ring lost its pair')
  return { ...raw, pair }
}

const publicKeyOf = (bytes: Uint8Array): PublicKey => ({
  id: keyIdOf(bytes),
  bytes,
  key: publicKeyFrom(bytes),
})

/** Points of low order (RFC 7748, section 6.1), also as not reduced numbers and with the high bit. */
const LOW_ORDER = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '0000000000000000000000000000000000000000000000000000000000000080',
].map((hex) => Buffer.from(hex, 'hex'))

const message = fc.uint8Array({ maxLength: 200 })

describe('sealed boxes', () => {
  it('of ours are opened by libsodium', () => {
    fc.assert(
      fc.property(message, fc.boolean(), (plain, theirs) => {
        const raw = theirs ? sodium.crypto_box_keypair() : generateKeyPair()
        const { pair, publicKey, privateKey } = pairFrom(raw)
        const sealed = seal(plain, pair.publicKey)
        expect(sealed.length).toBe(plain.length + sodium.crypto_box_SEALBYTES)
        expect(sodium.crypto_box_seal_open(sealed, publicKey, privateKey)).toEqual(plain)
      }),
      { numRuns: 100 },
    )
  })

  it('of libsodium are opened by ours', () => {
    fc.assert(
      fc.property(message, fc.boolean(), (plain, theirs) => {
        const raw = theirs ? sodium.crypto_box_keypair() : generateKeyPair()
        const { pair, publicKey } = pairFrom(raw)
        expect(open(sodium.crypto_box_seal(plain, publicKey), pair)).toEqual(plain)
      }),
      { numRuns: 100 },
    )
  })

  it('differ each time', () => {
    const { pair } = pairFrom(generateKeyPair())
    const sealed = Array.from({ length: 20 }, () =>
      seal(Buffer.from('same'), pair.publicKey).toString('hex'),
    )
    expect(new Set(sealed.map((hex) => hex.slice(0, 64))).size).toBe(20)
  })

  it('do not open for another pair', () => {
    const [one, other] = [pairFrom(generateKeyPair()), pairFrom(generateKeyPair())]
    const sealed = seal(Buffer.from('message'), one.pair.publicKey)
    expect(open(sealed, one.pair)).toBeDefined()
    expect(open(sealed, other.pair)).toBeUndefined()
  })

  it('do not open when a bit was changed or a byte is missing', () => {
    const { pair } = pairFrom(generateKeyPair())
    const sealed = seal(Buffer.from('0123456789abcdef'), pair.publicKey)
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      expect(open(flipped(sealed, bit >> 3, bit & 7), pair), `bit ${bit}`).toBeUndefined()
    }
    for (let length = 0; length < sealed.length; length++) {
      expect(open(sealed.subarray(0, length), pair)).toBeUndefined()
    }
    expect(open(Buffer.concat([sealed, Buffer.alloc(1)]), pair)).toBeUndefined()
  })

  it('are not made of any other bytes', () => {
    const { pair } = pairFrom(generateKeyPair())
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
        expect(open(bytes, pair)).toBeUndefined()
      }),
      { numRuns: 300 },
    )
  })

  it.each(LOW_ORDER)('neither come from nor go to a point of low order', (point) => {
    const { pair, publicKey, privateKey } = pairFrom(generateKeyPair())
    const sealed = seal(Buffer.from('message'), pair.publicKey)
    point.copy(sealed)
    expect(open(sealed, pair)).toBeUndefined()
    expect(() => sodium.crypto_box_seal_open(sealed, publicKey, privateKey)).toThrow()
    expect(() => seal(Buffer.from('message'), publicKeyOf(point))).toThrow()
  })
})
