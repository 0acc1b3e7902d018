import { stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { LRUCache } from 'lru-cache'
import { BytesError } from '../domain/errors.js'
import { hasCode, makeDirectory } from './durable.js'

/** Folders remembered: a few hundred bytes each. */
const REMEMBERED = 50_000

/** What is in every root that has been used. */
const USED = 'blobs'
const REPLACED =
  'the data directory was replaced by an empty one: mount or put back the one that was there, or restart'

/**
 * Makes folders below a root durably, each once: concurrent uploads to a new folder wait for the
 * same fsync. None is made in a root that has become another directory without what was stored: a
 * volume that is not mounted any more would hide what was written in its place when it is back.
 */
export class Folders {
  readonly #root: string
  readonly #mode: number
  readonly #made = new LRUCache<string, Promise<void>>({ max: REMEMBERED })
  /** Device and inode of the root. */
  #identity: string | undefined

  /** @param root a directory that exists */
  constructor(root: string, mode: number) {
    this.#root = root
    this.#mode = mode
  }

  /** Resolves when the folder and all above it, up to the root, are there and their names fsynced. */
  ensure(path: string): Promise<void> {
    if (path === this.#root) return Promise.resolve()
    const known = this.#made.get(path)
    if (known) return known
    const making = this.#make(path)
    this.#made.set(path, making)
    making.catch(() => this.#made.delete(path))
    return making
  }

  /** Runs an action in a folder; when someone has removed the folder, makes it again first. */
  async within<T>(path: string, action: () => Promise<T>): Promise<T> {
    await this.ensure(path)
    try {
      return await action()
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error
      await this.#expectRoot()
      this.#made.clear()
      await this.ensure(path)
      return action()
    }
  }

  async #make(path: string): Promise<void> {
    await this.ensure(dirname(path))
    await this.#expectRoot()
    await makeDirectory(path, this.#mode)
  }

  /** @throws BytesError `storage_unavailable` */
  async #expectRoot(): Promise<void> {
    const { dev, ino } = await stat(this.#root)
    const identity = `${dev}:${ino}`
    if (this.#identity !== undefined && identity !== this.#identity) {
      // A volume may come back as another device, with all that was on it.
      await stat(join(this.#root, USED)).catch((error: unknown) => {
        if (!hasCode(error, 'ENOENT')) throw error
        throw new BytesError('storage_unavailable', REPLACED, { cause: error })
      })
    }
    this.#identity = identity
  }
}
