import { ScanError } from './scan-error.js'

const FIRST_BYTES = 1024

/** Text that grows up to a limit, kept in one piece of memory however small its parts are. */
export class Skeleton {
  readonly #maxBytes: number
  #bytes: Buffer = Buffer.allocUnsafe(FIRST_BYTES)
  #length = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /**
   * Adds a copy of the bytes from `start` to before `end`.
   * @throws ScanError `skeleton_too_long`
   */
  append(bytes: Buffer, start: number, end: number): void {
    const length = this.#length + end - start
    if (length > this.#maxBytes) throw new ScanError('skeleton_too_long')
    if (length > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(length, 2 * this.#bytes.length))
      this.#bytes.copy(grown, 0, 0, this.#length)
      this.#bytes = grown
    }
    bytes.copy(this.#bytes, this.#length, start, end)
    this.#length = length
  }

  /** @throws ScanError `not_utf8` */
  text(): string {
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(this.#bytes.subarray(0, this.#length))
    } catch {
      throw new ScanError('not_utf8')
    }
  }
}
