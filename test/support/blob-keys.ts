/** Sealed keys in memory, and pairs of keys, for tests of what uses them. */
import type { BlobKey, BlobKeys } from '../../src/domain/blob-keys.js'
import type { SealedKey } from '../../src/domain/models.js'
import type { KeyPair } from '../../src/raw/middleware/sealed-box/box.js'
import {
  createKeyRing,
  generateKeyPair,
  keyIdOf,
} from '../../src/raw/middleware/sealed-box/keys.js'

/** A new pair of keys. */
export function newPair(): KeyPair {
  const raw = generateKeyPair()
  const keyId = keyIdOf(raw.publicKey)
  const pair = createKeyRing(raw).pairOf(keyId)
  if (pair === undefined) throw new Error(`the pair ${keyId} is not in its own ring`)
  return pair
}

export interface MemoryBlobKeys extends BlobKeys {
  /** Null is a blob without a key. */
  readonly blobs: Map<number, SealedKey | null>
}

export function memoryBlobKeys(blobs = new Map<number, SealedKey | null>()): MemoryBlobKeys {
  return {
    blobs,
    countByKey: async () => {
      const counts = new Map<string | null, number>()
      for (const key of blobs.values()) {
        counts.set(key?.keyId ?? null, (counts.get(key?.keyId ?? null) ?? 0) + 1)
      }
      return counts
    },
    listSealedKeys: async (keyId, after, limit) => {
      const sealed: BlobKey[] = []
      for (const [blobId, sealedKey] of blobs) {
        if (sealedKey !== null && sealedKey.keyId !== keyId) sealed.push({ blobId, sealedKey })
      }
      return sealed
        .sort(compare)
        .filter((key) => after === undefined || compare(key, after) > 0)
        .slice(0, limit)
    },
    replaceSealedKeys: async (keys) => {
      const same = keys.filter(({ blobId, from }) => {
        const found = blobs.get(blobId)
        return found?.keyId === from.keyId && Buffer.compare(found.sealed, from.sealed) === 0
      })
      for (const { blobId, to } of same) blobs.set(blobId, to)
      return same.length
    },
  }
}

function compare(a: BlobKey, b: BlobKey): number {
  const [left, right] = [a.sealedKey.keyId, b.sealedKey.keyId]
  return left === right ? a.blobId - b.blobId : left < right ? -1 : 1
}
