/** Connections by the thousand, more than there are files for, and clients that are slow: the others go on. */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { errorsLogged, eventually, openWire } from '../acceptance/helpers.js'
import { type Client, login } from '../support/client.js'
import { isFull, reportTried } from '../support/fault-report.js'
import { failureOf, skipWithout } from '../support/fault-tools.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { stateOfStore } from '../support/store-check.js'
import { uploadBy, WAYS } from '../support/ways.js'

const IDLE = isFull ? 4000 : 1000
const SLOW = isFull ? 100 : 20
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

/** Opens connections; every other one has had an answer before it falls silent. */
async function openIdle(count: number): Promise<void> {
  const { hostname, port } = new URL(service.url)
  for (let n = 0; n < count; n++) {
    const socket = connect(Number(port), hostname)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    socket.resume()
    sockets.add(socket)
    if (n % 2 === 0) socket.write('GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n')
    // So that the queue of those that wait to be accepted does not overflow.
    if (n % 100 === 99) await sleep(20)
  }
}

const openFiles = async (): Promise<number> =>
  (await readdir(`/proc/${service.process.pid}/fd`)).length

/** @returns what is wrong: every upload must be taken, and come back as it was */
async function tryAll(size: number): Promise<string[]> {
  const wrong: string[] = []
  for (const way of WAYS) {
    const content = randomBytes(size)
    const { id, status, text } = await uploadBy(way, service, client, await client.job(), content)
    if (id === undefined) wrong.push(`${way} gets ${status} ${text}`)
    else if (
      !content.equals(Buffer.from(await (await client.request(`/bytes/raw/${id}`)).arrayBuffer()))
    )
      wrong.push(`${way} is not given back`)
  }
  return wrong
}

it.runIf(linux)(
  'idle connections do not hold up others, and are ended',
  async () => {
    await start({ BYTES_HEADERS_TIMEOUT_SECONDS: '6', BYTES_IDLE_TIMEOUT_SECONDS: '6' })
    const before = await openFiles()
    await openIdle(IDLE)
    await eventually(async () => (await openFiles()) >= before + IDLE / 2, 'they are accepted')
    const wrong = await tryAll(100_000)
    if ((await client.request('/health')).status !== 200) wrong.push('it is not healthy')
    await eventually(() => sockets.size === 0, 'all of them are ended')
    await eventually(async () => (await openFiles()) <= before + 30, 'their files are closed')
    reportTried('connections', 'idle ones', { tried: IDLE, violations: wrong.length })
    expect(wrong).toEqual([])
    expect(errorsLogged(service.log())).toEqual([])
  },
  120_000,
)

it.runIf(linux)(
  'connections that take all files refuse with 503, and no more',
  async ({ skip }) => {
    await start({ BYTES_DB_CONNECTION_POOL_SIZE: '4' })
    const limit = (await openFiles()) + 60
    const args = ['--pid', String(service.process.pid), `--nofile=${limit}:${limit}`]
    if (failureOf('prlimit', args)) skipWithout(skip, 'prlimit')
    const wrong: string[] = []
    let tried = 0
    // From connections that have no file left over to those that have some.
    for (let free = 0; free <= (isFull ? 40 : 12); free += isFull ? 1 : 3) {
      const wire = await openWire(service.url)
      sockets.add(wire.socket)
      const used = await openFiles()
      await openIdle(limit - used - free)
      await sleep(200)
      const job = 'boefje_meta_id=00000000-0000-4000-8000-000000000000'
      for (const path of ['/bytes/mime_types', `/bytes/raw?${job}`, '/health']) {
        tried++
        const request = `GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${client.token}\r\n\r\n`
        wire.write(request)
      }
      const answers = (): string[] => received.match(/HTTP\/1\.1 \d+/g) ?? []
      let received = ''
      wire.socket.on('data', (chunk) => {
        received += chunk.toString('latin1')
      })
      await eventually(() => answers().length === 4 || wire.socket.closed, 'it has answered')
      for (const answer of answers()) {
        if (!/ (200|503)$/.test(answer)) wrong.push(`with ${free} files left: ${answer}`)
      }
      for (const socket of sockets) socket.destroy()
      await eventually(async () => (await openFiles()) < limit - 30, 'the connections are closed')
    }
    reportTried('connections', 'requests without files', { tried, violations: wrong.length })
    expect(wrong).toEqual([])
    expect(await tryAll(100_000)).toEqual([])
  },
  120_000,
)

it('slow readers and writers finish, and the others do not wait for them', async () => {
  await start({ BYTES_IDLE_TIMEOUT_SECONDS: '4' })
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
      if (performance.now() - begun < 9000) await sleep(150)
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
      await sleep(200)
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
  const wrong: string[] = []
  let quick = 0
  while (!over) {
    wrong.push(...(await tryAll(10_000)))
    quick += WAYS.length
  }
  const cut = (await slow).filter((whole) => !whole).length
  const tried = SLOW + quick
  reportTried('connections', 'slow clients and others', { tried, violations: wrong.length + cut })
  expect([cut, wrong]).toEqual([0, []])
  expect(quick).toBeGreaterThan(WAYS.length)
  expect(await stateOfStore(store)).toMatchObject({ damaged: [], temporary: [] })
}, 120_000)
