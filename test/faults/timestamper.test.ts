/** No upload waits for a timestamp authority, and no pending hash is lost, whatever the authority or the process does. */
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { parseAnchors } from '../../src/hashing/rfc3161/anchors.js'
import { createTimestampVerifier } from '../../src/hashing/rfc3161/verifier.js'
import { createEvidenceRecords } from '../../src/meta/evidence-records.js'
import { eventually, sample } from '../acceptance/helpers.js'
import { type Client, login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { postgresProxy } from '../support/proxy.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'
import { startTestAuthority, type TestAuthority } from '../support/tsa.js'
import { type AuthorityProxy, type Mode, startAuthorityProxy } from '../support/tsa-proxy.js'

let authority: TestAuthority
let proxy: AuthorityProxy
let store: TestStore
let pool: pg.Pool

beforeAll(async () => {
  authority = await startTestAuthority()
})

afterAll(async () => {
  await authority?.stop()
})

beforeEach(async () => {
  proxy = await startAuthorityProxy(authority.url)
  store = await testStore()
  pool = new pg.Pool({ connectionString: store.databaseUri, max: 2 })
  // The database is dropped before the last connection knows that it has been ended.
  pool.on('connect', (client) => client.on('error', () => undefined))
})

afterEach(async () => {
  await pool?.end()
  await store?.remove()
  await proxy?.stop()
})

const start = (environment: Record<string, string> = {}): Promise<TestService> =>
  store.start({
    BYTES_EXT_HASH_REPOSITORY: 'RFC3161',
    BYTES_RFC3161_PROVIDER: proxy.url,
    BYTES_RFC3161_CERT_FILE: authority.rootFile,
    BYTES_RFC3161_TIMEOUT_SECONDS: '30',
    ...environment,
  })

let count = 0
/** Stores a new file. @returns its id */
async function upload(client: Client): Promise<string> {
  const content = `content ${count++}`
  const ids = await client.upload(await client.job(), [{ name: 'x', content, tags: ['t'] }])
  return ids.x ?? ''
}

async function uploadMany(client: Client, files: number): Promise<string[]> {
  const contents = Array.from({ length: files }, () => {
    const name = String(count++)
    return { name, content: `content ${name}`, tags: [`slot/${name}`] }
  })
  return Object.values(await client.upload(await client.job(), contents))
}

interface FileRow {
  readonly id: string
  readonly secure_hash: string
  readonly link: string | null
  readonly provider: string | null
}

const filesOf = async (ids: readonly string[]): Promise<FileRow[]> =>
  (
    await pool.query<FileRow>(
      `SELECT r.id, r.secure_hash, r.hash_retrieval_link AS link, p.url AS provider
       FROM raw_file r LEFT JOIN signing_provider p ON p.id = r.signing_provider_id
       WHERE r.id = ANY($1::uuid[])`,
      [ids],
    )
  ).rows

const pendingCount = async (): Promise<number> =>
  (await pool.query<{ n: number }>('SELECT count(*)::int AS n FROM pending_hash')).rows[0]?.n ?? 0

const allStamped = (): Promise<boolean> =>
  eventually(async () => (await pendingCount()) === 0, 'every file had its timestamp')

/** Every file is there, and its link is a timestamp of its hash by this authority. */
async function expectVerified(ids: readonly string[]): Promise<FileRow[]> {
  const verifier = createTimestampVerifier({
    anchors: parseAnchors(authority.root),
    records: createEvidenceRecords(pool),
  })
  const files = await filesOf(ids)
  expect(files.map(({ id }) => id).toSorted()).toEqual([...ids].toSorted())
  for (const { link, secure_hash: secureHash } of files) {
    const checks = await verifier.verify(link ?? '', secureHash)
    expect(checks.filter(({ passed }) => passed !== true)).toEqual([])
  }
  return files
}

const metric = async (client: Client, name: string): Promise<number> =>
  sample(await (await client.request('/metrics')).text(), name) ?? 0

it('an authority may refuse, hang, answer garbage, for another imprint or repeat itself', async () => {
  const tally = tallyOf('timestamps', 'faults of an authority')
  const service = await start({ BYTES_RFC3161_TIMEOUT_SECONDS: '2' })
  const client = await login(service.url)
  const provider = new URL(proxy.url).host
  const ids = [await upload(client)]
  await allStamped()
  const phases: [Mode, string][] = [
    ['refuses', 'unreachable'],
    ['hangs', 'timed_out'],
    ['garbage', 'malformed_response'],
    ['other imprint', 'wrong_imprint'],
    ['old answer', 'wrong_imprint'],
  ]
  for (const [mode, reason] of phases) {
    const name = `bytes_timestamp_failures_total{provider="${provider}",reason="${reason}"}`
    const before = await metric(client, name)
    await proxy.behave(mode)
    ids.push(await upload(client), ...(await uploadMany(client, 3)))
    const waiting = await filesOf(ids)
    expect(waiting.filter(({ link }) => link !== null)).toHaveLength(1)
    await eventually(async () => (await metric(client, name)) > before, `${mode}: ${reason}`)
    tally.tried++
  }
  expect(await metric(client, 'bytes_pending_hashes')).toBe(ids.length - 1)
  expect(await pendingCount()).toBe(ids.length - 1)

  await proxy.behave('works')
  ids.push(await upload(client))
  await allStamped()
  const files = await expectVerified(ids)
  expect(new Set(files.map((file) => file.provider))).toEqual(new Set([proxy.url]))
  expect(await metric(client, `bytes_hashes_stamped_total{provider="${provider}"}`)).toBe(
    ids.length,
  )
  // One timestamp for each file: what failed was not counted as given.
  expect(proxy.stamped).toHaveLength(ids.length)
  expect(service.log().match(/the hash repository fails/g)).toHaveLength(1)
  expect(service.log().match(/the hash repository works again/g)).toHaveLength(1)
  expect(service.log()).not.toMatch(/"level":"error"/)
  expect(await service.stop()).toBe(0)
}, 180_000)

it.each([
  ['one by one', isFull ? 24 : 10, 1],
  ['in batches', isFull ? 12 : 6, 4],
])(
  'kill -9 in the middle of stamping loses no pending hash: %s',
  async (how, kills, size) => {
    const tally = tallyOf('timestamps', `kills while files are stamped ${how}`)
    const settings = {
      // Short, so that the claims of the dead end soon.
      BYTES_RFC3161_TIMEOUT_SECONDS: '2',
      BYTES_TIMESTAMP_BATCH_SIZE: String(size),
      BYTES_TIMESTAMP_BATCH_SECONDS: '1',
    }
    const ids: string[] = []
    let killedAtWork = 0
    for (let round = 0; round < kills; round++) {
      const service = await start(settings)
      const client = await login(service.url)
      const stamped = proxy.stamped.length
      ids.push(...(await uploadMany(client, 12)))
      // Some die before the first answer, others between many.
      const wanted = round % (12 / size)
      if (round % 3 === 0) await sleep((round * 37) % 100)
      else await eventually(() => proxy.stamped.length >= stamped + wanted, 'some were stamped')
      await service.kill()
      tally.tried++
      const { rows } = await pool.query('SELECT 1 FROM pending_hash WHERE claim_id IS NOT NULL')
      if (rows.length > 0) killedAtWork++
    }
    expect(killedAtWork).toBeGreaterThan(0)
    const { rows } = await pool.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM raw_file r
     WHERE hash_retrieval_link IS NULL
       AND NOT EXISTS (SELECT 1 FROM pending_hash p WHERE p.raw_file_id = r.id)`,
    )
    expect(rows).toEqual([{ n: 0 }])
    const service = await start(settings)
    await allStamped()
    await expectVerified(ids)
    expect(await service.stop()).toBe(0)
  },
  180_000,
)

it('two instances share the hashes, and have none stamped twice', async () => {
  const tally = tallyOf('timestamps', 'files that two instances share')
  const services = [await start(), await start()]
  const clients = await Promise.all(services.map(({ url }) => login(url)))
  const ids: string[] = []
  await proxy.behave('refuses')
  for (const client of clients) ids.push(...(await uploadMany(client, 60)))
  tally.tried = ids.length
  await proxy.behave('works')
  await allStamped()
  await expectVerified(ids)
  expect(proxy.stamped).toHaveLength(120)
  expect(new Set(proxy.stamped)).toHaveProperty('size', 120)
  const name = `bytes_hashes_stamped_total{provider="${new URL(proxy.url).host}"}`
  const shares = await Promise.all(clients.map((client) => metric(client, name)))
  expect(shares.reduce((sum, share) => sum + share)).toBe(120)
  for (const service of services) expect(await service.stop()).toBe(0)
}, 120_000)

it('the second authority is asked while the first is down, and is the one that is recorded', async () => {
  tallyOf('timestamps', 'a second authority').tried = 1
  const second = await startAuthorityProxy(authority.url)
  try {
    await proxy.behave('refuses')
    const service = await start({ BYTES_RFC3161_PROVIDER: `${proxy.url},${second.url}` })
    const client = await login(service.url)
    const ids = await uploadMany(client, 5)
    await allStamped()
    const files = await expectVerified(ids)
    expect(new Set(files.map((file) => file.provider))).toEqual(new Set([second.url]))
    const meta = await client.getJson(`/bytes/raw/${ids[0]}/meta`)
    expect(meta).toMatchObject({ signing_provider_url: second.url })

    await proxy.behave('works')
    // The first is tried again in its time.
    await eventually(async () => {
      const [file] = await filesOf([await upload(client)])
      await allStamped()
      return (await filesOf([file?.id ?? '']))[0]?.provider === proxy.url
    }, 'the first authority was asked again')
    expect(await service.stop()).toBe(0)
  } finally {
    await second.stop()
  }
}, 120_000)

it('SIGTERM does not wait for an authority that hangs, and lets others claim', async () => {
  tallyOf('timestamps', 'SIGTERM while an authority hangs').tried = 1
  await proxy.behave('hangs')
  // Far longer than this test may take.
  const service = await start({ BYTES_RFC3161_TIMEOUT_SECONDS: '300' })
  const ids = await uploadMany(await login(service.url), 6)
  await eventually(() => proxy.queries === 4, 'four requests were under way')
  expect(await service.stop()).toBe(0)
  const { rows } = await pool.query('SELECT 1 FROM pending_hash WHERE claim_id IS NOT NULL')
  expect(rows).toEqual([])
  expect(await pendingCount()).toBe(6)
  expect(service.log()).not.toMatch(/"level":"(warn|error)"(?!.*QUEUE_URI)/)

  await proxy.behave('works')
  const next = await start()
  await allStamped()
  await expectVerified(ids)
  expect(await next.stop()).toBe(0)
}, 60_000)

it('timestamps that come while the database is away are not lost', async () => {
  tallyOf('timestamps', 'outages of the database').tried = 1
  const database = await postgresProxy(store.databaseUri)
  await database.open()
  try {
    const service = await start({ BYTES_DB_URI: database.uri('x') })
    await proxy.behave('holds')
    const ids = await uploadMany(await login(service.url), 4)
    await eventually(() => proxy.queries === 4, 'four requests were under way')
    await database.close()
    await proxy.behave('works')
    const lacks = 'the timestamper lacks its database'
    await eventually(() => proxy.stamped.length === 4, 'the timestamps were given')
    await eventually(() => service.log().includes(lacks), 'they could not be committed')
    await database.open()
    await allStamped()
    await expectVerified(ids)
    expect(proxy.stamped).toHaveLength(4)
    expect(service.log().split(lacks)).toHaveLength(2)
    expect(await service.stop()).toBe(0)
  } finally {
    await database.close()
  }
}, 60_000)

it('files share timestamps in batches', async () => {
  const tally = tallyOf('timestamps', 'files in batches')
  const service = await start({
    BYTES_TIMESTAMP_BATCH_SIZE: '10',
    BYTES_TIMESTAMP_BATCH_SECONDS: '2',
  })
  const client = await login(service.url)
  const ids = await uploadMany(client, 25)
  tally.tried = ids.length
  await allStamped()
  const files = await expectVerified(ids)
  expect(proxy.stamped).toHaveLength(3)
  expect(new Set(files.map(({ link }) => link))).toHaveProperty('size', 25)
  for (const { link } of files) expect(link).toMatch(/^\/bytes\/evidence_records\//)

  // Alone it needs no tree; a file with an equal hash needs no timestamp of its own.
  const job = await client.job()
  const twins = ['a', 'b'].map((name) => ({ name, content: 'the same', tags: [name] }))
  const equal = Object.values(await client.upload(job, twins))
  await allStamped()
  const links = (await expectVerified(equal)).map(({ link }) => link)
  expect(new Set(links)).toHaveProperty('size', 1)
  expect(links[0]).toMatch(/^MI/)
  expect(proxy.stamped).toHaveLength(4)
  expect(await service.stop()).toBe(0)
}, 60_000)

it('requests to an authority keep their distance', async () => {
  const tally = tallyOf('timestamps', 'requests at a distance')
  const service = await start({ BYTES_RFC3161_MIN_INTERVAL_MS: '300' })
  const began = performance.now()
  const ids = await uploadMany(await login(service.url), 4)
  tally.tried = ids.length
  await allStamped()
  await expectVerified(ids)
  expect(performance.now() - began).toBeGreaterThan(850)
  expect(await service.stop()).toBe(0)
}, 60_000)
