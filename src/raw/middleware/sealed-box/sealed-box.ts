import { randomBytes } from 'node:crypto'
import type { FileMiddleware } from '../../../domain/ports.js'
import { FILE_KEY_LENGTH, openFileKey, sealFileKey } from './file-key.js'
import type { KeyRing } from './keys.js'
import { decrypt, encrypt } from './payload.js'

/**
 * Encrypts every content under a key of its own, which is sealed to the current public key of the
 * ring. `encode` throws Error for a ring without one.
 */
export function createSealedBox(ring: KeyRing): FileMiddleware {
  return {
    name: 'NACL_SEALBOX',
    transparent: false,
    authenticated: true,
    presumesKey: (sealedKey) => {
      if (!ring.current || ring.pairOf(ring.current.id)) return false
      return ring.keyIds.length === 0 || sealedKey?.keyId === ring.current.id
    },
    encode: (plain) => {
      if (!ring.current) throw new Error('content cannot be sealed without a public key')
      const fileKey = randomBytes(FILE_KEY_LENGTH)
      const sealedKey = sealFileKey(fileKey, ring.current)
      return { stored: encrypt(plain, fileKey), sealedKey }
    },
    decode: (stored, range, { size, sealedKey }) =>
      decrypt(stored, range, size, openFileKey(sealedKey, ring)),
  }
}
