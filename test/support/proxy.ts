/** A TCP port in front of a Postgres that listens on a Unix socket: it can come late and go away. */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { freePort } from './ports.js'

export interface PostgresProxy {
  /** The database through the port, with a password for those who look for one in a log. */
  uri(password: string): string
  /** Accepts connections from now on. */
  open(): Promise<void>
  /** Refuses connections from now on and cuts those that are there. */
  close(): Promise<void>
}

/** @param databaseUri with `?host=` that names the socket's directory. Nothing listens until `open` */
export async function postgresProxy(databaseUri: string): Promise<PostgresProxy> {
  const { username, pathname, searchParams, port: suffix } = new URL(databaseUri)
  const path = join(searchParams.get('host') ?? '', `.s.PGSQL.${suffix || 5432}`)
  const port = await freePort()
  const sockets = new Set<Socket>()
  let server: Server | undefined
  const forward = (client: Socket): void => {
    const target = connect(path)
    for (const [from, to] of [
      [client, target],
      [target, client],
    ] as const) {
      sockets.add(from)
      // `close` follows.
      from.on('error', () => undefined)
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
      from.pipe(to)
    }
  }
  return {
    uri: (password) =>
      `postgresql://${username}:${password}@127.0.0.1:${port}${pathname}?sslmode=disable`,
    open: async () => {
      server = createServer(forward)
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
    },
    close: async () => {
      const closing = server
      server = undefined
      if (!closing) return
      const closed = once(closing, 'close')
      closing.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}
