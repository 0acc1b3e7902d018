/** Lets callers go one after the other, with a least time between them. */
export interface Turns {
  /**
   * Resolves when it is the caller's turn, in the order of the calls. The time counts from turn to
   * turn, whatever is done in it.
   * @param signal gives the place in the queue up
   * @throws the signal's reason
   */
  next(signal?: AbortSignal): Promise<void>
}

/** Resolves after so many milliseconds, and rejects when the signal says so. */
function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort)
      resolve()
    }, ms)
    signal?.addEventListener('abort', abort, { once: true })
  })
}

/** @param intervalMs 0 for none: then nobody waits */
export function createTurns(intervalMs: number): Turns {
  let last = Number.NEGATIVE_INFINITY
  let queue: Promise<void> = Promise.resolve()

  async function wait(before: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
    await before
    for (;;) {
      signal?.throwIfAborted()
      // Timers may fire a little early.
      const left = last + intervalMs - performance.now()
      if (left <= 0) break
      await pause(left, signal)
    }
    last = performance.now()
  }

  return {
    async next(signal) {
      signal?.throwIfAborted()
      if (intervalMs === 0) return
      const turn = wait(queue, signal)
      // Whoever gives up makes room for the next.
      queue = turn.catch(() => undefined)
      await turn
    },
  }
}
