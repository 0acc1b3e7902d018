/** Room for long texts that are in memory while their clients take their time to read them. */
import { BytesError } from '../domain/errors.js'
import { Budget, withPart } from './budget.js'

/** Most characters that answers hold while they wait for their clients, of all requests together. */
const MAX_HELD = 64 * 1024 * 1024
/** Answers that hold up to so many characters take nothing from the others. */
export const FEW_HELD = 256 * 1024
/** Parts of lists that are read at the same time: how long one is shows when it has been read. */
const MOST_PARTS = 8
/** And single rows: fewer, so that both leave connections to the database to short requests. */
const MOST_SINGLE = 4
/** How long an answer that has not begun waits for the others, in milliseconds. */
const WAIT_MS = 30_000
/** How long a client may take for what its answer holds while others wait for room, in milliseconds. */
const HOLD_MS = 5 * 60_000

const BUSY = 'other long answers wait for their clients: try again later'

/** What all answers share. */
export interface AnswerMemory {
  /** In characters. */
  readonly held: Pick<Budget, 'size' | 'take' | 'isWanted'>
  /** In parts of lists, and in single rows, that are being read. */
  readonly parts: Pick<Budget, 'take'>
  readonly single: Pick<Budget, 'take'>
}

/** Memory that nobody holds anything of. */
export function createAnswerMemory(characters = MAX_HELD): AnswerMemory {
  return {
    held: new Budget(characters),
    parts: new Budget(MOST_PARTS),
    single: new Budget(MOST_SINGLE),
  }
}

/** An answer on its way to its client. */
export interface AnswerOnItsWay {
  /** Aborts when it has been sent, or its client has gone: what is held is given back then. */
  readonly signal: AbortSignal
  /** Then it waits for as long as it takes, as it cannot be refused any more. */
  hasBegun(): boolean
  /** Whether its client takes it next: not while others before it are on their way there. */
  isNext(): boolean
  /** Resolves when it is next. @throws the reason of the signal */
  untilNext(): Promise<void>
  /** Ends it where it is. */
  cut(error: Error): void
}

/** What one answer holds of the memory. */
export class Holding {
  readonly #memory: AnswerMemory
  readonly #answer: AnswerOnItsWay
  #taken = 0
  #release: () => void = () => undefined
  #timer: NodeJS.Timeout | undefined

  constructor(memory: AnswerMemory, answer: AnswerOnItsWay) {
    this.#memory = memory
    this.#answer = answer
    answer.signal.addEventListener('abort', () => this.#giveBack(), { once: true })
  }

  /**
   * Reads something long in place of what was held so far: of that nothing is in memory any more, so
   * that answers that wait for each other hold nothing. Nor does one hold anything that queues behind
   * another on its connection, which may wait for room itself. What finds no room is let go, and read
   * again when there is some: how much it needs is known then.
   * @param read gives a text, or something that has the length of its texts
   * @throws BytesError `busy` when there was no room in time; the reason of the signal; what `read` throws
   */
  async hold<T extends { readonly length: number }>(read: () => Promise<T>): Promise<T> {
    this.#giveBack()
    for (;;) {
      const found = await this.#attempt(read)
      if ('value' in found) return found.value
      await this.#answer.untilNext()
      if (!(await this.#take(found.wanted, this.#waitMs))) throw new BytesError('busy', BUSY)
    }
  }

  /** As `hold`, for a part of a list: few are read at a time. */
  holdPart<T extends { readonly length: number }>(read: () => Promise<T>): Promise<T> {
    return this.hold(() => this.#inTurn(this.#memory.parts, read))
  }

  /** As `hold`, for a single row: few are read at a time. */
  holdSingle<T extends { readonly length: number }>(read: () => Promise<T>): Promise<T> {
    return this.hold(() => this.#inTurn(this.#memory.single, read))
  }

  #inTurn<T>(reading: Pick<Budget, 'take'>, read: () => Promise<T>): Promise<T> {
    return withPart(
      reading,
      1,
      { ms: this.#waitMs, signal: this.#answer.signal, refusal: BUSY },
      read,
    )
  }

  get #waitMs(): number | undefined {
    return this.#answer.hasBegun() ? undefined : WAIT_MS
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
    if (wanted <= FEW_HELD) return { value }
    return this.#answer.isNext() && (await this.#take(wanted, 0)) ? { value } : { wanted }
  }

  async #take(characters: number, waitMs: number | undefined): Promise<boolean> {
    const { signal } = this.#answer
    const release = await this.#memory.held.take(characters, waitMs, signal)
    if (!release) return false
    this.#taken = characters
    this.#release = release
    this.#watch()
    // Nobody would give it back.
    if (signal.aborted) this.#giveBack()
    return true
  }

  /** Who takes only so much that the connection is not idle must not keep the others from theirs. */
  #watch(): void {
    this.#timer = setTimeout(() => {
      if (!this.#memory.held.isWanted) this.#watch()
      else
        this.#answer.cut(
          new Error('a long answer was read too slowly while others waited for room'),
        )
    }, HOLD_MS).unref()
  }

  #giveBack(): void {
    clearTimeout(this.#timer)
    this.#release()
    this.#release = () => undefined
    this.#taken = 0
  }
}
