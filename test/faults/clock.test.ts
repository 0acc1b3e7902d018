/** The system's clock jumps, forth and back: log-ins, uploads, events and timestamps go on. */
import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, expect, inject, it } from 'vitest'
import { base64, errorsLogged, eventually, query } from '../acceptance/helpers.js'
import { auditFindings } from '../support/audit.js'
import { type Client, login } from '../support/client.js'
import { type FakeClock, fakeClock, jump } from '../support/fake-clock.js'
import { isFull } from '../support/fault-report.js'
import { skipWithout } from '../support/fault-tools.js'
import { type QueueReader, readQueue } from '../support/queue.js'
import { PASSWORD, type TestStore, testStore, USERNAME } from '../support/service.js'
import { tallyOf } from '../support/tally.js'
import { startTestAuthority, type TestAuthority } from '../support/tsa.js'
import { offsetOf, sendRest, uploadBy, WAYS } from '../support/ways.js'

const HOUR = 3600
const DAY = 24 * HOUR
/** Seconds that the clock is ahead, one after the other. */
const JUMPS = [0, 2 * HOUR, -3 * HOUR, 400 * DAY, -400 * DAY, 5]
/** By which a timestamp may differ from the clock, as it is set by default. */
const SKEW = 300

let store: TestStore
let clock: FakeClock | undefined
let queue: QueueReader | undefined
let authority: TestAuthority | undefined

beforeEach(async () => {
  store = await testStore()
  clock = await fakeClock()
})

afterEach(async () => {
  await store?.remove()
  await queue?.close()
  await authority?.stop()
  await clock?.remove()
  queue = undefined
  authority = undefined
})

it('jumps hold up no log-in, no upload, no event, and no timestamp when they are over', async ({
  skip,
}) => {
  if (!clock) return skipWithout(skip, 'faketime')
  const tally = tallyOf('clock', 'checks after jumps of the clock')
  queue = await readQueue(inject('brokerUris').clock)
  authority = await startTestAuthority()
  const service = await store.start({
    ...clock.environment,
    QUEUE_URI: inject('brokerUris').clock,
    BYTES_EXT_HASH_REPOSITORY: 'RFC3161',
    BYTES_RFC3161_PROVIDER: authority.url,
    BYTES_RFC3161_CERT_FILE: authority.rootFile,
  })
  const check = (right: boolean, what: string): void => {
    tally.tried++
    if (!right) tally.violations.push(what)
  }
  const stored = new Map<string, Buffer>()
  const waiting = async (): Promise<number> =>
    (await query(store.databaseUri, 'SELECT 1 FROM pending_hash')).length

  // Begun before the first jump, and continued after the last.
  const first = await login(service.url)
  const begun = randomBytes(100_000)
  const created = await first.request('/bytes/uploads', {
    method: 'POST',
    headers: {
      'tus-resumable': '1.0.0',
      'upload-length': String(begun.length),
      'upload-metadata': `boefje_meta_id ${base64(await first.job())}`,
    },
  })
  const path = new URL(created.headers.get('location') ?? '', service.url).pathname
  await sendRest(first, path, 0, begun.subarray(0, 50_000))

  const rounds = isFull ? 5 : 1
  /** Files since the clock was last right. */
  let wrong = 0
  for (let round = 0; round < rounds; round++) {
    for (const offset of JUMPS) {
      const at = `${offset} s ahead: `
      const before: Client = await login(service.url)
      await jump(clock, service, offset)
      const old = await before.request('/bytes/mime_types')
      check([200, 401].includes(old.status), `${at}an old token gets ${old.status}`)
      const client = await login(service.url)
      const fresh = await client.request('/bytes/mime_types')
      check(fresh.status === 200, `${at}a new token gets ${fresh.status}`)
      await eventually(
        async () => (await fetch(`${service.url}/health`)).status === 200,
        `${at}it is healthy`,
      )
      for (const way of WAYS) {
        const content = randomBytes(2000)
        const outcome = await uploadBy(way, service, client, await client.job(), content)
        check(outcome.id !== undefined, `${at}${way} gets ${outcome.status} ${outcome.text}`)
        if (outcome.id !== undefined) stored.set(outcome.id, content)
      }
      await eventually(
        () => [...stored.keys()].every((id) => queue?.ids().includes(id)),
        `every event has arrived, ${offset} s ahead`,
      )
      // No timestamp is taken that the clock gives the lie to, and none is given up.
      if (Math.abs(offset) > SKEW) {
        wrong += WAYS.length
        check((await waiting()) === wrong, `${at}stamped`)
      } else {
        wrong = 0
        await eventually(async () => (await waiting()) === 0, 'every file has its timestamp')
      }
    }
  }

  const client = await login(service.url)
  const { offset } = await offsetOf(client, path)
  const { id = '' } = await sendRest(client, path, offset, begun)
  stored.set(id, begun)
  for (const [file, content] of stored) {
    const answer = await client.request(`/bytes/raw/${file}`)
    const same = content.equals(Buffer.from(await answer.arrayBuffer()))
    check(same, `${file} answered ${answer.status}`)
  }
  const ids = queue.ids()
  check(new Set(ids).size === ids.length, 'an event came twice')
  expect(tally.violations).toEqual([])
  expect(await auditFindings(store)).toEqual([])
  expect(errorsLogged(service.log())).toEqual([])
  expect(await service.stop()).toBe(0)
}, 1_800_000)

it('a limit on log-ins lasts no longer than its minute when the clock is set back', async ({
  skip,
}) => {
  if (!clock) return skipWithout(skip, 'faketime')
  tallyOf('clock', 'limits on log-ins').tried = 1
  const service = await store.start({ ...clock.environment, BYTES_TOKEN_RATE_LIMIT: '2' })
  const tryLogIn = () =>
    fetch(`${service.url}/token`, {
      method: 'POST',
      body: new URLSearchParams({ username: USERNAME, password: PASSWORD }),
    })
  await jump(clock, service, DAY)
  await tryLogIn()
  await tryLogIn()
  await jump(clock, service, 0)
  const refused = await tryLogIn()
  const seconds = Number(refused.headers.get('retry-after'))
  expect([refused.status, seconds]).toEqual([429, expect.any(Number)])
  expect(seconds).toBeGreaterThanOrEqual(1)
  expect(seconds).toBeLessThanOrEqual(60)
  expect(((await refused.json()) as { detail: string }).detail).toContain(`${seconds} seconds`)
  // A process that is killed leaves what faketime shares in memory.
  expect(await service.stop()).toBe(0)
})
