import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** How long the rest of a body is read, and how many bytes of it, before the connection is cut. */
const LINGER_MS = 10_000
const LINGER_BYTES = 1024 ** 3

/**
 * Reads what is left of bodies that were answered before their end, and throws it away. To close
 * the connection instead could keep the client, which is still sending, from seeing the answer
 * (RFC 9112, section 9.6).
 */
export class Linger {
  readonly #sockets = new Set<Socket>()

  /** Whether what comes on the connection is the rest of a body that was answered. */
  on(socket: Socket): boolean {
    return this.#sockets.has(socket)
  }

  after(request: IncomingMessage, response: ServerResponse): void {
    response.once('finish', () => {
      if (!request.readableEnded && !request.destroyed) this.#drain(request, request.socket)
    })
  }

  #drain(request: IncomingMessage, socket: Socket): void {
    let read = 0
    const cut = (): void => socket.destroySoon()
    const timer = setTimeout(cut, LINGER_MS)
    timer.unref()
    this.#sockets.add(socket)
    request.on('data', (chunk: Buffer) => {
      read += chunk.length
      if (read > LINGER_BYTES) cut()
    })
    const stop = (): void => {
      clearTimeout(timer)
      this.#sockets.delete(socket)
      socket.off('close', stop)
    }
    request.once('close', stop)
    // Node does not close a request that was answered when its connection ends.
    socket.once('close', stop)
    request.on('error', () => undefined)
    request.resume()
  }
}
