import { BytesError } from '../domain/errors.js'
import type { Release } from './exclusive.js'

interface Waiting {
  readonly amount: number
  readonly grant: () => void
}

/** An amount that is shared out to whoever asks first, within this process. */
export class Budget {
  /** The whole. */
  readonly size: number
  #free: number
  readonly #waiting = new Set<Waiting>()

  /** @param size more than this nobody gets */
  constructor(size: number) {
    this.size = size
    this.#free = size
  }

  /** Whether somebody waits. */
  get isWanted(): boolean {
    return this.#waiting.size > 0
  }

  /**
   * Waits until there is so much, behind those who wait already.
   * @param amount up to the whole
   * @param waitMs longest wait in milliseconds; undefined for as long as it takes
   * @param signal ends the wait
   * @returns undefined when it was not there in time
   * @throws RangeError for more than the whole; the reason of `signal`
   */
  async take(
    amount: number,
    waitMs: number | undefined,
    signal?: AbortSignal,
  ): Promise<Release | undefined> {
    if (amount > this.size) throw new RangeError('more is asked for than there can be')
    signal?.throwIfAborted()
    const granted = await new Promise<boolean>((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', leave)
        this.#waiting.delete(waiting)
      }
      const giveUp = (): void => {
        end()
        resolve(false)
        // Those behind it may want less.
        this.#serve()
      }
      const timer = waitMs === undefined ? undefined : setTimeout(giveUp, waitMs)
      const leave = (): void => {
        end()
        reject(signal?.reason)
        this.#serve()
      }
      const waiting: Waiting = {
        amount,
        grant: () => {
          end()
          resolve(true)
        },
      }
      signal?.addEventListener('abort', leave)
      this.#waiting.add(waiting)
      this.#serve()
    })
    return granted ? this.#releaseOf(amount) : undefined
  }

  #releaseOf(amount: number): Release {
    let taken = amount
    return () => {
      this.#free += taken
      taken = 0
      this.#serve()
    }
  }

  #serve(): void {
    for (const waiting of this.#waiting) {
      if (waiting.amount > this.#free) return
      this.#free -= waiting.amount
      waiting.grant()
    }
  }
}

/** How somebody waits for a part of a budget. */
export interface Wait {
  /** Longest wait in milliseconds; undefined for as long as it takes. */
  readonly ms: number | undefined
  /** Ends the wait. */
  readonly signal?: AbortSignal | undefined
  /** What is told when it was too long. */
  readonly refusal: string
}

/**
 * Runs something with a part of a budget, and gives it back.
 * @throws BytesError `busy` when it was not there in time; the reason of the signal; what `run` throws
 */
export async function withPart<T>(
  budget: Pick<Budget, 'take'>,
  amount: number,
  { ms, signal, refusal }: Wait,
  run: () => Promise<T>,
): Promise<T> {
  const release = await budget.take(amount, ms, signal)
  if (!release) throw new BytesError('busy', refusal)
  try {
    return await run()
  } finally {
    release()
  }
}
