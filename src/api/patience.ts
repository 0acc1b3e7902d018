import { detail, type HttpProblem } from './problems.js'

/**
 * Least speed of a client that sends a body, over each minute that it is waited for: a byte now and
 * then would hold one of the places for uploads for ever.
 */
const BYTES_PER_SECOND = 1024
const MEASURED_MS = 60_000

/** Gives up on clients that take too long to send, with one timer for all waits. */
export class Patience {
  readonly #timer: NodeJS.Timeout
  #giveUp: ((problem: HttpProblem) => void) | undefined
  /** Time that was spent waiting since the speed was last looked at, and bytes that came in it. */
  #waitedMs = 0
  #received = 0

  /** @param idleMs longest wait for the next bytes, in milliseconds */
  constructor(idleMs: number) {
    this.#timer = setTimeout(() => {
      this.#giveUp?.(late(`No more of the body came for ${idleMs / 1000} seconds`))
    }, idleMs)
  }

  /** Waits for the client. @throws HttpProblem 408, or what `promise` rejects with */
  async wait<T>(promise: Promise<T>): Promise<T> {
    this.#timer.refresh()
    const begun = performance.now()
    try {
      return await new Promise<T>((resolve, reject) => {
        this.#giveUp = reject
        promise.then(resolve, reject)
      })
    } finally {
      this.#waitedMs += performance.now() - begun
    }
  }

  /** Tells of bytes that came. @throws HttpProblem 408 when they come too slowly */
  receive(bytes: number): void {
    this.#received += bytes
    if (this.#waitedMs < MEASURED_MS) return
    if (this.#received < (BYTES_PER_SECOND * this.#waitedMs) / 1000) {
      throw late(`The body came at less than ${BYTES_PER_SECOND} bytes a second`)
    }
    this.#waitedMs = 0
    this.#received = 0
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}

/** RFC 9110, section 15.5.9. The connection cannot go on: the rest of the body might still come. */
const late = (what: string): HttpProblem =>
  detail(408, `${what}: send the request again`, { connection: 'close' })
