import type { SealedKey } from './models.js'

/** The sealed key of one blob. */
export interface BlobKey {
  readonly blobId: number
  readonly sealedKey: SealedKey
}

/** A file key that was sealed anew. */
export interface ResealedKey {
  readonly blobId: number
  readonly from: SealedKey
  readonly to: SealedKey
}

/**
 * The sealed keys of all blobs. Every method throws BytesError `database_unavailable` when the
 * database cannot be reached.
 */
export interface BlobKeys {
  /** Number of blobs for each key id; under null those that have no key. */
  countByKey(): Promise<Map<string | null, number>>
  /**
   * Sealed keys of another key id than `keyId`, ordered by key id and then by blob.
   * @param after the last one of the list before; undefined begins
   */
  listSealedKeys(keyId: string, after: BlobKey | undefined, limit: number): Promise<BlobKey[]>
  /**
   * Replaces the keys that are still the same, bit for bit, as `from`; the others have been
   * replaced or deleted by someone else and stay as they are. All or nothing.
   * @returns the number of those that were replaced
   */
  replaceSealedKeys(keys: readonly ResealedKey[]): Promise<number>
}
