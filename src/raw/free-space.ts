import { statfs } from 'node:fs/promises'
import { BytesError } from '../domain/errors.js'
import { FULL, storageErrors } from './storage-errors.js'

/** How long a look at the file system counts, and how many bytes may be written on it. */
const FRESH_MS = 500
const FRESH_BYTES = 64 * 1024 * 1024

/** Of a file system with room for so many files only (inodes), the part that stays free if bytes do. */
const FILES_RESERVE = 0.01

/** Watches the free space of a file system, so that uploads end before it is full. */
export class FreeSpace {
  readonly #path: string
  readonly #reserve: number
  #left = 0
  #hasFiles = true
  #looked = Number.NEGATIVE_INFINITY
  #taken = 0

  /** @param reserve bytes that stay free */
  constructor(path: string, reserve: number) {
    this.#path = path
    this.#reserve = reserve
  }

  /**
   * Bytes that may be written by unprivileged users, the reserve included.
   * @throws BytesError `storage_unavailable`
   */
  async free(): Promise<number> {
    const { bavail, bsize } = await storageErrors(() => statfs(this.#path))
    return bavail * bsize
  }

  /**
   * Checks that so many bytes could be written now, and the reserve would still be free.
   * @throws BytesError `storage_full`, `storage_unavailable`
   */
  async expect(bytes: number): Promise<void> {
    const { bavail, bsize, files, ffree } = await storageErrors(() => statfs(this.#path))
    this.#left = bavail * bsize
    this.#looked = performance.now()
    this.#taken = 0
    // Some file systems make them as they need them, and count none.
    this.#hasFiles = this.#reserve === 0 || files === 0 || ffree >= FILES_RESERVE * files
    if (this.#allows(bytes)) return
    const kept = this.#hasFiles ? `${this.#reserve} bytes of it` : 'the last of its files (inodes)'
    throw new BytesError('storage_full', `${FULL}: ${kept} are kept free`)
  }

  /**
   * Counts bytes that are about to be written. The file system is looked at now and then only.
   * @throws BytesError `storage_full`, `storage_unavailable`
   */
  async take(bytes: number): Promise<void> {
    const stale = performance.now() - this.#looked > FRESH_MS || this.#taken > FRESH_BYTES
    // Something may have been removed since: nothing is refused without a look.
    if (stale || !this.#allows(bytes)) await this.expect(bytes)
    this.#left -= bytes
    this.#taken += bytes
  }

  #allows(bytes: number): boolean {
    return this.#hasFiles && this.#left - bytes >= this.#reserve
  }
}
