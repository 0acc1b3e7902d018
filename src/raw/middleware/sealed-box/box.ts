/**
 * Sealed boxes, exactly libsodium's `crypto_box_seal`: the public key of a pair made for this one
 * message, then a NaCl box (X25519, XSalsa20-Poly1305) from that pair to the recipient, whose nonce
 * is BLAKE2b-24 of both public keys. Node does X25519, some ten times as fast as tweetnacl, which
 * does the rest of the box.
 */
import { diffieHellman, type KeyObject } from 'node:crypto'
import { blake2b } from '@noble/hashes/blake2.js'
import nacl from 'tweetnacl'
import { KEY_LENGTH, newPrivateKey, publicBytesOf, publicKeyFrom } from './x25519.js'

/** A public X25519 key. */
export interface PublicKey {
  /** See `keyIdOf`. */
  readonly id: string
  readonly bytes: Uint8Array
  readonly key: KeyObject
}

export interface KeyPair {
  readonly publicKey: PublicKey
  readonly privateKey: KeyObject
}

/** tweetnacl exports the parts of its boxes, and its types leave them out. */
const { lowlevel } = nacl as typeof nacl & {
  readonly lowlevel: {
    /** HSalsa20 of a 16-byte input and a 32-byte key, to 32 bytes. */
    crypto_core_hsalsa20(
      out: Uint8Array,
      input: Uint8Array,
      key: Uint8Array,
      constant: Uint8Array,
    ): void
  }
}
const SIGMA = Buffer.from('expand 32-byte k')
const ZEROS = new Uint8Array(16)

/**
 * Seals a message so that only the holder of the private key can read it. Its sender keeps nothing.
 * @returns 48 bytes more than the message
 * @throws Error for the few public keys that nothing can be sealed to, such as 32 zero bytes
 */
export function seal(message: Uint8Array, recipient: PublicKey): Buffer {
  const ephemeral = newPrivateKey()
  const sender = publicBytesOf(ephemeral)
  const key = boxKey(ephemeral, recipient.key)
  try {
    return Buffer.concat([sender, nacl.secretbox(message, nonceOf(sender, recipient.bytes), key)])
  } finally {
    key.fill(0)
  }
}

/**
 * Opens what was sealed to the public key of this pair. The caller wipes the message after use.
 * @returns undefined for any bytes that were not
 */
export function open(sealed: Uint8Array, pair: KeyPair): Uint8Array | undefined {
  if (sealed.length < KEY_LENGTH + nacl.secretbox.overheadLength) return undefined
  const sender = sealed.subarray(0, KEY_LENGTH)
  const nonce = nonceOf(sender, pair.publicKey.bytes)
  let key: Uint8Array
  try {
    key = boxKey(pair.privateKey, publicKeyFrom(sender))
  } catch {
    // A point of low order (RFC 7748, section 6.1): nobody who seals has such a public key.
    return undefined
  }
  try {
    return nacl.secretbox.open(sealed.subarray(KEY_LENGTH), nonce, key) ?? undefined
  } finally {
    key.fill(0)
  }
}

function nonceOf(sender: Uint8Array, recipient: Uint8Array): Uint8Array {
  return blake2b(Buffer.concat([sender, recipient]), { dkLen: nacl.secretbox.nonceLength })
}

/** NaCl's `crypto_box_beforenm`. @throws Error when the public key is a point of low order */
function boxKey(privateKey: KeyObject, publicKey: KeyObject): Uint8Array {
  const shared = diffieHellman({ privateKey, publicKey })
  try {
    const key = new Uint8Array(nacl.secretbox.keyLength)
    lowlevel.crypto_core_hsalsa20(key, ZEROS, shared, SIGMA)
    return key
  } finally {
    shared.fill(0)
  }
}
