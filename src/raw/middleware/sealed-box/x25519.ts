/** X25519 keys (RFC 7748): 32 raw bytes on our side, key objects on the side of Node's crypto. */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'

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

/** The 32 bytes of a public key, also of a private one's. */
export function publicBytesOf(key: KeyObject): Buffer {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  return Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
}
