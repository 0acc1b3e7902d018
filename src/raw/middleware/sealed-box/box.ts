/**
 * libsodium's `crypto_box_seal`: an ephemeral public key, and a `crypto_box` from its key pair, with
 * the BLAKE2b of both public keys as nonce. The X25519 is OpenSSL's, which takes a quarter of the
 * time of tweetnacl's; the rest is tweetnacl's.
 */
import {
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto'
import { blake2b } from '@noble/hashes/blake2.js'
import nacl from 'tweetnacl'
import type { KeyPair } from './keys.js'

const KEY_BYTES = 32
/** RFC 8410: what comes before the 32 bytes of an X25519 key in DER. */
const SPKI_PREFIX = Buffer.from('302a300506032b656e032100', 'hex')
const PKCS8_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex')
const ZEROS = new Uint8Array(16)
const SIGMA = Buffer.from('expand 32-byte k')

interface LowLevel {
  readonly lowlevel: {
    crypto_core_hsalsa20(out: Uint8Array, n: Uint8Array, k: Uint8Array, c: Uint8Array): number
  }
}
// Its type declarations leave the low level out.
const { crypto_core_hsalsa20: hsalsa20 } = (nacl as unknown as LowLevel).lowlevel

/** Imported private keys: to import one takes OpenSSL ten times as long as to use it. */
const imported = new WeakMap<Uint8Array, KeyObject>()

/** Seals a file key to a public key: 48 bytes longer than the file key. */
export function seal(fileKey: Uint8Array, publicKey: Uint8Array): Uint8Array {
  const ephemeral = generateKeyPairSync('x25519')
  const ephemeralKey = ephemeral.publicKey.export({ format: 'der', type: 'spki' })
  const own = ephemeralKey.subarray(SPKI_PREFIX.length)
  const key = sharedKey(ephemeral.privateKey, publicKey)
  const box = nacl.box.after(fileKey, nonceOf(own, publicKey), key)
  key.fill(0)
  return Buffer.concat([own, box])
}

/** Opens what was sealed to this pair; undefined when it was not, or was changed. */
export function open(
  sealed: Uint8Array,
  { publicKey, secretKey }: KeyPair,
): Uint8Array | undefined {
  if (sealed.length < KEY_BYTES + nacl.box.overheadLength) return undefined
  const ephemeral = sealed.subarray(0, KEY_BYTES)
  let key: Uint8Array
  try {
    key = sharedKey(privateKeyOf(secretKey), ephemeral)
  } catch {
    // A point of low order, which nobody seals with.
    return undefined
  }
  const box = sealed.subarray(KEY_BYTES)
  const fileKey = nacl.box.open.after(box, nonceOf(ephemeral, publicKey), key)
  key.fill(0)
  return fileKey ?? undefined
}

/** `crypto_box_beforenm`. @throws Error when the public key is of low order */
function sharedKey(privateKey: KeyObject, publicKey: Uint8Array): Uint8Array {
  const der = Buffer.concat([SPKI_PREFIX, publicKey])
  const point = diffieHellman({
    privateKey,
    publicKey: createPublicKey({ key: der, format: 'der', type: 'spki' }),
  })
  const key = new Uint8Array(KEY_BYTES)
  hsalsa20(key, ZEROS, point, SIGMA)
  point.fill(0)
  return key
}

function privateKeyOf(secretKey: Uint8Array): KeyObject {
  let key = imported.get(secretKey)
  if (key === undefined) {
    const der = Buffer.concat([PKCS8_PREFIX, secretKey])
    key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    der.fill(0)
    imported.set(secretKey, key)
  }
  return key
}

function nonceOf(ephemeralKey: Uint8Array, publicKey: Uint8Array): Uint8Array {
  return blake2b(Buffer.concat([ephemeralKey, publicKey]), { dkLen: nacl.box.nonceLength })
}
