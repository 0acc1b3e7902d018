/** A server that welcomes a connection and ends it in one breath fails who asked, and no one else. */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Database, openDatabase } from '../../src/meta/client.js'
import { domainError } from '../../src/meta/sqlstate.js'
import { withClient } from '../../src/meta/with-client.js'
import { silentLog } from '../support/postgres.js'

/** A message of the protocol: its type, its length with that of the length, and its fields. */
function message(type: string, fields: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeUInt32BE(fields.length + 4, 1)
  return Buffer.concat([head, fields])
}

const WELCOME = Buffer.concat([message('R', Buffer.alloc(4)), message('Z', Buffer.from('I'))])
const SHUTDOWN = message(
  'E',
  Buffer.from('SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0'),
)

/** What the server does when a client introduces itself. */
const ENDS: Readonly<Record<string, (socket: Socket) => void>> = {
  'an error in the same packet': (socket) => socket.end(Buffer.concat([WELCOME, SHUTDOWN])),
  'two errors in the same packet': (socket) =>
    socket.end(Buffer.concat([WELCOME, SHUTDOWN, SHUTDOWN])),
  'an error and a reset': (socket) =>
    socket.write(Buffer.concat([WELCOME, SHUTDOWN]), () => socket.resetAndDestroy()),
  'a message that nothing asked for': (socket) =>
    socket.end(Buffer.concat([WELCOME, message('D', Buffer.alloc(2))])),
  'an end': (socket) => socket.end(WELCOME),
  'a reset': (socket) => socket.write(WELCOME, () => socket.resetAndDestroy()),
}

/** How the service takes a connection. */
const USES: Readonly<Record<string, (database: Database) => Promise<unknown>>> = {
  withClient: ({ pool }) => withClient(pool, (client) => client.query('SELECT 1')),
  'withClient that asks late': ({ pool }) =>
    withClient(pool, async (client) => {
      await new Promise((resolve) => setTimeout(resolve, 20))
      await client.query('SELECT 1')
    }),
  'pool.query': ({ pool }) => pool.query('SELECT 1'),
  drizzle: ({ drizzle }) => drizzle.execute('SELECT 1'),
}

let server: Server
let database: Database
let end: (socket: Socket) => void
const uncaught: unknown[] = []
const note = (error: unknown): void => void uncaught.push(error)

beforeEach(async () => {
  server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => end(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  database = openDatabase(`postgresql://user:word@127.0.0.1:${port}/none`, 4, silentLog)
  uncaught.length = 0
  process.on('uncaughtException', note)
})

afterEach(async () => {
  await database.close()
  server.close()
  process.off('uncaughtException', note)
})

const cases = Object.keys(USES).flatMap((use) => Object.keys(ENDS).map((name) => [use, name]))

it.each(cases)('%s meets a welcome and %s', async (use, name) => {
  end = ENDS[name] ?? expect.fail()
  // The pool takes no broken connection for a whole one: the second one fails as the first did.
  for (let attempt = 0; attempt < 2; attempt++) {
    const failure: unknown = await USES[use]?.(database).catch((error: unknown) => error)
    expect(domainError(failure)).toMatchObject({ code: 'database_unavailable' })
  }
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(uncaught).toEqual([])
  expect(database.pool.totalCount).toBe(0)
})
