import { setImmediate as nextTurn } from 'node:timers/promises'
import type { BlobKey, BlobKeys, ResealedKey } from '../domain/blob-keys.js'
import type { SealedKey } from '../domain/models.js'
import { open, type PublicKey, seal } from '../raw/middleware/sealed-box/box.js'
import type { KeyRing } from '../raw/middleware/sealed-box/keys.js'

export interface RotationPorts {
  readonly blobKeys: BlobKeys
  /** The key that all file keys are to be sealed to. */
  readonly current: PublicKey
  /** Has the private keys of what is sealed now. */
  readonly keyRing: Pick<KeyRing, 'pairOf'>
}

export interface RotationOptions {
  /** Keys that are read and replaced at once; 500 when left out. */
  readonly batchSize?: number
  /** Stops the rotation; what was replaced stays so. */
  readonly signal?: AbortSignal
  /** Called after each batch. @param total keys that were to be re-sealed at the start */
  readonly onProgress?: (done: number, total: number) => void
  /** Called for each key that cannot be re-sealed; it stays as it is. */
  readonly onFailed?: (failed: FailedKey) => void
}

export interface FailedKey {
  readonly blobId: number
  readonly keyId: string
  /** The private key is not here; or it does not open what is sealed, which was damaged then. */
  readonly reason: 'private_key_missing' | 'does_not_open'
}

export interface RotationResult {
  readonly rotated: number
  readonly failed: number
  /** Keys that are sealed to another key in the end: those that failed, and any that came meanwhile. */
  readonly left: number
}

const BATCH = 500
/** Keys between two turns of the event loop: some milliseconds. */
const KEYS_PER_TURN = 16

/**
 * Seals every file key to the current public key that is sealed to another one. No file is read or
 * written. It may be stopped and begun again at any time, and run beside uploads, deletions and
 * other rotations: a key is replaced only if it is still the one that was read.
 * @throws AbortError when the signal aborts
 */
export async function rotateKeys(
  { blobKeys, current, keyRing }: RotationPorts,
  { batchSize = BATCH, signal, onProgress, onFailed }: RotationOptions = {},
): Promise<RotationResult> {
  const reseal = ({ keyId, sealed }: SealedKey): SealedKey | FailedKey['reason'] => {
    const pair = keyRing.pairOf(keyId)
    if (pair === undefined) return 'private_key_missing'
    const fileKey = open(sealed, pair)
    if (fileKey === undefined) return 'does_not_open'
    try {
      return { keyId: current.id, sealed: seal(fileKey, current) }
    } finally {
      fileKey.fill(0)
    }
  }

  const countLeft = async (): Promise<number> => {
    let left = 0
    for (const [keyId, blobs] of await blobKeys.countByKey()) {
      if (keyId !== null && keyId !== current.id) left += blobs
    }
    return left
  }

  let [read, rotated, failed] = [0, 0, 0]
  const total = await countLeft()
  onProgress?.(0, total)
  let after: BlobKey | undefined
  do {
    const batch = await blobKeys.listSealedKeys(current.id, after, batchSize)
    const resealed: ResealedKey[] = []
    for (const [i, { blobId, sealedKey }] of batch.entries()) {
      if (i % KEYS_PER_TURN === 0) await nextTurn(undefined, signal && { signal })
      const to = reseal(sealedKey)
      if (typeof to !== 'string') resealed.push({ blobId, from: sealedKey, to })
      else {
        failed += 1
        onFailed?.({ blobId, keyId: sealedKey.keyId, reason: to })
      }
    }
    if (resealed.length > 0) rotated += await blobKeys.replaceSealedKeys(resealed)
    read += batch.length
    onProgress?.(read, Math.max(read, total))
    after = batch.at(-1)
  } while (after !== undefined)
  return { rotated, failed, left: await countLeft() }
}
