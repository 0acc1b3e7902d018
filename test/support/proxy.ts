/** A TCP port in front of a Postgres that listens on a Unix socket: it can come late, go away and stand still. */
import { once } from 'node:events'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { createForwarding, type Forwarding } from './forwarding.js'
import { freePort } from './ports.js'

export interface PostgresProxy extends Pick<Forwarding, 'freeze' | 'thaw'> {
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
  const forwarding = createForwarding()
  let server: Server | undefined
  return {
    uri: (password) =>
      `postgresql://${username}:${password}@127.0.0.1:${port}${pathname}?sslmode=disable`,
    open: async () => {
      server = createServer((client) => forwarding.join(client, connect(path)))
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
    },
    close: async () => {
      const closing = server
      server = undefined
      if (!closing) return
      const closed = once(closing, 'close')
      closing.close()
      forwarding.destroy()
      await closed
    },
    freeze: forwarding.freeze,
    thaw: forwarding.thaw,
  }
}
