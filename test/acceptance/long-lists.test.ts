/** Lists that are longer than what is read at once: the memory of the process, and what they hold. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, login } from '../support/client.js'
import { HARD_HEAP, type TestService, type TestStore, testStore } from '../support/service.js'
import { errorsLogged, query, send } from './helpers.js'

const FILES = 120
const SMALL = 250

let store: TestStore
let service: TestService
let client: Client
let small: string

beforeAll(async () => {
  store = await testStore()
  service = await store.start(HARD_HEAP)
  client = await login(service.url)
  await fill('large', FILES, { arguments: { text: 'a'.repeat(1_000_000) } })
  for (let n = 0; n < 40; n++) {
    await client.job('large jobs', { arguments: { [`${n}`]: 'b'.repeat(1_000_000) } })
  }
  small = await fill('small', SMALL, { started_at: '2026-01-01T00:00:00.5Z' })
})

afterAll(async () => {
  await store?.remove()
})

/** Stores a job, so many files of it, and a normalizer meta of each. */
async function fill(
  organization: string,
  files: number,
  job: Record<string, unknown>,
): Promise<string> {
  const id = await client.job(organization, job)
  const all = Array.from({ length: files }, (_, n) => ({
    name: `${n}`,
    content: `${organization} ${n}`,
    tags: [`${n}`],
  }))
  // An upload may have no more files of a job with long arguments.
  for (let at = 0; at < files; at += 10) await client.upload(id, all.slice(at, at + 10))
  await query(
    store.databaseUri,
    `INSERT INTO normalizer_meta (id, normalizer_id, started_at, ended_at, raw_file_id, organization)
     SELECT gen_random_uuid(), 'n', CASE WHEN seq % 5 > 0 THEN '2026-01-01'::timestamptz + seq % 3 * interval '1 s' END,
            now(), id, organization FROM raw_file WHERE organization = $1`,
    [organization],
  )
  return id
}

/** Resident memory of the service in MiB. */
async function memory(): Promise<number> {
  const status = await readFile(`/proc/${service.process.pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024
}

/** Reads an answer without keeping it. */
function digested(path: string): Promise<{ status: number; bytes: number; digest: string }> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${client.token}` }
    const outgoing = request(`${service.url}${path}`, { headers, agent: false }, (incoming) => {
      const hash = createHash('sha256')
      let bytes = 0
      incoming.on('data', (piece: Buffer) => {
        bytes += piece.length
        hash.update(piece)
      })
      incoming.on('error', reject)
      incoming.on('end', () =>
        resolve({ status: incoming.statusCode ?? 0, bytes, digest: hash.digest('hex') }),
      )
    })
    outgoing.on('error', reject)
    outgoing.end()
  })
}

describe('the memory of the process', () => {
  it.each([
    ['raw files', '/bytes/raw?organization=large&limit=1000', FILES],
    ['normalizer metas', '/bytes/normalizer_meta?organization=large&limit=1000', FILES],
    ['jobs', '/bytes/boefje_meta?organization=large+jobs&input_ooi=*&limit=1000', 40],
  ])('does not grow with the length of a list of %s', async (_, path, rows) => {
    // What the first request takes of its own accord does not count.
    await client.request(`${path}&limit=1`)
    const before = await memory()
    let most = before
    const watch = setInterval(async () => {
      most = Math.max(most, await memory())
    }, 5)
    const { status, bytes } = await digested(path)
    clearInterval(watch)
    expect(status).toBe(200)
    expect(bytes).toBeGreaterThan(rows * 1_000_000)
    expect(most - before).toBeLessThan(90)
  })
})

const LISTS = [
  '/bytes/raw?organization=small&organization=other',
  '/bytes/normalizer_meta?organization=small',
  '/bytes/normalizer_meta?organization=small&descending=false',
  '/bytes/normalizer_meta?organization=small&offset=7',
  '/bytes/boefje_meta?organization=large+jobs&input_ooi=*',
  '/bytes/boefje_meta?organization=large+jobs&input_ooi=*&descending=false&offset=3',
  '/bytes/raws?organization=small',
]

describe('a long list', () => {
  const nextOf = (link: unknown) => /^<([^>]+)>; rel="next"$/.exec(String(link))?.[1]
  const get = (path: string, method = 'GET') =>
    send(service.url, { method, path, headers: { authorization: `Bearer ${client.token}` } })
  const rowsOf = (text: string) => text.replace(/^(\{"status":"COMPLETED","files":)?\[|\]\}?$/g, '')

  it.each(LISTS)('has the bytes of its pages: %s', async (path) => {
    const pages: string[] = []
    for (let next: string | undefined = `${path}&limit=37`; next; ) {
      const page = await get(next)
      expect([next, page.status]).toEqual([next, 200])
      pages.push(rowsOf(page.text))
      next = nextOf(page.headers.link)
    }
    const whole = await get(`${path}&limit=9007199254740991`)
    expect([whole.status, whole.headers.link]).toEqual([200, undefined])
    expect(rowsOf(whole.text) === pages.join(',')).toBe(true)
    expect(() => JSON.parse(whole.text)).not.toThrow()
  })

  it.each(LISTS)('ends at its limit, and leads to the rest: %s', async (path) => {
    const whole = rowsOf((await get(`${path}&limit=1000`)).text)
    const large = path.includes('large')
    const limit = large ? 20 : 201
    const first = await get(`${path}&limit=${limit}`)
    const second = await get(nextOf(first.headers.link) ?? '')
    expect(nextOf(second.headers.link) === undefined).toBe(true)
    const parts = [first, second].map(({ text }) => rowsOf(text))
    expect(parts.join(',') === whole).toBe(true)
    const exact = large ? 40 : SMALL
    expect((await get(`${path}&limit=${exact}`)).headers.link).toBeUndefined()
    expect(Boolean((await get(`${path}&limit=${exact - 8}`)).headers.link)).toBe(true)
    const head = await get(`${path}&limit=${limit}`, 'HEAD')
    expect([head.status, head.headers.link]).toEqual([200, first.headers.link])
  })

  it('that is short in bytes tells its length, and one that is not comes in pieces', async () => {
    const short = await get('/bytes/raw?organization=small&limit=1000')
    expect(short.headers).toMatchObject({ 'content-length': String(short.body.length) })
    expect(short.headers['transfer-encoding']).toBeUndefined()
    const one = await get('/bytes/raw?organization=large')
    expect(one.headers['content-length']).toBe(String(one.body.length))
    const long = await get('/bytes/raw?organization=large&limit=10')
    expect(long.headers).toMatchObject({
      'content-type': 'application/json',
      'transfer-encoding': 'chunked',
      'x-content-type-options': 'nosniff',
    })
    expect(long.headers['content-length']).toBeUndefined()
  })

  it('fails with 503 before it begins, and is cut off afterwards', async () => {
    const path = '/bytes/boefje_meta?organization=large+jobs&input_ooi=*&limit=1000'
    const headers = { authorization: `Bearer ${client.token}` }
    const outgoing = request(`${service.url}${path}`, { headers, agent: false }).end()
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
    expect(incoming.statusCode).toBe(200)
    await query(store.databaseUri, 'ALTER TABLE boefje_meta RENAME TO elsewhere')
    try {
      const refused = await get(path)
      expect([refused.status, refused.headers['retry-after']]).toEqual([503, expect.any(String)])
      const ended = once(incoming, 'end')
      incoming.resume()
      await expect(ended).rejects.toMatchObject({ code: 'ECONNRESET' })
      expect(service.log()).toContain('an answer was cut off')
    } finally {
      await query(store.databaseUri, 'ALTER TABLE elsewhere RENAME TO boefje_meta')
    }
    expect((await get(path)).status).toBe(200)
  })

  it('of contents is refused when one is missing, however far it is', async () => {
    const lost = `UPDATE blob SET address = repeat('0', 128) WHERE id = (
      SELECT blob_id FROM raw_file WHERE boefje_meta_id = $1 ORDER BY seq DESC LIMIT 1) RETURNING id`
    await query(store.databaseUri, lost, [small])
    const answer = await get('/bytes/raws?organization=small&limit=1000')
    expect(answer.status).toBe(500)
    expect(JSON.parse(answer.text)).toEqual({ detail: expect.stringContaining('cannot be read') })
    expect((await get('/bytes/raws?organization=small&limit=249')).status).toBe(200)
  })
})

it('nothing was complained about but the missing content and table', () => {
  const errors = errorsLogged(service.log())
  expect(errors.filter((line) => !/cannot be read|lacks a migration/.test(line))).toEqual([])
})
