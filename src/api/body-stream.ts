/** Request bodies in pieces, from Node's own stream: one copy less than through a web stream. */
import type { IncomingMessage } from 'node:http'
import { detail, HttpProblem } from './problems.js'

export interface BodyLimits {
  /** Most bytes. */
  readonly bytes: number
  /** What sets the limit, for the message. */
  readonly setBy: string
  /** Longest wait for the client's next bytes in milliseconds, when it is the client that is waited for. */
  readonly idleMs: number
}

/**
 * The body of a request. It is read as fast as it is asked for: a consumer that is slow slows the
 * client. A consumer that ends early leaves the rest unread.
 * @throws HttpProblem 413 for a body that is too long, 415 for one that is compressed, 408 when the
 *   client falls silent, 400 when it goes away
 */
export async function* streamBody(
  incoming: IncomingMessage,
  limits: BodyLimits,
): AsyncGenerator<Buffer> {
  refuseEncoded(incoming)
  if (declaredLength(incoming) > limits.bytes) throw tooLong(limits)
  const pieces: AsyncIterator<Buffer> = incoming
    .iterator({ destroyOnReturn: false })
    [Symbol.asyncIterator]()
  const patience = new Patience(limits.idleMs)
  let size = 0
  try {
    for (;;) {
      const { done, value } = await patience.wait(pieces.next())
      if (done) return
      size += value.length
      if (size > limits.bytes) throw tooLong(limits)
      yield value
    }
  } catch (error) {
    if (error instanceof HttpProblem || incoming.complete) throw error
    // Nobody is left to read it; it keeps clients that go away out of the log of errors.
    throw detail(400, 'The connection ended before the body did')
  } finally {
    patience.end()
    // Not waited for: it would wait for a client that has fallen silent.
    pieces.return?.().catch(() => undefined)
  }
}

/** Bytes that the request says its body has; 0 when it does not say. */
export function declaredLength(incoming: IncomingMessage): number {
  return Number(incoming.headers['content-length'] ?? 0)
}

function refuseEncoded(incoming: IncomingMessage): void {
  const encoding = incoming.headers['content-encoding'] ?? 'identity'
  if (encoding.toLowerCase() === 'identity') return
  throw detail(415, `Content-Encoding ${encoding} is not supported: send the body as it is`, {
    'accept-encoding': 'identity',
  })
}

function tooLong({ bytes, setBy }: BodyLimits): HttpProblem {
  return detail(413, `The body is longer than the ${bytes} bytes that ${setBy} allows`)
}

/** Gives up on promises that take too long, with one timer for all of them. */
class Patience {
  readonly #timer: NodeJS.Timeout
  #giveUp: ((problem: HttpProblem) => void) | undefined

  constructor(ms: number) {
    this.#timer = setTimeout(() => {
      const seconds = ms / 1000
      const text = `No more of the body came for ${seconds} seconds: send the request again`
      this.#giveUp?.(detail(408, text))
    }, ms)
  }

  /** @throws HttpProblem 408, or what `promise` rejects with */
  wait<T>(promise: Promise<T>): Promise<T> {
    this.#timer.refresh()
    return new Promise((resolve, reject) => {
      this.#giveUp = reject
      promise.then(resolve, reject)
    })
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}
