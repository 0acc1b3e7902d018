import type { IncomingMessage, ServerResponse } from 'node:http'

/** How long the rest of a body is read, and how many bytes of it, before the connection is cut. */
const LINGER_MS = 10_000
const LINGER_BYTES = 1024 ** 3

/**
 * Reads what is left of a body that was answered before its end, and throws it away. To close the
 * connection instead could keep the client, which is still sending, from seeing the answer
 * (RFC 9112, section 9.6).
 */
export function lingerAfter(request: IncomingMessage, response: ServerResponse): void {
  response.once('finish', () => {
    if (request.readableEnded || request.destroyed) return
    let read = 0
    const cut = (): void => request.socket.destroySoon()
    const timer = setTimeout(cut, LINGER_MS)
    timer.unref()
    request.on('data', (chunk: Buffer) => {
      read += chunk.length
      if (read > LINGER_BYTES) cut()
    })
    request.once('close', () => clearTimeout(timer))
    request.on('error', () => undefined)
    request.resume()
  })
}
