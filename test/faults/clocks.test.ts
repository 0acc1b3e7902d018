/** Instances on one store whose clocks differ and jump: none spoils what another does. */
import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, expect, inject, it, vi } from 'vitest'
import { errorsLogged, query } from '../acceptance/helpers.js'
import { sendBody } from '../acceptance/streaming-helpers.js'
import { auditFindings } from '../support/audit.js'
import { login } from '../support/client.js'
import { type FakeClock, fakeClock, jump } from '../support/fake-clock.js'
import { isFull } from '../support/fault-report.js'
import { skipWithout } from '../support/fault-tools.js'
import { type QueueReader, readQueue } from '../support/queue.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'
import { startTestAuthority, type TestAuthority } from '../support/tsa.js'
import { type AuthorityProxy, startAuthorityProxy } from '../support/tsa-proxy.js'
import { uploadBy, WAYS } from '../support/ways.js'

const HOUR = 3600
const DAY = 24 * HOUR
/** Seconds that the clocks of the two are ahead, one pair after the other. */
const JUMPS = [
  [2 * HOUR, -3 * HOUR],
  [-3 * HOUR, 400 * DAY],
] as const
const ROUNDS = isFull ? 6 : 1
/** An authority that was refused for its time is asked again after up to a minute. */
const PATIENCE = { timeout: 180_000, interval: 100 }

let store: TestStore
let clocks: FakeClock[]
let queue: QueueReader | undefined
let authority: TestAuthority | undefined
let proxy: AuthorityProxy | undefined

beforeEach(async () => {
  store = await testStore()
  clocks = [await fakeClock(), await fakeClock()].filter((clock) => clock !== undefined)
})

afterEach(async () => {
  await store?.remove()
  await queue?.close()
  await proxy?.stop()
  await authority?.stop()
  for (const clock of clocks) await clock.remove()
})

interface Steady {
  /** Uploads that were acknowledged. */
  readonly count: number
  /** Resolves when the last upload has been answered. */
  stop(): Promise<void>
}

it('differ and jump under uploads, and every event and timestamp comes once they are right', async ({
  skip,
}) => {
  const [one, other] = clocks
  if (!one || !other) return skipWithout(skip, 'faketime')
  const tally = tallyOf('clock', 'uploads to instances whose clocks differ')
  queue = await readQueue(inject('brokerUris').clocks)
  authority = await startTestAuthority()
  proxy = await startAuthorityProxy(authority.url)
  const stamps = {
    BYTES_EXT_HASH_REPOSITORY: 'RFC3161',
    BYTES_RFC3161_PROVIDER: proxy.url,
    BYTES_RFC3161_CERT_FILE: authority.rootFile,
  }
  const start = ({ environment }: FakeClock): Promise<TestService> =>
    store.start({ ...environment, ...stamps, QUEUE_URI: inject('brokerUris').clocks })
  const stored = new Map<string, Buffer>()

  const uploadOnce = async (service: TestService, turn: number): Promise<boolean> => {
    const way = WAYS[turn % WAYS.length] ?? 'json'
    const content = randomBytes(2000)
    const client = await login(service.url)
    const job = await client.job()
    const { id, status, text } = await uploadBy(way, service, client, job, content)
    // The clock has jumped since the log-in.
    if (status === 401) return false
    tally.tried++
    if (id === undefined) tally.violations.push(`${way} gets ${status} ${text}`)
    else stored.set(id, content)
    return id !== undefined
  }
  const steadily = (service: TestService): Steady => {
    let over = false
    let count = 0
    const work = async (): Promise<void> => {
      for (let turn = 0; !over; turn++) {
        const done = await uploadOnce(service, turn).catch((error: unknown) => {
          if (!/ 401/.test(String(error))) tally.violations.push(String(error))
          return false
        })
        if (done) count++
      }
    }
    const working = work()
    return {
      get count() {
        return count
      },
      stop: () => {
        over = true
        return working
      },
    }
  }
  const more = async (uploads: readonly Steady[]): Promise<void> => {
    const wanted = uploads.map(({ count }) => count + WAYS.length)
    const enough = () => uploads.every(({ count }, i) => count >= (wanted[i] ?? 0))
    await vi.waitFor(() => expect(enough()).toBe(true), PATIENCE)
  }
  const end = async (service: TestService): Promise<void> => {
    tally.violations.push(...errorsLogged(service.log()))
    expect(await service.stop()).toBe(0)
  }

  let first = await start(one)
  const second = await start(other)
  const ofSecond = steadily(second)
  for (let round = 0; round < ROUNDS; round++) {
    let ofFirst = steadily(first)
    for (const [ahead, behind] of JUMPS) {
      await Promise.all([jump(one, first, ahead), jump(other, second, behind)])
      await more([ofFirst, ofSecond])
    }
    await ofFirst.stop()
    await end(first)
    // It goes on with another clock than it had, while the other instance is at work.
    await one.set(2 * HOUR)
    first = await start(one)
    ofFirst = steadily(first)
    await more([ofFirst, ofSecond])
    await ofFirst.stop()
  }
  await ofSecond.stop()

  await Promise.all([jump(one, first, 0), jump(other, second, 0)])
  const pending = () => query(store.databaseUri, 'SELECT raw_file_id FROM pending_hash')
  expect((await pending()).length).toBeGreaterThan(0)
  await vi.waitFor(async () => expect(await pending()).toEqual([]), PATIENCE)
  // What was refused for its time is asked for again; what comes in its time is asked for once.
  const { length: before } = proxy.stamped
  for (const service of [first, second]) expect(await uploadOnce(service, 0)).toBe(true)
  await vi.waitFor(async () => expect(await pending()).toEqual([]), PATIENCE)
  expect(proxy.stamped.length - before).toBe(2)

  await vi.waitFor(() => expect(new Set(queue?.ids())).toEqual(new Set(stored.keys())), PATIENCE)
  expect(queue.ids()).toHaveLength(stored.size)
  const client = await login(second.url)
  for (const [id, content] of stored) {
    const answer = await client.request(`/bytes/raw/${id}`)
    const same = content.equals(Buffer.from(await answer.arrayBuffer()))
    if (!same) tally.violations.push(`${id} answered ${answer.status}`)
  }
  await end(first)
  await end(second)
  const { stdout } = await store.run(['verify', '--all'], stamps)
  expect(stdout).toContain(`${stored.size} raw files: ${stored.size} verified, 0 pending`)
  tally.violations.push(...(await auditFindings(store)))
  expect(tally.violations).toEqual([])
}, 1_800_000)

it('a start with a clock that is ahead leaves the uploads of another instance alone', async ({
  skip,
}) => {
  const [clock] = clocks
  if (!clock) return skipWithout(skip, 'faketime')
  tallyOf('clock', 'starts with a clock that is ahead').tried = 1
  const service = await store.start()
  const client = await login(service.url)
  const content = randomBytes(2 * 1024 * 1024)
  const half = content.length / 2
  const body = async function* () {
    yield content.subarray(0, half)
    // Not so far that an upload would be taken for one that nobody goes on with.
    await clock.set(2 * HOUR)
    const next = await store.start(clock.environment)
    expect(await next.stop()).toBe(0)
    yield content.subarray(half)
  }
  const headers = {
    authorization: `Bearer ${client.token}`,
    'content-type': 'application/octet-stream',
  }
  const path = `/bytes/raw?boefje_meta_id=${await client.job()}&tag=x`
  const { status, text } = await sendBody(service.url, path, headers, body())
  expect([status, text]).toEqual([200, expect.any(String)])
  const [id = ''] = Object.values(JSON.parse(text) as Record<string, string>)
  const read = await client.request(`/bytes/raw/${id}`)
  expect(content.equals(Buffer.from(await read.arrayBuffer()))).toBe(true)
  expect(await auditFindings(store)).toEqual([])
})
