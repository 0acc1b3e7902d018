import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { holdReading } from './hold-reading.js'

/** While more requests than so many wait, their connection is not read. */
const MAX_WAITING = 100

interface Line {
  readonly requests: { readonly response: ServerResponse; readonly begin: () => void }[]
  /** Reads on, when the connection is not read. */
  readOn: (() => void) | undefined
}

/**
 * The requests that wait for those before them on their connection (RFC 9112, section 9.3.2). When
 * many do, the connection is read no further, so that there are not many more of them than one read
 * of 64 KiB brings. Nothing that is executed needs more of it: what comes before another request has
 * come whole. Those that wait when their connection is closed are never executed.
 */
export class QueueOfRequests {
  readonly #lines = new WeakMap<Socket, Line>()
  readonly #mayBegin: (response: ServerResponse) => boolean

  /** @param mayBegin is asked of a request when none waits before it */
  constructor(mayBegin: (response: ServerResponse) => boolean) {
    this.#mayBegin = mayBegin
  }

  /** @param begin executes the request, at once or when it is its turn */
  add(response: ServerResponse, begin: () => void): void {
    const { socket } = response.req
    const line = this.#lines.get(socket) ?? { requests: [], readOn: undefined }
    if (line.requests.length === 0 && this.#mayBegin(response)) {
      begin()
      return
    }
    this.#lines.set(socket, line)
    line.requests.push({ response, begin })
    if (line.requests.length > MAX_WAITING) line.readOn ??= holdReading(socket)
  }

  /** Looks whose turn it is, as something before them has changed. */
  goOn(socket: Socket): void {
    // In a turn of its own: those of other connections come between.
    if (this.#lines.has(socket)) setImmediate(() => this.#goOn(socket))
  }

  /** Whether any request of a connection waits. */
  waits(socket: Socket): boolean {
    return this.#lines.has(socket)
  }

  /** Whether a connection is not read, as too many of its requests wait. */
  holds(socket: Socket): boolean {
    return this.#lines.get(socket)?.readOn !== undefined
  }

  /** The last answer of a connection that waits, after one whose request cannot be read is dropped. */
  lastWhole(socket: Socket): ServerResponse | undefined {
    const requests = this.#lines.get(socket)?.requests
    if (requests?.at(-1)?.response.req.complete === false) requests.pop()
    return requests?.at(-1)?.response
  }

  #goOn(socket: Socket): void {
    const line = this.#lines.get(socket)
    if (!line) return
    const { requests } = line
    for (let first = requests[0]; first; first = requests[0]) {
      if (!this.#mayBegin(first.response)) break
      requests.shift()
      first.begin()
    }
    if (requests.length === 0) this.#lines.delete(socket)
    if (requests.length > MAX_WAITING) return
    line.readOn?.()
    line.readOn = undefined
  }
}
