/** Promise 1: nothing that was acknowledged is lost, however the process ends. */
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, expect, inject, it, vi } from 'vitest'
import { auditFindings } from '../support/audit.js'
import { login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { type QueueReader, readQueue } from '../support/queue.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'

const KILLS = isFull ? 40 : 10
const UPLOADERS = 8

let store: TestStore
let queue: QueueReader
let database: pg.Client

beforeAll(async () => {
  store = await testStore()
  queue = await readQueue(inject('brokerUris').kills)
  database = new pg.Client({ connectionString: store.databaseUri })
  await database.connect()
})

afterAll(async () => {
  await database?.end()
  await store?.remove()
  await queue?.close()
})

interface Acknowledged {
  readonly id: string
  readonly content: Buffer
}

/** Contents of many sizes; every fourth one has been uploaded before. */
function contentOf(n: number): Buffer {
  const seed = n % 4 === 3 ? n % 100 : n
  return Buffer.from(`${seed} `.repeat(1 + ((seed * 7919) % 20_000)))
}

let count = 0
let onAcknowledged: () => void = () => {}

/** Resolves as soon as so many files have been acknowledged. */
function acknowledged(done: readonly Acknowledged[], files: number): Promise<void> {
  return new Promise((resolve) => {
    onAcknowledged = () => {
      if (done.length >= files) resolve()
    }
  })
}

/** Uploads until the service is gone; resolves when it is. */
async function uploadUntilDeath(service: TestService, done: Acknowledged[]): Promise<void> {
  try {
    const client = await login(service.url)
    for (;;) {
      const job = await client.job(`org-${count % 5}`)
      for (let upload = 0; upload < 3; upload++) {
        const files = [0, 1].map((i) => {
          const number = count++
          return { name: String(i), content: contentOf(number), tags: [`slot/${upload}-${i}`] }
        })
        const ids = await client.upload(job, files)
        for (const { name, content } of files) done.push({ id: ids[name] ?? '', content })
        onAcknowledged()
      }
    }
  } catch (error) {
    // `fetch` fails with a TypeError when the process is gone; an answer of the wrong status must not pass.
    if (!(error instanceof TypeError)) throw error
  }
}

it('kill -9 in the middle of uploads loses nothing', async () => {
  const tally = tallyOf('kills', 'kill -9 in the middle of uploads')
  const environment = { QUEUE_URI: inject('brokerUris').kills }
  const done: Acknowledged[] = []
  const perRun: number[] = []
  for (let round = 0; round < KILLS; round++) {
    const service = await store.start(environment)
    const before = done.length
    const uploads = Array.from({ length: UPLOADERS }, () => uploadUntilDeath(service, done))
    // Some runs die before the first answer, others with many files behind them; half of them in
    // the very moment of an answer.
    if (round % 2 === 0) await sleep(100 + ((round * 137) % 700))
    else await acknowledged(done, before + 4 * round)
    await service.kill()
    tally.tried++
    await Promise.all(uploads)
    perRun.push(done.length - before)
  }
  expect(done.length).toBeGreaterThan(KILLS * 5)
  expect(Math.max(...perRun)).toBeGreaterThan(10)

  const service = await store.start(environment)
  const client = await login(service.url)
  const { rows } = await database.query(
    `SELECT r.id, b.content_digest AS digest, b.size::int AS size FROM raw_file r JOIN blob b ON b.id = r.blob_id`,
  )
  const stored = new Map<string, { digest: string; size: number }>(rows.map((row) => [row.id, row]))

  const fetchDigest = async (id: string): Promise<string> => {
    const answer = await client.request(`/bytes/raw/${id}`)
    const bytes = Buffer.from(await answer.arrayBuffer())
    return `sha512:${createHash('sha512').update(bytes).digest('hex')}`
  }
  const digestOf = (content: Buffer): string =>
    `sha512:${createHash('sha512').update(content).digest('hex')}`

  // Every acknowledged file has its row, and every row, acknowledged or not, has its file.
  for (const { id, content } of done) {
    if (stored.get(id)?.digest !== digestOf(content)) tally.violations.push(`${id} is lost`)
  }
  const ids = [...stored.keys()]
  while (ids.length > 0) {
    await Promise.all(
      ids.splice(0, 20).map(async (id) => {
        if ((await fetchDigest(id)) !== stored.get(id)?.digest) {
          tally.violations.push(`${id} is damaged`)
        }
      }),
    )
  }

  tally.violations.push(...(await auditFindings(store)))
  expect(tally.violations).toEqual([])

  // Every row has its event, acknowledged or not, and no event is of a row that is not there.
  await vi.waitFor(
    async () => {
      const waiting = await database.query('SELECT count(*)::int AS n FROM outbox')
      expect(waiting.rows).toEqual([{ n: 0 }])
      const arrived = new Set(queue.ids())
      expect([...stored.keys()].filter((id) => !arrived.has(id))).toEqual([])
    },
    { timeout: 60_000, interval: 100 },
  )
  expect(queue.ids().filter((id) => !stored.has(String(id)))).toEqual([])
  for (const message of queue.messages) {
    const body = JSON.parse(message.content.toString())
    expect(body.raw_data.id).toBe(message.properties.messageId)
  }
  expect(await service.stop()).toBe(0)
}, 1_800_000)
