/** When and how long to wait before a request is repeated. */
import { setTimeout as sleep } from 'node:timers/promises'
import { abortedError, BytesClientError, type ClientErrorCode } from './errors.js'

/** Most tries of a request in a row that bring nothing forward. */
export const MAX_TRIES = 6

const BASE_MS = 250
const LONGEST_MS = 20_000
/** A service that asks for a longer wait is not waited for. */
const LONGEST_ASKED_MS = 120_000

/** Waits so many milliseconds; rejects when the signal aborts. */
export type Pause = (ms: number, signal: AbortSignal | undefined) => Promise<void>

/** Waits by the clock. @throws BytesClientError `aborted` */
export const pauseByClock: Pause = async (ms, signal) => {
  try {
    await sleep(ms, undefined, signal === undefined ? {} : { signal })
  } catch (error) {
    throw signal?.aborted ? abortedError(signal) : error
  }
}

const TRANSIENT: readonly ClientErrorCode[] = ['network', 'unavailable', 'rate_limited']

/** Whether the same request may succeed a little later. */
export function isTransient(error: unknown): error is BytesClientError {
  return (
    error instanceof BytesClientError &&
    TRANSIENT.includes(error.code) &&
    (error.retryAfterMs ?? 0) <= LONGEST_ASKED_MS
  )
}

/**
 * Milliseconds to wait after the `failures`th failure in a row: between half and all of a time that
 * doubles, and never less than what the service asked for.
 * @param random from 0 to 1
 */
export function delayMs(failures: number, error: BytesClientError, random = Math.random()): number {
  const most = Math.min(LONGEST_MS, BASE_MS * 2 ** (failures - 1))
  return Math.max(error.retryAfterMs ?? 0, Math.round(most * (0.5 + random / 2)))
}

/** Runs `attempt` until it succeeds, fails for good, or has failed `tries` times. */
export async function repeat<T>(
  attempt: () => Promise<T>,
  { tries, pause, signal }: { tries: number; pause: Pause; signal: AbortSignal | undefined },
): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      return await attempt()
    } catch (error) {
      if (failures >= tries || !isTransient(error)) throw error
      await pause(delayMs(failures, error), signal)
    }
  }
}
