/**
 * Requests made from the service's own OpenAPI document: every operation, right and wrong. No answer
 * is a failure, every refusal says why in JSON, and afterwards everything is whole.
 */
import { randomInt } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  type Answer,
  base64,
  errorsLogged,
  eventually,
  filesBelow,
  rowCounts,
  type Sent,
  send,
} from '../acceptance/helpers.js'
import { type Client, login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'
import { type Document, type Known, type Operation, operationsOf, requestsOf } from './requests.js'

const REQUESTS = isFull ? 20_000 : 1500
/** Always the same requests in the bounded form; others each time in the full one. */
const SEED = Number(process.env.BYTES_FUZZ_SEED ?? (isFull ? randomInt(2 ** 31) : 1))
const seeded = `BYTES_FUZZ_SEED=${SEED}${isFull ? ' BYTES_FAULTS=full' : ''} makes these requests`
/** Traces of a stack, a query, an address or a folder of the service. */
const INSIDE = /\bat \/|node_modules|SELECT |postgres(?:ql)?:|\/tmp\//
/** Any status, of any operation, when the request is no request of the document. */
const COMMON = [307, 400, 404, 405, 411, 413, 414, 415, 431]

let store: TestStore
let service: TestService
let client: Client
let document: Document
let known: Known

beforeAll(async () => {
  store = await testStore()
  service = await store.start({ BYTES_MAX_BODY_BYTES: '65536' })
  client = await login(service.url)
  document = (await client.getJson('/openapi.json')) as Document
  const job = await client.job('org')
  const { a = '' } = await client.upload(job, [{ name: 'a', content: 'content', tags: ['a/b'] }])
  const created = await client.request('/bytes/uploads', {
    method: 'POST',
    headers: {
      'tus-resumable': '1.0.0',
      'upload-length': '10',
      'upload-metadata': `boefje_meta_id ${base64(job)}`,
    },
  })
  const upload = created.headers.get('location')?.split('/').at(-1) ?? ''
  known = {
    ids: [job, job, a, upload],
    texts: ['org', 'a/b', '*', 'dns-records'],
    token: client.token,
  }
})

afterAll(async () => {
  await store?.remove()
})

/** What is wrong with an answer; undefined when nothing is. */
function objection(operation: Operation, sent: Sent, answer: Answer): string | undefined {
  const { status, headers, text } = answer
  const allowed = [...operation.statuses, ...COMMON]
  if (!allowed.includes(status)) return `the status ${status} is not in the document`
  if (status >= 500 && !(status === 503 && headers['retry-after'])) return 'it failed'
  if (!/^[\w.:-]{1,128}$/.test(String(headers['x-request-id']))) return 'it has no request id'
  if (headers['x-injected'] !== undefined) return 'a header was smuggled into it'
  if (status < 400 || sent.method === 'HEAD') return undefined
  if (headers['content-type'] !== 'application/json') return 'the refusal is no JSON'
  const body: Record<string, unknown> = JSON.parse(text)
  const why = body.value ?? body.message ?? body.detail
  if (typeof why !== 'string' || why === '') return 'the refusal does not say why'
  const inside = INSIDE.exec(why)?.[0]
  // What it was sent it may quote.
  if (inside && !`${sent.path}${sent.body}`.includes(inside)) return 'it tells of the inside'
  return undefined
}

it('every operation takes whatever comes', async () => {
  if (!Number.isSafeInteger(SEED)) throw new Error('BYTES_FUZZ_SEED must be an integer')
  if (isFull) console.info(seeded)
  const tally = tallyOf('abuse', 'requests from the OpenAPI document')
  const operations = operationsOf(document)
  expect(operations.length).toBeGreaterThan(25)
  const each = Math.ceil(REQUESTS / operations.length)
  const statuses = new Map<string, number>()
  const attempt = async (operation: Operation): Promise<void> => {
    const times = operation.path === '/bytes/raw' ? each * 3 : each
    const settings = { seed: SEED, numRuns: times }
    for (const sent of fc.sample(requestsOf(operation, document, known), settings)) {
      const answer = await send(service.url, sent)
      tally.tried++
      const kind = `${operation.method} ${operation.path} ${Math.floor(answer.status / 100)}`
      statuses.set(kind, (statuses.get(kind) ?? 0) + 1)
      const wrong = objection(operation, sent, answer)
      if (wrong)
        tally.violations.push(
          `${wrong}: ${JSON.stringify(sent)} -> ${answer.status} ${answer.text}`,
        )
    }
  }
  // Several at a time, as clients come.
  const queue = [...operations]
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) await attempt(next)
  }
  await Promise.all(Array.from({ length: 4 }, worker))
  expect(tally.violations.slice(0, 10), seeded).toEqual([])
  expect(tally.tried).toBeGreaterThanOrEqual(REQUESTS)
  // Not all were refused: right ones were among them.
  const taken = [...statuses.keys()].filter((kind) => /[23]$/.test(kind))
  expect(taken).toEqual(
    expect.arrayContaining(['POST /bytes/boefje_meta 2', 'POST /bytes/raw 2', 'GET /bytes/raws 2']),
  )
}, 900_000)

it('everything is whole after that', async () => {
  const counts = await rowCounts(store.databaseUri)
  expect(counts.outbox).toBe(counts.raw_file)
  expect(counts.raw_file).toBeGreaterThan(1)
  const blobs = await eventually(async () => {
    const files = await filesBelow(store.dataDir)
    if (files.some((path) => path.startsWith('tmp/'))) return undefined
    expect(files.filter((path) => !/^(blobs\/v1|uploads)\//.test(path))).toEqual([])
    return files.filter((path) => path.startsWith('blobs/'))
  }, 'the temporary directory is empty')
  // Of uploads that lost a race for the same job and tags blobs may be left.
  expect(blobs.length).toBeGreaterThanOrEqual(counts.blob ?? 0)
  expect(service.process.exitCode).toBeNull()
  expect(errorsLogged(service.log())).toEqual([])
})
