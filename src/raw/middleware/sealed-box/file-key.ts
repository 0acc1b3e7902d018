import { BytesError } from '../../../domain/errors.js'
import type { SealedKey } from '../../../domain/models.js'
import { open, type PublicKey, seal } from './box.js'
import type { KeyRing } from './keys.js'

/** Bytes of the key of one blob's content: as many as age's have. */
export const FILE_KEY_LENGTH = 16

/** Seals the key of a file. The caller wipes `fileKey`. */
export function sealFileKey(fileKey: Uint8Array, publicKey: PublicKey): SealedKey {
  return { keyId: publicKey.id, sealed: seal(fileKey, publicKey) }
}

/**
 * The key of a file. The private key is found by its id, never by trying. The caller wipes the result.
 * @param sealedKey null when it was deleted
 * @throws BytesError `key_missing` when the private key is not in the ring, `blob_damaged` when the
 *   sealed key is gone or is not what `sealFileKey` made
 */
export function openFileKey(sealedKey: SealedKey | null, ring: KeyRing): Uint8Array {
  if (!sealedKey) throw new BytesError('blob_damaged', 'the key of its content is gone')
  const { keyId, sealed } = sealedKey
  const pair = ring.pairOf(keyId)
  if (!pair) {
    throw new BytesError(
      'key_missing',
      `the content is sealed to the key ${keyId}, whose private key this service does not have: ` +
        'set BYTES_PRIVATE_KEY_B64, or add it to BYTES_OLD_PRIVATE_KEYS_B64',
    )
  }
  const fileKey = open(sealed, pair)
  if (fileKey?.length === FILE_KEY_LENGTH) return fileKey
  fileKey?.fill(0)
  throw new BytesError('blob_damaged', `the key of its content does not open with the key ${keyId}`)
}
