/** A database that goes away is an outage that clients can tell from an error, and that ends by itself. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded/postgres.js'
import { auditFindings } from '../support/audit.js'
import { exampleJob, login } from '../support/client.js'
import { silentLog, testBinaries } from '../support/postgres.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'

const PATIENCE = { timeout: 60_000, interval: 10 }
vi.setConfig({ testTimeout: 300_000 })

let dataDir: string
let postgres: EmbeddedPostgres | undefined
let store: TestStore

async function startPostgres(): Promise<void> {
  postgres = await startEmbeddedPostgres({ dataDir, log: silentLog, ...testBinaries() })
}

async function stopPostgres(): Promise<void> {
  await postgres?.stop()
  postgres = undefined
}

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'bytes-test-gone-'))
  await startPostgres()
  // Its own database is not used: the service gets the one that can be stopped.
  store = await testStore()
})

afterAll(async () => {
  await store?.remove()
  const real = postgres?.dataDir
  await stopPostgres()
  for (const path of new Set([dataDir, real ?? dataDir])) {
    await rm(path, { recursive: true, force: true })
  }
})

const answered = async (request: Promise<Response>) => {
  const answer = await request
  const { status, headers, url } = answer
  return { status, headers, url, text: await answer.text() }
}

const healthOf = async (service: TestService) => {
  const answer = await fetch(`${service.url}/health`)
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
}

it('answers 503 while the database is gone, and works again when it is back', async () => {
  const tally = tallyOf('database', 'requests while it is gone')
  const service = await store.start({ BYTES_DB_URI: postgres?.uri ?? '' })
  const client = await login(service.url)
  const job = await client.job()
  const before = await client.upload(job, [{ name: 'before', content: 'before', tags: ['a'] }])
  expect((await healthOf(service)).status).toBe(200)

  for (let outage = 0; outage < 2; outage++) {
    await stopPostgres()
    const file = (tag: string) => ({
      files: [{ name: 'x', content: Buffer.from('x').toString('base64'), tags: [tag] }],
    })
    const requests = [
      () => client.postJson(`/bytes/raw?boefje_meta_id=${job}`, file(`during/${outage}`)),
      () => client.postJson('/bytes/boefje_meta', exampleJob()),
      () => client.request(`/bytes/raw/${before.before}`),
      () => client.request(`/bytes/raw/${before.before}/meta`),
      () => client.request('/bytes/raw?organization=org'),
      () => client.request('/bytes/raws?organization=org'),
      () => client.request('/bytes/mime_types?organization=org'),
      () => client.request('/bytes/boefje_meta?organization=org'),
      () => client.request('/bytes/normalizer_meta?organization=org'),
    ]
    for (const request of [...requests, ...requests]) {
      const { status, headers, url, ...answer } = await answered(request())
      tally.tried++
      const right =
        status === 503 &&
        /^application\/json/.test(headers.get('content-type') ?? '') &&
        /^\d+$/.test(headers.get('retry-after') ?? '') &&
        /"detail":"[^"]*database/.test(answer.text)
      if (!right) tally.violations.push(`${url}: ${status} ${answer.text}`)
    }
    expect(tally.violations).toEqual([])
    const health = await healthOf(service)
    expect(health).toMatchObject({ status: 503, body: { service: 'bytes', healthy: false } })
    expect((await fetch(`${service.url}/health/live`)).status).toBe(200)
    expect(service.process.exitCode).toBeNull()

    await startPostgres()
    await vi.waitFor(async () => expect((await healthOf(service)).status).toBe(200), PATIENCE)
    const again = await client.upload(job, [
      { name: 'before', content: 'other', tags: ['a'] },
      { name: 'after', content: 'after', tags: [`after/${outage}`] },
    ])
    expect(again.before).toBe(before.before)
    const content = await client.request(`/bytes/raw/${again.after}`)
    expect(await content.text()).toBe('after')
  }
  expect(await service.stop()).toBe(0)
})

it('answers every upload during an outage with 200 or 503, and keeps what it answered 200', async () => {
  const tally = tallyOf('database', 'uploads during an outage')
  const service = await store.start({ BYTES_DB_URI: postgres?.uri ?? '' })
  const client = await login(service.url)
  const job = await client.job()
  const stored: { id: string; content: string }[] = []
  const statuses = new Map<number, number>()
  let over = false
  const uploaders = Array.from({ length: 6 }, async (_, uploader) => {
    for (let n = 0; !over; n++) {
      const content = `${uploader} ${n}`
      const body = {
        files: [
          { name: 'x', content: Buffer.from(content).toString('base64'), tags: [`t/${content}`] },
        ],
      }
      const answer = await client.postJson(`/bytes/raw?boefje_meta_id=${job}`, body)
      tally.tried++
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1)
      if (![200, 503].includes(answer.status)) tally.violations.push(`answered ${answer.status}`)
      const ids = (await answer.json()) as Record<string, string>
      if (answer.status === 200) stored.push({ id: ids.x ?? '', content })
    }
  })
  const seen = (status: number, times: number) =>
    vi.waitFor(() => expect(statuses.get(status) ?? 0).toBeGreaterThan(times), PATIENCE)
  await seen(200, 20)
  await stopPostgres()
  await seen(503, 20)
  await startPostgres()
  await seen(200, (statuses.get(200) ?? 0) + 20)
  over = true
  await Promise.all(uploaders)
  expect([...statuses.keys()].sort()).toEqual([200, 503])
  for (const { id, content } of stored) {
    const text = await (await client.request(`/bytes/raw/${id}`)).text()
    if (text !== content) tally.violations.push(`${id} reads ${text}`)
  }
  tally.violations.push(...(await auditFindings(store, postgres?.uri)))
  expect(tally.violations).toEqual([])
  expect(await service.stop()).toBe(0)
})
