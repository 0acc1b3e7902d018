import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** The answers that have not been sent whole yet, by connection. */
export class OpenAnswers {
  readonly #bySocket = new Map<Socket, Set<ServerResponse>>()

  add(response: ServerResponse): void {
    const { socket } = response.req
    const ofSocket = this.#bySocket.get(socket) ?? this.#watch(socket)
    ofSocket.add(response)
    response.once('close', () => ofSocket.delete(response))
  }

  count(socket: Socket): number {
    return this.#bySocket.get(socket)?.size ?? 0
  }

  /** The answer of a connection that comes next or is under way. */
  current(socket: Socket): ServerResponse | undefined {
    for (const response of this.#bySocket.get(socket) ?? []) {
      if (response.socket === socket) return response
    }
    return undefined
  }

  /** The answer of a connection that comes after all others. */
  last(socket: Socket): ServerResponse | undefined {
    return [...(this.#bySocket.get(socket) ?? [])].at(-1)
  }

  /** The last answer of a connection to a request that has been read to its end. */
  lastWhole(socket: Socket): ServerResponse | undefined {
    return [...(this.#bySocket.get(socket) ?? [])].findLast(({ req }) => req.complete)
  }

  /** The last answer of each connection. */
  *lasts(): Generator<ServerResponse> {
    for (const socket of this.#bySocket.keys()) {
      const last = this.last(socket)
      if (last) yield last
    }
  }

  #watch(socket: Socket): Set<ServerResponse> {
    const ofSocket = new Set<ServerResponse>()
    this.#bySocket.set(socket, ofSocket)
    socket.once('close', () => {
      this.#bySocket.delete(socket)
      for (const response of [...ofSocket]) closeQueued(response)
    })
    return ofSocket
  }
}

/** Node closes the answer under way with its connection, but forgets those that queue behind it. */
function closeQueued(response: ServerResponse): void {
  if (response.socket !== null) return
  response.destroy()
  response.emit('close')
}
