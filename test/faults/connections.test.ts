/** Connections by the thousand, more than there are files for, and clients that are slow: the others go on. */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { errorsLogged, eventually, openWire, query, untilHealthy } from '../acceptance/helpers.js'
import { type Client, login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { failureOf, skipWithout } from '../support/fault-tools.js'
import { postgresProxy } from '../support/proxy.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { stateOfStore } from '../support/store-check.js'
import { type Tally, tallyOf } from '../support/tally.js'
import { uploadBy, WAYS } from '../support/ways.js'

const IDLE = isFull ? 4000 : 1000
const SLOW = isFull ? 100 : 20
/** Longest silence of a slow client that the service bears. */
const IDLE_SECONDS = 8
const linux = process.platform === 'linux'

let store: TestStore
let service: TestService
let client: Client
const sockets = new Set<Socket>()

beforeEach(async () => {
  store = await testStore()
})

afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  sockets.clear()
  await store?.remove()
})

async function start(environment: Record<string, string>): Promise<void> {
  service = await store.start(environment)
  client = await login(service.url)
}

/** Opens connections that fall silent: one in so many has had an answer before. */
async function openIdle(count: number, oneIn: number): Promise<void> {
  const { hostname, port } = new URL(service.url)
  for (let n = 0; n < count; n++) {
    const socket = connect(Number(port), hostname)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    socket.resume()
    sockets.add(socket)
    if (n % oneIn === 0) socket.write('GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n')
    // So that the queue of those that wait to be accepted does not overflow.
    if (n % 100 === 99) await sleep(20)
  }
}

const openFiles = async (): Promise<number> =>
  (await readdir(`/proc/${service.process.pid}/fd`)).length

/** Uploads in every way: every upload must be taken, and come back as it was. */
async function tryAll(size: number, tally: Tally): Promise<void> {
  const wrong = tally.violations
  for (const way of WAYS) {
    tally.tried++
    const content = randomBytes(size)
    const { id, status, text } = await uploadBy(way, service, client, await client.job(), content)
    if (id === undefined) wrong.push(`${way} gets ${status} ${text}`)
    else if (
      !content.equals(Buffer.from(await (await client.request(`/bytes/raw/${id}`)).arrayBuffer()))
    )
      wrong.push(`${way} is not given back`)
  }
}

it.runIf(linux)('idle connections do not hold up others, and are ended', async () => {
  const tally = tallyOf('connections', 'idle ones, and uploads beside them')
  await start({
    BYTES_HEADERS_TIMEOUT_SECONDS: '3',
    BYTES_IDLE_TIMEOUT_SECONDS: '3',
    BYTES_KEEP_ALIVE_TIMEOUT_SECONDS: '8',
  })
  const before = await openFiles()
  await openIdle(IDLE, 2)
  tally.tried += IDLE
  await eventually(async () => (await openFiles()) >= before + IDLE / 2, 'they are accepted')
  await tryAll(100_000, tally)
  await untilHealthy(client)
  await eventually(() => sockets.size === 0, 'all of them are ended')
  await eventually(async () => (await openFiles()) <= before + 30, 'their files are closed')
  expect(tally.violations).toEqual([])
  expect(errorsLogged(service.log())).toEqual([])
})

/** Of the service. */
async function databaseConnections(): Promise<number> {
  const rows = await query(
    store.databaseUri,
    `SELECT 1 FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'bytes'`,
  )
  return rows.length
}

it.runIf(linux)(
  'connections that take all files leave none for the database: 503, until some are closed',
  async ({ skip }) => {
    const database = await postgresProxy(store.databaseUri)
    await database.open()
    try {
      await start({
        BYTES_DB_URI: database.uri('x'),
        BYTES_DB_CONNECTION_POOL_SIZE: '4',
        // Those who wait until every file is taken must not be ended meanwhile.
        BYTES_HEADERS_TIMEOUT_SECONDS: '600',
        BYTES_IDLE_TIMEOUT_SECONDS: '600',
      })
      const limit = (await openFiles()) + 60
      const args = ['--pid', String(service.process.pid), `--nofile=${limit}:${limit}`]
      if (failureOf('prlimit', args)) skipWithout(skip, 'prlimit')
      const tally = tallyOf('connections', 'requests without files')
      const job = 'boefje_meta_id=00000000-0000-4000-8000-000000000000'
      const paths = ['/bytes/mime_types', `/bytes/raw?${job}`, '/bytes/raw?organization=org']
      const most = isFull ? 40 : 4
      for (let free = 0; free <= most; free += isFull ? 1 : 2) {
        // They have their files before the others take the rest.
        const wires = await Promise.all(paths.map(() => openWire(service.url)))
        for (const { socket } of wires) sockets.add(socket)
        await eventually(async () => {
          // While it refuses, no connection to the database keeps a file.
          await database.close()
          await openIdle(limit - (await openFiles()) + 10, Infinity)
          const full = (await openFiles()) === limit
          await database.open()
          return full && (await databaseConnections()) === 0
        }, 'every file is taken, and none by a connection to the database')
        const idle = [...sockets].filter((socket) => !wires.some((wire) => wire.socket === socket))
        for (const socket of idle.slice(0, free)) socket.destroy()
        for (const [i, wire] of wires.entries()) {
          tally.tried++
          wire.write(
            `GET ${paths[i]} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${client.token}\r\n\r\n`,
          )
          // It stays open, as its file would be free for the next one.
          const answer = await wire.received(/\r\n\r\n[\s\S]+/)
          const refused = /^HTTP\/1\.1 503 [\s\S]*\r\nretry-after: \d+\r\n[\s\S]*database/i.test(
            answer,
          )
          // Of the files that are free, those who come may have taken some.
          if (refused || (free > 0 && answer.startsWith('HTTP/1.1 200 '))) continue
          tally.violations.push(`with ${free} files left: ${answer}`)
        }
        for (const socket of sockets) socket.destroy()
        await eventually(async () => (await openFiles()) < limit - 30, 'the connections are closed')
      }
      expect(tally.violations).toEqual([])
      expect(service.log()).toContain('EMFILE')
      await untilHealthy(client)
      await tryAll(100_000, tally)
      expect(tally.violations).toEqual([])
    } finally {
      await database.close()
    }
  },
  isFull ? 1_800_000 : 300_000,
)

it('slow readers and writers finish, and the others do not wait for them', async () => {
  const tally = tallyOf('connections', 'slow clients and others')
  await start({ BYTES_IDLE_TIMEOUT_SECONDS: String(IDLE_SECONDS) })
  const content = randomBytes(12 * 1024 * 1024)
  const { file = '' } = await client.upload(await client.job(), [{ name: 'file', content }])
  const digest = createHash('sha512').update(content).digest('hex')
  const { hostname, port } = new URL(service.url)

  /** Takes little at a time for longer than the idle timeout, then the rest. */
  const read = async (): Promise<boolean> => {
    const socket = connect(Number(port), hostname)
    sockets.add(socket)
    await once(socket, 'connect')
    socket.write(
      `GET /bytes/raw/${file} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n` +
        `Authorization: Bearer ${client.token}\r\n\r\n`,
    )
    const chunks: Buffer[] = []
    const begun = performance.now()
    for await (const chunk of socket) {
      chunks.push(chunk)
      if (performance.now() - begun < 2200 * IDLE_SECONDS) await sleep(150)
    }
    const whole = Buffer.concat(chunks)
    const body = whole.subarray(whole.indexOf('\r\n\r\n') + 4)
    return createHash('sha512').update(body).digest('hex') === digest
  }
  /** Sends little at a time, never nothing for as long as the idle timeout. */
  const write = async (n: number): Promise<boolean> => {
    const job = await client.job('slow')
    const wire = await openWire(service.url)
    sockets.add(wire.socket)
    const text = `${n} `.repeat(20_000)
    wire.write(
      `POST /bytes/raw?boefje_meta_id=${job}&tag=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n` +
        `Content-Type: application/octet-stream\r\nContent-Length: ${text.length}\r\n` +
        `Authorization: Bearer ${client.token}\r\n\r\n`,
    )
    const step = Math.ceil(text.length / 40)
    for (let at = 0; at < text.length; at += step) {
      wire.write(text.slice(at, at + step))
      await sleep(50 * IDLE_SECONDS)
    }
    const id = /HTTP\/1\.1 200 [\s\S]*\{"file":"([^"]+)"\}/.exec(await wire.ended)?.[1]
    return (await (await client.request(`/bytes/raw/${id}`)).text()) === text
  }
  const slow = Promise.all(
    Array.from({ length: SLOW }, (_, n) => (n % 2 === 0 ? read() : write(n))),
  )
  let over = false
  slow.then(
    () => {
      over = true
    },
    () => {
      over = true
    },
  )
  while (!over) await tryAll(10_000, tally)
  const quick = tally.tried
  for (const whole of await slow) {
    tally.tried++
    if (!whole) tally.violations.push('a slow client was cut')
  }
  expect(tally.violations).toEqual([])
  expect(quick).toBeGreaterThan(WAYS.length)
  expect(await stateOfStore(store)).toMatchObject({ damaged: [], temporary: [] })
})
