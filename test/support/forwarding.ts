/** Sockets that a proxy joins, whose forwarding can stand still. */
import type { Socket } from 'node:net'

export interface Forwarding {
  /** Forwards what comes on either of them to the other, and its end. */
  join(one: Socket, other: Socket): void
  /** Forwards nothing any more, not even an end: as when a machine loses its power. */
  freeze(): void
  /** Forwards what has come meanwhile, and goes on. */
  thaw(): void
  /** Destroys all sockets. */
  destroy(): void
}

export function createForwarding(): Forwarding {
  const ways = new Map<Socket, Socket>()
  let frozen = false
  const end = (from: Socket, to: Socket): void => {
    ways.delete(from)
    to.destroy()
  }
  return {
    join: (one, other) => {
      for (const [from, to] of [
        [one, other],
        [other, one],
      ] as const) {
        ways.set(from, to)
        // `close` follows.
        from.on('error', () => undefined)
        from.on('close', () => {
          if (!frozen) end(from, to)
        })
        if (!frozen) from.pipe(to)
      }
    },
    freeze: () => {
      frozen = true
      for (const [from, to] of ways) from.unpipe(to).pause()
    },
    thaw: () => {
      frozen = false
      for (const [from, to] of [...ways]) {
        if (from.closed) end(from, to)
        else from.pipe(to)
      }
    },
    destroy: () => {
      for (const socket of [...ways.keys()]) {
        ways.delete(socket)
        socket.destroy()
      }
    },
  }
}
