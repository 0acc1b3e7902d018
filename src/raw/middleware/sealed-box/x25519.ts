/** X25519 keys (RFC 7748): 32 raw bytes on our side, key objects on the side of Node's crypto. */
import { createPrivateKey, createPublicKey, type KeyObject, randomBytes } from 'node:crypto'

/** Bytes of a raw key, public or private. */
export const KEY_LENGTH = 32
/** What PKCS #8 (RFC 8410, section 7) puts before the bytes of a private X25519 key. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex')

/** @param bytes 32 of them; any are a public key */
export function publicKeyFrom(bytes: Uint8Array): KeyObject {
  const x = Buffer.from(bytes).toString('base64url')
  return createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' })
}

/**
 * Any 32 bytes are a private key. The key object keeps them in memory of OpenSSL, which wipes it
 * when the object is collected.
 * @param bytes 32 of them; the caller may wipe them afterwards
 */
export function privateKeyFrom(bytes: Uint8Array): KeyObject {
  const key = Buffer.concat([PKCS8_PREFIX, bytes])
  try {
    return createPrivateKey({ key, format: 'der', type: 'pkcs8' })
  } finally {
    key.fill(0)
  }
}

/**
 * A new private key. Not by `generateKeyPairSync`: with Node 20, to export the key of a pair that it
 * has made can deadlock the process, when garbage is collected in the middle (the collector waits
 * for the lock on the key that the export holds).
 */
export function newPrivateKey(): KeyObject {
  const bytes = randomBytes(KEY_LENGTH)
  try {
    return privateKeyFrom(bytes)
  } finally {
    bytes.fill(0)
  }
}

/** The 32 bytes of a public key, also of a private one's: the last ones of its SPKI (RFC 8410, section 4). */
export function publicBytesOf(key: KeyObject): Buffer {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  return publicKey.export({ format: 'der', type: 'spki' }).subarray(-KEY_LENGTH)
}
