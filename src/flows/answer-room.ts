/** Room for long texts that are in memory while their clients take their time to read them. */
import { BytesError } from '../domain/errors.js'
import { Budget } from './budget.js'

/** Most characters that answers hold while they wait for their clients, of all requests together. */
const MAX_HELD = 64 * 1024 * 1024
/** Answers that hold up to so many characters take nothing from the others. */
export const FEW_HELD = 256 * 1024
/** Parts of lists that are read at the same time: how long one is shows when it has been read. */
const MOST_READ = 8
/** How long an answer that has not begun waits for the others, in milliseconds. */
const WAIT_MS = 30_000

/** What all answers share. */
export interface AnswerMemory {
  /** In characters. */
  readonly held: Pick<Budget, 'size' | 'take'>
  /** In parts of lists that are being read. */
  readonly reading: Pick<Budget, 'take'>
}

/** Memory that nobody holds anything of. */
export function createAnswerMemory(characters = MAX_HELD): AnswerMemory {
  return { held: new Budget(characters), reading: new Budget(MOST_READ) }
}

/** What one answer holds of the memory. */
export class Holding {
  readonly #memory: AnswerMemory
  readonly #signal: AbortSignal
  readonly #hasBegun: () => boolean
  #taken = 0
  #release: () => void = () => undefined

  /**
   * @param signal aborts when the answer has been sent, or its client has gone: what is held is given
   *   back then
   * @param hasBegun whether the answer has: then it waits for as long as it takes, as it cannot be
   *   refused any more
   */
  constructor(memory: AnswerMemory, signal: AbortSignal, hasBegun: () => boolean) {
    this.#memory = memory
    this.#signal = signal
    this.#hasBegun = hasBegun
    signal.addEventListener('abort', () => this.#giveBack(), { once: true })
  }

  /**
   * Reads something long in place of what was held so far: of that nothing is in memory any more, so
   * that answers that wait for each other hold nothing. What finds no room is let go, and read again
   * when there is some: how much it needs is known then.
   * @param read gives a text, or something that has the length of its texts
   * @throws BytesError `busy` when there was no room in time; the reason of the signal; what `read` throws
   */
  async hold<T extends { readonly length: number }>(read: () => Promise<T>): Promise<T> {
    this.#giveBack()
    for (;;) {
      const found = await this.#attempt(read)
      if ('value' in found) return found.value
      if (!(await this.#take(found.wanted, this.#waitMs))) throw busy()
    }
  }

  /** As `hold`, for a part of a list: few are read at a time. */
  holdPart<T extends { readonly length: number }>(read: () => Promise<T>): Promise<T> {
    return this.hold(async () => {
      const done = await this.#memory.reading.take(1, this.#waitMs, this.#signal)
      if (!done) throw busy()
      try {
        return await read()
      } finally {
        done()
      }
    })
  }

  get #waitMs(): number | undefined {
    return this.#hasBegun() ? undefined : WAIT_MS
  }

  /** A call of its own, so that what was read in vain is not kept alive by the wait that follows. */
  async #attempt<T extends { readonly length: number }>(
    read: () => Promise<T>,
  ): Promise<{ readonly value: T } | { readonly wanted: number }> {
    const value = await read()
    // What is longer than all memory must get by with all of it.
    const wanted = Math.min(value.length, this.#memory.held.size)
    if (wanted <= this.#taken) return { value }
    this.#giveBack()
    if (wanted <= FEW_HELD || (await this.#take(wanted, 0))) return { value }
    return { wanted }
  }

  async #take(characters: number, waitMs: number | undefined): Promise<boolean> {
    const release = await this.#memory.held.take(characters, waitMs, this.#signal)
    if (!release) return false
    this.#taken = characters
    this.#release = release
    // Nobody would give it back.
    if (this.#signal.aborted) this.#giveBack()
    return true
  }

  #giveBack(): void {
    this.#release()
    this.#release = () => undefined
    this.#taken = 0
  }
}

function busy(): BytesError {
  return new BytesError('busy', 'other long answers wait for their clients: try again later')
}
