/** A wait of a loop that something else can end. */
export interface Pause {
  /** Resolves after so many milliseconds, or when `end` is called. */
  wait(ms: number): Promise<void>
  /** Ends the wait that is under way, if one is. */
  end(): void
}

/** For one loop: only one wait is under way at a time. */
export function createPause(): Pause {
  let end: () => void = () => undefined
  return {
    wait: (ms) =>
      new Promise((resolve) => {
        const timer = setTimeout(done, ms)
        function done(): void {
          clearTimeout(timer)
          end = () => undefined
          resolve()
        }
        end = done
      }),
    end: () => end(),
  }
}

/** Resolves after so many milliseconds, or when the signal aborts. */
export async function rest(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const pause = createPause()
  signal.addEventListener('abort', pause.end)
  await pause.wait(ms)
  signal.removeEventListener('abort', pause.end)
}
