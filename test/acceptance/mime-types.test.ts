/** Counts of more MIME types than are read at once: clients choose them, so there may be millions. */
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Client, login } from '../support/client.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { errorsLogged, query, send } from './helpers.js'

const MOST = 100_000
/** Types of one file, all different ones. */
const EACH = 1_000
/** Requests at a time. */
const CLIENTS = 4
/** Most MiB by which they may let the memory grow. */
const BOUND = 150
const ONE_TYPE =
  "SELECT mime_types[1] AS type FROM raw_file WHERE organization = 'many' AND cardinality(mime_types) > 2 LIMIT 1"

let store: TestStore
let service: TestService
let client: Client

beforeAll(async () => {
  store = await testStore()
  service = await store.start()
  client = await login(service.url)
  await fill('many', MOST)
  await fill('too many', 4 * MOST)
})

afterAll(async () => {
  await store?.remove()
})

/** So many different types of files of one job, one of which all files have. */
async function fill(organization: string, types: number): Promise<void> {
  const job = await client.job(organization)
  await client.upload(job, [{ name: 'one', content: organization, tags: ['shared'] }])
  await query(
    store.databaseUri,
    `INSERT INTO raw_file (id, boefje_meta_id, organization, mime_types, mime_types_digest, blob_id)
     SELECT gen_random_uuid(), boefje_meta_id, organization,
            ARRAY(SELECT 'é"\\' || md5(i::text) || repeat('x', 28)
                  FROM generate_series(n, least(n + $3, $2) - 1) i) || 'shared'::varchar,
            sha256(n::text::bytea), blob_id
     FROM raw_file, generate_series(1, $2::int - 1, $3::int) n WHERE boefje_meta_id = $1`,
    [job, types, EACH],
  )
}

const PATH = '/bytes/mime_types?organization='
const get = (path: string, method = 'GET') =>
  send(service.url, { method, path, headers: { authorization: `Bearer ${client.token}` } })

/** Resident memory of the service in MiB. */
async function memory(): Promise<number> {
  const status = await readFile(`/proc/${service.process.pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024
}

/** By how much the memory grows at most, in MiB, while `use` runs. */
async function growth(use: () => Promise<unknown>): Promise<number> {
  const before = await memory()
  let most = before
  const watch = setInterval(async () => {
    most = Math.max(most, await memory())
  }, 5)
  await use()
  clearInterval(watch)
  return most - before
}

it('has each type once, with the number that the database counts, in its order', async () => {
  const rows = await query<{ type: string; files: string }>(
    store.databaseUri,
    `SELECT type, count(*) AS files FROM raw_file, unnest(mime_types) type
     WHERE organization = 'many' GROUP BY type ORDER BY type`,
  )
  expect(rows).toHaveLength(MOST)
  expect(rows).toContainEqual({ type: 'shared', files: String(MOST / EACH + 1) })
  const members = rows.map(({ type, files }) => `${JSON.stringify(type)}:${files}`)
  const answer = await get(`${PATH}many`)
  expect(answer.status).toBe(200)
  expect(answer.text === `{${members.join(',')}}`).toBe(true)
  expect(answer.headers).toMatchObject({
    'content-type': 'application/json',
    'transfer-encoding': 'chunked',
  })
  const head = await get(`${PATH}many`, 'HEAD')
  expect([head.status, head.text]).toEqual([200, ''])
})

it('tells its length when it is short, also when nothing matches', async () => {
  const { type } = (await query<{ type: string }>(store.databaseUri, ONE_TYPE))[0] ?? { type: '' }
  const few = await get(`${PATH}many&mime_types=${encodeURIComponent(type)}`)
  expect(few.headers['content-length']).toBe(String(few.body.length))
  expect(Object.keys(JSON.parse(few.text))).toHaveLength(EACH + 1)
  const none = await get(`${PATH}nobody`)
  expect([none.text, none.headers['content-length']]).toEqual(['{}', '2'])
})

it('refuses more of them than it has room for, in memory that does not grow with them', async () => {
  const refusal = { value: expect.stringContaining('more than 100000 MIME types') }
  const ask = async (): Promise<void> => {
    const answer = await get(`${PATH}too%20many`)
    expect([answer.status, JSON.parse(answer.text)]).toEqual([422, refusal])
  }
  await ask()
  expect(await growth(() => Promise.all(Array.from({ length: CLIENTS }, ask)))).toBeLessThan(BOUND)

  await client.upload(await client.job('many'), [{ name: 'x', content: 'x', tags: ['one more'] }])
  expect((await get(`${PATH}many`)).status).toBe(422)
  expect((await get(`${PATH}many&mime_types=shared`)).status).toBe(200)
})

it('nothing was complained about', () => {
  expect(errorsLogged(service.log())).toEqual([])
})
