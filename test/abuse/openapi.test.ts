/**
 * Requests made from the service's own OpenAPI document: every operation, right and wrong. No answer
 * is a failure, every refusal says why in JSON, and afterwards everything is whole.
 */
import { createHash, randomInt, randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  type Answer,
  base64,
  errorsLogged,
  eventually,
  filesBelow,
  rowCounts,
  send,
} from '../acceptance/helpers.js'
import { type Client, login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import {
  PASSWORD,
  type TestService,
  type TestStore,
  testStore,
  USERNAME,
} from '../support/service.js'
import { tallyOf } from '../support/tally.js'
import {
  type Document,
  type Known,
  type Operation,
  operationsOf,
  requestsOf,
  type Tried,
} from './requests.js'

const REQUESTS = isFull ? 20_000 : 1500
/** Always the same requests in the bounded form; others each time in the full one. */
const SEED = Number(process.env.BYTES_FUZZ_SEED ?? (isFull ? randomInt(2 ** 31) : 1))
const seeded = `BYTES_FUZZ_SEED=${SEED}${isFull ? ' BYTES_FAULTS=full' : ''} makes these requests`
/** Traces of a stack, a query, an address or a folder of the service. */
const INSIDE = /\bat \/|node_modules|SELECT |postgres(?:ql)?:|\/tmp\//
/** Any status, of any operation, when the request is no request of the document. */
const COMMON = [307, 400, 404, 405, 411, 413, 414, 415, 431]

/** What succeeds only with the token of a timestamp authority, which this service has none of. */
const NEEDS_AUTHORITY = [
  'GET /bytes/raw/{raw_id}/timestamp_token',
  'GET /bytes/raw/{raw_id}/evidence_record',
  'GET /bytes/evidence_records/{record_id}',
]
/** Uploads that are under way when the requests to one operation begin: some end them. */
const UPLOADS = 20

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
  const normalizer = {
    id: randomUUID(),
    started_at: '2026-01-01T00:00:00Z',
    ended_at: '2026-01-01T00:10:00Z',
    normalizer: { id: 'kat-dns' },
    raw_data: await client.getJson(`/bytes/raw/${a}/meta`),
  }
  expect((await client.postJson('/bytes/normalizer_meta', normalizer)).status).toBe(201)
  known = {
    token: client.token,
    known: {
      username: [USERNAME],
      password: [PASSWORD],
      organization: ['org'],
      boefje_id: ['dns-records'],
      input_ooi: ['*'],
      boefje_meta_id: [job],
      normalizer_id: ['kat-dns'],
      normalizer_meta_id: [normalizer.id],
      raw_id: [a],
      raw_ids: [a],
      'raw_data.id': [a],
      mime_types: ['a/b'],
      digest: [`sha512:${createHash('sha512').update('content').digest('hex')}`],
      Range: ['bytes=0-2', 'bytes=-1', 'bytes=0-0,2-3', 'bytes=90-'],
      'If-None-Match': ['*'],
      'Tus-Resumable': ['1.0.0'],
      'Upload-Length': ['0', '1', '10', '70000'],
      'Upload-Metadata': [`boefje_meta_id ${base64(job)}`],
      'Upload-Offset': ['0'],
      'X-HTTP-Method-Override': ['HEAD', 'PATCH', 'DELETE'],
    },
  }
})

afterAll(async () => {
  await store?.remove()
})

/** The ids of new uploads of some lengths. */
async function newUploads(): Promise<string[]> {
  const ids: string[] = []
  for (let i = 0; i < UPLOADS; i++) {
    const { status, headers } = await client.request('/bytes/uploads', {
      method: 'POST',
      headers: {
        'tus-resumable': '1.0.0',
        'upload-length': String(i),
        'upload-metadata': String(known.known['Upload-Metadata']),
      },
    })
    expect(status).toBe(201)
    ids.push(headers.get('location')?.split('/').at(-1) ?? '')
  }
  return ids
}

/** What is wrong with an answer; undefined when nothing is. */
function objection({ name, statuses }: Operation, { sent, right }: Tried, answer: Answer) {
  const { status, headers, text } = answer
  const allowed = right ? statuses : [...statuses, ...COMMON]
  if (!allowed.includes(status)) return `the status ${status} is not in the document`
  // How the service is is told by a status as well: a disk that others keep busy may be late.
  if (status >= 500 && name !== 'GET /health') return 'it failed'
  if (!/^[\w.:-]{1,128}$/.test(String(headers['x-request-id']))) return 'it has no request id'
  if (headers['x-injected'] !== undefined) return 'a header was smuggled into it'
  if (status < 400) return undefined
  if (headers['content-type'] !== 'application/json') return 'the refusal is no JSON'
  if (sent.method === 'HEAD' || name === 'GET /health') return undefined
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
  const taken = new Set<string>()
  const refused = new Set<string>()
  const attempt = async (operation: Operation): Promise<void> => {
    const uploads = operation.path.includes('{upload_id}') ? await newUploads() : []
    const ours = { ...known, known: { ...known.known, upload_id: uploads } }
    const times = operation.path === '/bytes/raw' ? each * 3 : each
    const settings = { seed: SEED, numRuns: times }
    for (const tried of fc.sample(requestsOf(operation, document, ours), settings)) {
      const answer = await send(service.url, tried.sent)
      tally.tried++
      // A path that ends with a slash is sent elsewhere, whatever it names.
      const { status } = answer
      if (status >= 400) refused.add(operation.name)
      else if (operation.statuses.includes(status)) taken.add(operation.name)
      const wrong = objection(operation, tried, answer)
      if (wrong) {
        const shown = JSON.stringify(tried)
        tally.violations.push(`${wrong}: ${shown} -> ${answer.status} ${answer.text}`)
      }
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
  const all = operations.map(({ name }) => name)
  const missing = (found: ReadonlySet<string>) => all.filter((name) => !found.has(name))
  expect(missing(taken), 'never taken').toEqual(NEEDS_AUTHORITY)
  const refusing = operations.filter(({ statuses }) => statuses.some((status) => status >= 400))
  const silent = refusing.filter(({ name }) => !refused.has(name) && name !== 'GET /health')
  expect(silent, 'never refused').toEqual([])
}, 3_600_000)

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
