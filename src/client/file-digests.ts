/** Digests of a file that is read in parts, in order for the most part. */
import { createHash } from 'node:crypto'
import { throwIfAborted } from './errors.js'
import type { SourceFile } from './source.js'

/** The SHA-256 of parts, and on the way the SHA-512 of the whole, so that it is read once more at most. */
export class FileDigests {
  readonly #file: SourceFile
  readonly #signal: AbortSignal | undefined
  readonly #whole = createHash('sha512')
  /** The whole is hashed up to here. */
  #at = 0

  constructor(file: SourceFile, signal: AbortSignal | undefined) {
    this.#file = file
    this.#signal = signal
  }

  /** SHA-256 of the bytes from `start` up to `end`, in base64. */
  async part(start: number, end: number): Promise<string> {
    await this.#advance(start)
    const hash = createHash('sha256')
    let at = start
    for await (const bytes of this.#file.read(start, end)) {
      throwIfAborted(this.#signal)
      hash.update(bytes)
      // A part that is sent again is in the whole already.
      if (at === this.#at) {
        this.#whole.update(bytes)
        this.#at += bytes.byteLength
      }
      at += bytes.byteLength
    }
    return hash.digest('base64')
  }

  /** `sha512:<hex>` of the first `size` bytes, which is all of them. Call once. */
  async whole(size: number): Promise<string> {
    await this.#advance(size)
    return `sha512:${this.#whole.digest('hex')}`
  }

  async #advance(to: number): Promise<void> {
    for await (const bytes of this.#file.read(this.#at, to)) {
      throwIfAborted(this.#signal)
      this.#whole.update(bytes)
      this.#at += bytes.byteLength
    }
  }
}
