/** Request bodies in pieces, from Node's own stream: one copy less than through a web stream. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { allowBody } from './expectation.js'
import { Patience } from './patience.js'
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
 * client. A consumer that ends early leaves the rest unread. A client that waits for leave to send
 * gets it with the first read.
 * @throws HttpProblem 413 for a body that is too long, 415 for one that is compressed, 408 when the
 *   client falls silent or is very slow, 400 when it goes away
 */
export async function* streamBody(
  incoming: IncomingMessage,
  limits: BodyLimits,
): AsyncGenerator<Buffer> {
  refuseEncoded(incoming.headers)
  if (declaredLength(incoming) > limits.bytes) throw tooLong(limits)
  const pieces: AsyncIterator<Buffer> = incoming
    .iterator({ destroyOnReturn: false })
    [Symbol.asyncIterator]()
  allowBody(incoming)
  const patience = new Patience(limits.idleMs)
  let size = 0
  try {
    for (;;) {
      const { done, value } = await patience.wait(pieces.next())
      if (done) return
      size += value.length
      if (size > limits.bytes) throw tooLong(limits)
      patience.receive(value.length)
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

/** Whether a request has a body, as its headers tell. */
export function hasBody(headers: IncomingHttpHeaders): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

/** @throws HttpProblem 415 for a body that is compressed, or would be once its chunks are joined */
export function refuseEncoded(headers: IncomingHttpHeaders): void {
  // Node joins the chunks of `gzip, chunked` and leaves the rest (RFC 9112, section 6.1).
  const transfer = headers['transfer-encoding'] ?? 'chunked'
  if (transfer.toLowerCase() !== 'chunked') {
    throw detail(415, `Transfer-Encoding ${transfer} is not supported: send the body as it is`)
  }
  const encoding = headers['content-encoding'] ?? 'identity'
  if (encoding.toLowerCase() === 'identity') return
  throw detail(415, `Content-Encoding ${encoding} is not supported: send the body as it is`, {
    'accept-encoding': 'identity',
  })
}

function tooLong({ bytes, setBy }: BodyLimits): HttpProblem {
  return detail(413, `The body is longer than the ${bytes} bytes that ${setBy} allows`)
}
