/** Clients that ask for long lists and read nothing: they share a memory that has a bound. */
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { type Client, login } from '../support/client.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { errorsLogged, eventually, send } from './helpers.js'
import { peakMemory, resetPeak } from './streaming-helpers.js'

const CLIENTS = 60
const JOBS = 12
/** One sign that is none of Latin-1: each character takes two bytes in memory. */
const LONG = `\u0100${'x'.repeat(1_000_000)}`

let store: TestStore
let service: TestService
let client: Client
let job: string
let mute: Socket[] = []

beforeAll(async () => {
  store = await testStore()
  service = await store.start({ NODE_OPTIONS: '--max-old-space-size=512' })
  client = await login(service.url)
  for (let n = 0; n < JOBS; n++) {
    job = await client.job('long', { arguments: { LONG }, environment: { LONG } })
  }
  await client.job('short')
})

afterEach(() => {
  for (const socket of mute) socket.destroy()
})

afterAll(async () => {
  await store?.remove()
})

const get = (path: string) =>
  send(service.url, { path, headers: { authorization: `Bearer ${client.token}` } })

/** Connections that ask for it, and take no more of the answer than the system keeps for them. */
function ask(path: string): Socket[] {
  const { hostname, port } = new URL(service.url)
  return Array.from({ length: CLIENTS }, () => {
    const socket = connect(Number(port), hostname).pause()
    socket.on('error', () => undefined)
    const head = `Host: x\r\nAuthorization: Bearer ${client.token}`
    socket.write(`GET ${path} HTTP/1.1\r\n${head}\r\n\r\n`)
    return socket
  })
}

it.each([
  ['a list of jobs', () => '/bytes/boefje_meta?organization=long&input_ooi=*&limit=9999'],
  ['a job', () => `/bytes/boefje_meta/${job}`],
])('leave the others room: %s', async (_, path) => {
  await resetPeak(service.process.pid ?? 0)
  mute = ask(path())
  for (let n = 0; n < 40; n++) {
    expect((await get('/health/live')).status).toBe(200)
    const short = await get('/bytes/boefje_meta?organization=short&input_ooi=*&limit=100')
    expect(short.status).toBe(200)
    await sleep(100)
  }
  // Once all is taken, what is long is refused, and what is not goes on.
  const long = await get(path())
  expect([200, 503]).toContain(long.status)
  if (long.status === 503) expect(long.headers['retry-after']).toBe('5')
  expect(service.process.exitCode).toBeNull()
  expect(await peakMemory(service.process.pid ?? 0)).toBeLessThan(700 * 1024 * 1024)
  // When they have gone all is there again.
  for (const socket of mute) socket.destroy()
  const again = await eventually(async () => {
    const answer = await get(path())
    return answer.status === 200 && answer
  }, 'there is room')
  expect(again.body.length).toBeGreaterThan(2_000_000)
})

it('nothing was complained about but the want of room', () => {
  const errors = errorsLogged(service.log())
  expect(errors.filter((line) => !line.includes('wait for their clients'))).toEqual([])
})
