import type { ByteSource } from '../../../domain/ports.js'

const NOTHING = new Uint8Array(0)

/** Reads a source in pieces of any size as pieces of the sizes that are asked for. */
export class PieceReader {
  readonly #pieces: AsyncIterator<Uint8Array> | Iterator<Uint8Array>
  /** What was read from the source and not taken. */
  #left: Uint8Array = NOTHING

  constructor(source: ByteSource) {
    this.#pieces =
      Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
  }

  /**
   * The next bytes: fewer than `count` only at the end of the source. They are the source's own
   * memory where one piece of it has them all, so they are not to be changed.
   */
  async take(count: number): Promise<Uint8Array> {
    const first = await this.#next(count)
    if (first.length === count || first.length === 0) return first
    const second = await this.#next(count - first.length)
    if (second.length === 0) return first
    const whole = Buffer.allocUnsafe(count)
    whole.set(first)
    let filled = first.length
    for (let more = second; more.length > 0; more = await this.#next(count - filled)) {
      whole.set(more, filled)
      filled += more.length
    }
    return whole.subarray(0, filled)
  }

  /** Ends the source before its end. */
  async close(): Promise<void> {
    await this.#pieces.return?.()
  }

  /** At most `count` bytes; none at the end, or when none are asked for. */
  async #next(count: number): Promise<Uint8Array> {
    while (this.#left.length === 0 && count > 0) {
      const { done, value } = await this.#pieces.next()
      if (done) return NOTHING
      this.#left = value
    }
    const next = this.#left.subarray(0, count)
    this.#left = this.#left.subarray(count)
    return next
  }
}
