import { dirname } from 'node:path'
import { LRUCache } from 'lru-cache'
import { hasCode, makeDirectory } from './durable.js'

/** Folders remembered: a few hundred bytes each. */
const REMEMBERED = 50_000

/**
 * Makes folders below a root durably, each once: concurrent uploads to a new folder wait for the
 * same fsync.
 */
export class Folders {
  readonly #root: string
  readonly #mode: number
  readonly #made = new LRUCache<string, Promise<void>>({ max: REMEMBERED })

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
      this.#made.clear()
      await this.ensure(path)
      return action()
    }
  }

  async #make(path: string): Promise<void> {
    await this.ensure(dirname(path))
    await makeDirectory(path, this.#mode)
  }
}
