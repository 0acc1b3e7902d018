import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** How long the rest of a body is read, and how many bytes of it, before the connection is cut. */
const LINGER_MS = 10_000
const LINGER_BYTES = 1024 ** 3
/** How often that is looked at. */
const CHECKING_MS = 100

/**
 * Reads what is left of bodies that were answered before their end, and throws it away. To close
 * the connection instead could keep the client, which is still sending, from seeing the answer
 * (RFC 9112, section 9.6).
 */
export class Linger {
  readonly #sockets = new Set<Socket>()
  readonly #onEnd: (socket: Socket) => void

  /** @param onEnd is told of a connection that ends with the answer that has been sent */
  constructor(onEnd: (socket: Socket) => void) {
    this.#onEnd = onEnd
  }

  /** Whether what comes on the connection is the rest of a body that was answered. */
  on(socket: Socket): boolean {
    return this.#sockets.has(socket)
  }

  /** Sees to what is left of a request's body when its answer has been sent. */
  after(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request
    // Between these two comes Node's own listener. After an answer that says so it closes the
    // connection, and a client that is still sending meets a reset in place of the answer.
    response.prependOnceListener('finish', () => {
      socket.destroySoon = () => {
        Reflect.deleteProperty(socket, 'destroySoon')
        this.#onEnd(socket)
        if (request.complete || request.destroyed) socket.destroySoon()
        else socket.end()
      }
      if (!request.readableEnded && !request.destroyed) this.#drain(request, socket)
    })
    response.once('finish', () => {
      Reflect.deleteProperty(socket, 'destroySoon')
    })
  }

  #drain(request: IncomingMessage, socket: Socket): void {
    const before = socket.bytesRead
    const deadline = performance.now() + LINGER_MS
    // Of a body that nobody has begun to read Node tells no pieces.
    const timer = setInterval(() => {
      const isMuch = socket.bytesRead - before > LINGER_BYTES
      if (isMuch || performance.now() > deadline) socket.destroySoon()
    }, CHECKING_MS)
    timer.unref()
    this.#sockets.add(socket)
    const stop = (): void => {
      clearInterval(timer)
      this.#sockets.delete(socket)
      socket.off('close', stop)
    }
    request.once('end', () => {
      // The answer said that the connection ends.
      if (socket.writableEnded) socket.destroySoon()
    })
    request.once('close', stop)
    // Node does not close a request that was answered when its connection ends.
    socket.once('close', stop)
    request.on('error', () => undefined)
    request.resume()
  }
}
