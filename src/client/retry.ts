/** When a request is repeated, how long to wait before, and when to give up. */
import { setTimeout as sleep } from 'node:timers/promises'
import { abortedError, BytesClientError, type ClientErrorCode } from './errors.js'

/** Most failures in a row of a request to a service that has never answered. */
const MOST_FAILURES = 6
/** Of a connection that nobody accepts: then the URL is wrong, or there is no service. */
const MOST_UNCONNECTED = 3
/** How long a service that has answered before is waited for, in milliseconds. */
export const LONGEST_DOWN_MS = 5 * 60_000

const BASE_MS = 250
const LONGEST_MS = 10_000
/** A service that asks for a longer wait is not waited for. */
const LONGEST_ASKED_MS = 120_000
/** From so many failures in a row on each wait is told, and before that each that takes longer. */
const TOLD_FROM = 3
const MOMENT_MS = 1000

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

/** Errors after which waiting was given up: those who called need not wait once more. */
const waitedOut = new WeakSet<Error>()

/** Whether the same request may succeed a little later. */
export function isTransient(error: BytesClientError): boolean {
  return (
    TRANSIENT.includes(error.code) &&
    (error.retryAfterMs ?? 0) <= LONGEST_ASKED_MS &&
    !waitedOut.has(error)
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

/** Is told, before a wait that takes longer than a moment, after what failure and for how long it is. */
export type OnWait = (failure: BytesClientError, ms: number) => void

/** What is known of a service, and how to wait for it. */
export interface Waiting {
  readonly pause: Pause
  /** Whether the service has ever accepted a request of this client. */
  readonly reached: () => boolean
  readonly onWait: OnWait
}

/** The patience with one request or transfer. */
export interface Patience {
  /** It went on: failures are counted from here. */
  renew(): void
  /** Waits after a failure that may pass. @throws the failure when it was waited for long enough */
  wait(error: BytesClientError, signal: AbortSignal | undefined): Promise<void>
}

/**
 * Five minutes without progress for a service that was there before; a few seconds for one that was
 * not, since its URL may be wrong.
 */
export function patience({ pause, reached, onWait }: Waiting): Patience {
  let failures = 0
  let waitedMs = 0
  let since = 0
  return {
    renew() {
      failures = 0
      waitedMs = 0
    },
    async wait(error, signal) {
      if (failures === 0) since = performance.now()
      failures++
      const most = error.code === 'network' ? MOST_UNCONNECTED : MOST_FAILURES
      // What requests take until they fail counts as well.
      const downMs = Math.max(waitedMs, performance.now() - since)
      if (reached() ? downMs >= LONGEST_DOWN_MS : failures >= most) {
        waitedOut.add(error)
        throw error
      }
      const ms = delayMs(failures, error)
      waitedMs += ms
      if (failures >= TOLD_FROM || ms > MOMENT_MS) onWait(error, ms)
      await pause(ms, signal)
    },
  }
}

/** Runs `attempt` until it succeeds, fails for good, or was waited for long enough. */
export async function repeat<T>(
  attempt: () => Promise<T>,
  waiting: Waiting,
  signal: AbortSignal | undefined,
): Promise<T> {
  const ours = patience(waiting)
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof BytesClientError) || !isTransient(error)) throw error
      await ours.wait(error, signal)
    }
  }
}
