/** No pending hash is lost, whatever becomes of the process, or of its database, while files are stamped. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { eventually } from '../acceptance/helpers.js'
import { login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { postgresProxy } from '../support/proxy.js'
import { metricOf, type StampedStore, stampedStore, uploadMany } from '../support/stamped-store.js'
import { tallyOf } from '../support/tally.js'
import { startTestAuthority, type TestAuthority } from '../support/tsa.js'

let authority: TestAuthority
let store: StampedStore

beforeAll(async () => {
  authority = await startTestAuthority()
})

afterAll(async () => {
  await authority?.stop()
})

beforeEach(async () => {
  store = await stampedStore(authority)
})

afterEach(async () => {
  await store?.remove()
})

it.each([
  ['one by one', isFull ? 24 : 6, 1],
  ['in batches', isFull ? 12 : 6, 4],
])('kill -9 in the middle of stamping loses no pending hash: %s', async (how, kills, size) => {
  const tally = tallyOf('timestamps', `kills while files are stamped ${how}`)
  const settings = {
    // Short, so that the claims of the dead end soon.
    BYTES_RFC3161_TIMEOUT_SECONDS: '2',
    BYTES_TIMESTAMP_BATCH_SIZE: String(size),
    BYTES_TIMESTAMP_BATCH_SECONDS: '1',
  }
  const ids: string[] = []
  for (let round = 0; round < kills; round++) {
    // Some die at any time, others before the first answer or between many.
    const atAnyTime = round % 3 === 0
    const answers = round % (12 / size)
    const { queries } = store.proxy
    await store.proxy.behave(atAnyTime ? 'works' : 'holds', answers)
    const service = await store.start(settings)
    const client = await login(service.url)
    ids.push(...(await uploadMany(client, 12)))
    if (atAnyTime) await sleep((round * 37) % 200)
    else await eventually(() => store.proxy.queries > queries + answers, 'a query is under way')
    await service.kill()
    tally.tried++
    const { rows } = await store.pool.query('SELECT 1 FROM pending_hash WHERE claim_id IS NOT NULL')
    if (!atAnyTime && rows.length === 0) tally.violations.push(`in round ${round} none was claimed`)
  }
  expect(tally.violations).toEqual([])
  await store.proxy.behave('works')
  const { rows } = await store.pool.query<{ n: number }>(
    `SELECT count(*)::int AS n FROM raw_file r
     WHERE hash_retrieval_link IS NULL
       AND NOT EXISTS (SELECT 1 FROM pending_hash p WHERE p.raw_file_id = r.id)`,
  )
  expect(rows).toEqual([{ n: 0 }])
  const service = await store.start(settings)
  await store.allStamped()
  await store.expectVerified(ids)
  expect(await service.stop()).toBe(0)
})

it('two instances share the hashes, and have none stamped twice', async () => {
  const tally = tallyOf('timestamps', 'files that two instances share')
  const services = [await store.start(), await store.start()]
  const clients = await Promise.all(services.map(({ url }) => login(url)))
  const ids: string[] = []
  await store.proxy.behave('refuses')
  for (const client of clients) ids.push(...(await uploadMany(client, 60)))
  tally.tried = ids.length
  await store.proxy.behave('works')
  await store.allStamped()
  await store.expectVerified(ids)
  expect(store.proxy.stamped).toHaveLength(120)
  expect(new Set(store.proxy.stamped)).toHaveProperty('size', 120)
  const name = `bytes_hashes_stamped_total{provider="${new URL(store.proxy.url).host}"}`
  const shares = await Promise.all(clients.map((client) => metricOf(client, name)))
  expect(shares.reduce((sum, share) => sum + share)).toBe(120)
  for (const service of services) expect(await service.stop()).toBe(0)
})

it('SIGTERM does not wait for an authority that hangs, and lets others claim', async () => {
  tallyOf('timestamps', 'SIGTERM while an authority hangs').tried = 1
  await store.proxy.behave('hangs')
  // Far longer than this test may take.
  const service = await store.start({ BYTES_RFC3161_TIMEOUT_SECONDS: '300' })
  const ids = await uploadMany(await login(service.url), 6)
  await eventually(() => store.proxy.queries === 4, 'four requests were under way')
  expect(await service.stop()).toBe(0)
  const { rows } = await store.pool.query('SELECT 1 FROM pending_hash WHERE claim_id IS NOT NULL')
  expect(rows).toEqual([])
  expect(await store.pendingCount()).toBe(6)
  expect(service.log()).not.toMatch(/"level":"(warn|error)"(?!.*QUEUE_URI)/)

  await store.proxy.behave('works')
  const next = await store.start()
  await store.allStamped()
  await store.expectVerified(ids)
  expect(await next.stop()).toBe(0)
})

it('timestamps that come while the database is away are not lost', async () => {
  tallyOf('timestamps', 'outages of the database').tried = 1
  const database = await postgresProxy(store.databaseUri)
  await database.open()
  try {
    const service = await store.start({ BYTES_DB_URI: database.uri('x') })
    await store.proxy.behave('holds')
    const ids = await uploadMany(await login(service.url), 4)
    await eventually(() => store.proxy.queries === 4, 'four requests were under way')
    await database.close()
    await store.proxy.behave('works')
    const lacks = 'the timestamper lacks its database'
    await eventually(() => store.proxy.stamped.length === 4, 'the timestamps were given')
    await eventually(() => service.log().includes(lacks), 'they could not be committed')
    await database.open()
    await store.allStamped()
    await store.expectVerified(ids)
    expect(store.proxy.stamped).toHaveLength(4)
    expect(service.log().split(lacks)).toHaveLength(2)
    expect(await service.stop()).toBe(0)
  } finally {
    await database.close()
  }
})
