/** The digest of a file whose parts are read in order for the most part, and some of them again. */
import { createHash } from 'node:crypto'
import { throwIfAborted } from './errors.js'
import type { SourceFile } from './source.js'

/** SHA-512 of a file that takes what is read for another reason, and reads itself what is missing. */
export class FileDigest {
  readonly #file: SourceFile
  readonly #signal: AbortSignal | undefined
  readonly #hash = createHash('sha512')
  /** It is hashed up to here. */
  #at = 0

  constructor(file: SourceFile, signal: AbortSignal | undefined) {
    this.#file = file
    this.#signal = signal
  }

  /** Bytes of the file from `start` on; what was taken before is passed over. Leave no gap. */
  take(start: number, bytes: Uint8Array): void {
    const end = start + bytes.byteLength
    if (end <= this.#at) return
    this.#hash.update(bytes.subarray(this.#at - start))
    this.#at = end
  }

  /** Reads what is missing before `end`. @throws BytesClientError `source_failed`, `aborted` */
  async readUpTo(end: number): Promise<void> {
    let at = this.#at
    for await (const bytes of this.#file.read(at, end)) {
      throwIfAborted(this.#signal)
      this.take(at, bytes)
      at += bytes.byteLength
    }
  }

  /** `sha512:<hex>` of the first `size` bytes, which is all of them. Call once. */
  async finish(size: number): Promise<string> {
    await this.readUpTo(size)
    return `sha512:${this.#hash.digest('hex')}`
  }
}
