import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type BytesClient,
  BytesClientError,
  type ClientOptions,
  createClient,
  type RawFileMeta,
} from '../../src/client/client.js'
import { delayMs, LONGEST_DOWN_MS } from '../../src/client/retry.js'
import {
  bodyOf,
  FAKE_USER,
  type FakeBytes,
  type Interceptor,
  refuse,
  startFakeBytes,
} from '../support/fake-bytes.js'

let fake: FakeBytes
let pauses: number[]

beforeEach(async () => {
  fake = await startFakeBytes()
  pauses = []
})

afterEach(() => fake.close())

const pause = async (ms: number): Promise<void> => {
  pauses.push(ms)
}
const clientOf = (options: Partial<ClientOptions> = {}) =>
  createClient({ url: fake.url, ...FAKE_USER, pause, ...options })
const failureOf = async (promise: Promise<unknown>): Promise<BytesClientError> => {
  const error = await promise.then(
    () => undefined,
    (found: unknown) => found,
  )
  if (error instanceof BytesClientError) return error
  throw new Error(`no client error: ${error}`)
}
async function listOf(client: BytesClient): Promise<RawFileMeta[]> {
  const found: RawFileMeta[] = []
  for await (const raw of client.listRawFiles()) found.push(raw)
  return found
}
const JOB = '00000000-0000-4000-8000-000000000000'
const logIns = () => fake.sent('POST /token').length
/** Refuses the first so many requests that are no log-ins. */
const refuseFirst = (times: number, status: number, headers: Record<string, string> = {}) => {
  let left = times
  const intercept: Interceptor = (request, response) => {
    if (request.url === '/token' || left <= 0) return false
    left--
    return refuse(response, status, 'not now', headers)
  }
  fake.interceptors.add(intercept)
}

describe('the token', () => {
  it('is asked for once by requests at the same time, and used again', async () => {
    const client = clientOf()
    await Promise.all(Array.from({ length: 5 }, () => client.getJob(JOB)))
    await client.getJob(JOB)
    expect(logIns()).toBe(1)
    expect(fake.sent('GET /bytes/boefje_meta').length).toBe(6)
  })

  it('is renewed once when it is refused, whoever sees it first', async () => {
    const client = clientOf()
    await client.getJob(JOB)
    fake.tokens.clear()
    const jobs = await Promise.all(Array.from({ length: 5 }, () => client.getJob(JOB)))
    expect(jobs.map((job) => job.id)).toEqual(Array(5).fill(JOB))
    expect(logIns()).toBe(2)
  })

  it('is not renewed a second time for the same request', async () => {
    refuseFirst(99, 401)
    const error = await failureOf(clientOf().getJob(JOB))
    expect([error.code, error.status]).toEqual(['unauthorized', 401])
    expect(fake.sent('GET /bytes').length).toBe(2)
  })

  it('is renewed before it ends', async () => {
    // The `Date` of an answer has whole seconds.
    fake.tokenSeconds = -2
    const client = clientOf()
    await client.getJob(JOB)
    await client.getJob(JOB)
    expect(logIns()).toBe(2)
    expect(fake.requests.length).toBe(4)
  })

  it.each([-86_400_000, 86_400_000])(
    'is not renewed early by a clock that is %i ms off',
    async (off) => {
      fake.clockAheadMs = off
      const client = clientOf()
      await client.getJob(JOB)
      await client.getJob(JOB)
      expect(logIns()).toBe(1)
    },
  )

  it('that was given is used as it is', async () => {
    fake.tokens.add('given')
    const client = createClient({ url: fake.url, token: 'given', pause })
    await client.getJob(JOB)
    fake.tokens.clear()
    expect((await failureOf(client.getJob(JOB))).code).toBe('unauthorized')
    expect(logIns()).toBe(0)
  })

  it('is had again after a log-in that failed', async () => {
    const client = clientOf()
    const stop: Interceptor = (request, response) =>
      request.url === '/token' ? refuse(response, 500, 'no') : false
    fake.interceptors.add(stop)
    expect((await failureOf(client.getJob(JOB))).code).toBe('server_error')
    fake.interceptors.clear()
    expect((await client.getJob(JOB)).id).toBe(JOB)
  })

  it('of wrong credentials is not tried for twice, and no password is told', async () => {
    const password = 'wrong-secret'
    const error = await failureOf(clientOf({ password }).getJob(JOB))
    expect([error.code, error.status, error.serverText]).toEqual(['unauthorized', 401, 'Incorrect'])
    expect(`${error.stack}${JSON.stringify(error)}`).not.toContain(password)
    expect(logIns()).toBe(1)
  })

  it.each(['{}', '[]', '"x"', 'null', '{"access_token":5}', 'html'])(
    'is missing in %s',
    async (body) => {
      fake.interceptors.add((request, response) => {
        if (request.url !== '/token') return false
        response.end(body)
        return true
      })
      const error = await failureOf(clientOf().getJob(JOB))
      expect([error.code, error.message]).toEqual([
        'not_a_service',
        expect.stringContaining(`${fake.url}/ does not look like a Bytes service`),
      ])
    },
  )

  it.each([301, 400, 404, 405, 501])('is not given by what answers %i', async (status) => {
    fake.interceptors.add((_, response) => refuse(response, status, 'what?'))
    expect(await failureOf(clientOf().getJob(JOB))).toMatchObject({ code: 'not_a_service', status })
  })

  it('is no more asked for when nobody waits for it', async () => {
    fake.interceptors.add((request, response) =>
      request.url === '/token' ? refuse(response, 503, 'busy') : false,
    )
    const controller = new AbortController()
    let waits = 0
    const client = clientOf({
      pause: async () => {
        waits++
        controller.abort()
        await new Promise(setImmediate)
      },
    })
    const error = await failureOf(client.getJob(JOB, { signal: controller.signal }))
    expect(error.code).toBe('aborted')
    fake.interceptors.clear()
    expect((await client.getJob(JOB)).id).toBe(JOB)
    expect([waits, logIns()]).toEqual([1, 2])
  })

  it('is waited for by one caller though another aborts', async () => {
    const client = clientOf()
    const controller = new AbortController()
    fake.interceptors.add((request) => {
      if (request.url === '/token') controller.abort()
      return false
    })
    const aborted = failureOf(client.getJob(JOB, { signal: controller.signal }))
    expect((await client.getJob(JOB)).id).toBe(JOB)
    expect((await aborted).code).toBe('aborted')
    expect(logIns()).toBe(1)
  })
})

describe('a request', () => {
  it.each([503, 502, 504, 429])('is repeated after %i, not before Retry-After', async (status) => {
    refuseFirst(2, status, { 'retry-after': '7' })
    expect((await clientOf().getJob(JOB)).id).toBe(JOB)
    expect(pauses).toEqual([7000, 7000])
  })

  it('waits five minutes for a service that was there before, and tells of it', async () => {
    let told = 0
    const client = clientOf({ onWait: () => told++ })
    await client.getJob(JOB)
    refuseFirst(999, 503)
    const error = await failureOf(client.getJob(JOB))
    expect([error.code, error.status]).toEqual(['unavailable', 503])
    const waited = pauses.reduce((sum, ms) => sum + ms, 0)
    expect(waited).toBeGreaterThanOrEqual(LONGEST_DOWN_MS)
    expect(waited - (pauses.at(-1) ?? 0)).toBeLessThan(LONGEST_DOWN_MS)
    // What is over in a second is not told.
    expect(told).toBe(pauses.length - 2)
  })

  it('tells of a long wait before it, with what it waits for', async () => {
    const events: unknown[] = []
    const client = clientOf({
      onWait: ({ serverText }, ms) => events.push([serverText, ms]),
      pause: async (ms) => void events.push(ms),
    })
    refuseFirst(1, 503, { 'retry-after': '1' })
    await client.getJob(JOB)
    refuseFirst(1, 429, { 'retry-after': '60' })
    await client.getJob(JOB)
    expect(events).toEqual([1000, ['not now', 60_000], 60_000])
  })

  it('waits a few seconds for one that was never there', async () => {
    const client = createClient({ url: fake.url, token: 't', pause })
    refuseFirst(999, 503)
    expect((await failureOf(client.getJob(JOB))).code).toBe('unavailable')
    expect(fake.sent('GET /bytes').length).toBe(6)
  })

  it('waits once for a log-in that fails, and not for each repetition', async () => {
    fake.interceptors.add((_, response) => refuse(response, 503, 'busy'))
    expect((await failureOf(clientOf().getJob(JOB))).code).toBe('unavailable')
    expect([logIns(), pauses.length]).toEqual([6, 5])
  })

  it('is not repeated when it must wait for very long', async () => {
    refuseFirst(1, 503, { 'retry-after': '3600' })
    const error = await failureOf(clientOf().getJob(JOB))
    expect([error.retryAfterMs, pauses]).toEqual([3_600_000, []])
  })

  it('waits until a date', async () => {
    refuseFirst(1, 503, { 'retry-after': new Date(Date.now() + 30_000).toUTCString() })
    await clientOf().getJob(JOB)
    expect(pauses[0]).toBeGreaterThan(20_000)
  })

  it.each([
    [400, 'refused'],
    [404, 'not_found'],
    [410, 'not_found'],
    [413, 'too_large'],
    [422, 'refused'],
    [500, 'server_error'],
    [507, 'storage_full'],
  ])('that is answered %i is %s and not repeated', async (status, code) => {
    refuseFirst(1, status)
    const error = await failureOf(clientOf().getJob(JOB))
    expect(error).toMatchObject({ code, status, serverText: 'not now', requestId: 'request-2' })
    expect(error.message).toBe(`not now (HTTP ${status}, request request-2)`)
    expect(pauses).toEqual([])
  })

  it('that makes something of a given id is sent once', async () => {
    refuseFirst(1, 503)
    const job = { organization: 'o', started_at: 'x', ended_at: 'y', boefje: { id: 'b' } }
    expect((await failureOf(clientOf().createJob({ ...job, id: JOB }))).code).toBe('unavailable')
    expect(fake.sent('POST /bytes').length).toBe(1)
  })

  it('that makes a job is repeated, also when only its answer was lost', async () => {
    const job = { organization: 'o', started_at: 'x', ended_at: 'y', boefje: { id: 'b' } }
    let lost = 0
    fake.interceptors.add(async (request, response) => {
      if (request.method !== 'POST' || request.url !== '/bytes/boefje_meta') return false
      if (lost++ > 0) return refuse(response, 400, 'Integrity error')
      const meta = JSON.parse((await bodyOf(request)).toString()) as { id: string }
      fake.jobs.set(meta.id, meta)
      response.destroy()
      return true
    })
    const { id } = await clientOf().createJob(job)
    expect([fake.jobs.has(id), lost]).toEqual([true, 2])
    // A refusal of the first is one.
    expect((await failureOf(clientOf().createJob(job))).status).toBe(400)
  })

  it('that nobody answers is a network error with the reason', async () => {
    const url = fake.url
    const client = createClient({ url: 'http://127.0.0.1:1', token: 't', pause })
    const error = await failureOf(client.getJob(JOB))
    expect([error.code, error.status]).toEqual(['network', undefined])
    expect(error.message).toMatch(/^no answer from http:\/\/127\.0\.0\.1:1: .+/)
    expect(pauses.length).toBe(2)
    expect(url).not.toBe('')
  })

  it('says what is wrong when the port does not speak TLS', async () => {
    const url = fake.url.replace('http:', 'https:')
    const error = await failureOf(createClient({ url, token: 't', pause }).getJob(JOB))
    expect(error.message).toBe(
      `no answer from ${url}: it does not speak TLS; use http:// instead of https://`,
    )
  })

  it.each([
    [401, /credentials are not accepted/],
    [404, /nothing of this id; check it: HEAD \/bytes\/raw\/x/],
    [500, /log tells why/],
    [507, /disk of the service is full/],
    [418, /not accepted/],
  ])('that is answered %i without a text tells what to check', async (status, text) => {
    fake.interceptors.add((request, response) => {
      if (request.url === '/token') return false
      response.writeHead(status).end()
      return true
    })
    const error = await failureOf(clientOf().stat('x'))
    expect(error.message).toMatch(text)
    expect(error.message).toContain(`(HTTP ${status}, request `)
  })

  it('is repeated when the connection breaks in the answer', async () => {
    let breaks = 1
    fake.interceptors.add((request, response) => {
      if (request.url === '/token' || breaks-- <= 0) return false
      response.writeHead(200, { 'content-length': 100 })
      response.write('{"id":', () => response.destroy())
      return true
    })
    expect((await clientOf().getJob(JOB)).id).toBe(JOB)
  })

  it('follows no redirect', async () => {
    refuseFirst(1, 307, { location: 'http://127.0.0.1:1/' })
    const error = await failureOf(clientOf().getJob(JOB))
    expect(error).toMatchObject({ code: 'unexpected_answer', status: 307 })
  })

  it.each([
    ['{"value":"one","detail":[1]}', 'one'],
    ['{"detail":"a\\u001b[31m\\nb"}', 'a\\u001b[31m\\u000ab'],
    ['{"status":"failed","message":"m"}', 'm'],
    ['plain', 'plain'],
    ['<html>', ''],
    ['', ''],
    ['[]', ''],
  ])('refused with %s tells %s', async (body, text) => {
    fake.interceptors.add((request, response) => {
      if (request.url === '/token') return false
      response.writeHead(422).end(body)
      return true
    })
    const error = await failureOf(clientOf().getJob(JOB))
    expect(error.serverText).toBe(text)
    expect(error.message).toMatch(/^\S.* \(HTTP 422, request request-2\)$/)
  })

  it('ends when its signal aborts, also while it waits', async () => {
    refuseFirst(1, 503)
    const controller = new AbortController()
    const client = createClient({
      url: fake.url,
      ...FAKE_USER,
      pause: async () => controller.abort(),
    })
    expect((await failureOf(client.getJob(JOB, { signal: controller.signal }))).code).toBe(
      'aborted',
    )
    const over = AbortSignal.timeout(0)
    await once(over, 'abort')
    const late = await failureOf(client.getJob(JOB, { signal: over }))
    expect([late.code, late.message]).toEqual(['aborted', 'it took too long'])
  })

  it('stays below the path of the URL', async () => {
    const client = createClient({ url: `${fake.url}/some/where`, token: 't', pause })
    await failureOf(client.getJob('../../x?y#z'))
    expect(fake.requests[0]?.path).toBe('/some/where/bytes/boefje_meta/..%2F..%2Fx%3Fy%23z')
    expect((await failureOf(client.getJob('..'))).code).toBe('invalid_argument')
  })

  // The second is also how the paths of the service begin.
  it.each(['/store', '/bytes', '/a/b'])(
    'stays behind a proxy that takes %s away, wherever the service points to',
    async (prefix) => {
      const elsewhere: string[] = []
      const stripped = async (url: URL, init: RequestInit): Promise<Response> => {
        if (!url.pathname.startsWith(`${prefix}/`)) elsewhere.push(url.pathname)
        return fetch(new URL(url.pathname.slice(prefix.length) + url.search, fake.url), init)
      }
      const client = clientOf({ url: fake.url + prefix, fetch: stripped })
      const folder = await mkdtemp(join(tmpdir(), 'bytes-test-client-'))
      try {
        const path = join(folder, 'file')
        await writeFile(path, 'some content')
        let resumeFrom = ''
        const onUploadUrl = (url: string) => {
          resumeFrom = url
        }
        const options = { jobId: JOB, path, chunkSize: 5 }
        const { id } = await client.uploadResumable({ ...options, onUploadUrl })
        expect(resumeFrom).toMatch(new RegExp(`^${fake.url}${prefix}/bytes/uploads/[^/]+$`))
        expect((await client.uploadResumable({ ...options, resumeFrom })).id).toBe(id)
      } finally {
        await rm(folder, { recursive: true })
      }
      for (const content of ['1', '2', '3', '4']) fake.store(content)
      const listed = await listOf(client)
      expect(listed.map(({ id }) => id)).toEqual([...fake.raws.keys()])
      expect(elsewhere).toEqual([])
    },
  )

  it('follows a proxy that puts its prefix before what the service points to', async () => {
    const paths: string[] = []
    const proxied = async (url: URL): Promise<Response> => {
      paths.push(url.pathname + url.search)
      const link = paths.length === 1 ? { link: '</store/bytes/raw?after=1>; rel="next"' } : {}
      return Response.json([], { headers: link })
    }
    const client = createClient({ url: `${fake.url}/store`, token: 't', fetch: proxied })
    expect(await listOf(client)).toEqual([])
    expect(paths).toEqual(['/store/bytes/raw?limit=100', '/store/bytes/raw?after=1'])
  })
})

it.each(['', 'x', 'ftp://host', 'http://u:p4ss@host', 'http://host/?a', 'http://host/#a'])(
  'the URL %j cannot be used',
  async (url) => {
    const make = async () => createClient({ url, token: 't' })
    const error = await failureOf(make())
    expect(error.code).toBe('invalid_argument')
    expect(error.message).not.toContain('p4ss')
  },
)

it('waits grow, are bounded, and differ', () => {
  const error = new BytesClientError('network', '')
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 60 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (n, r) => {
        const most = Math.min(10_000, 250 * 2 ** (n - 1))
        const delay = delayMs(n, error, r)
        expect(delay).toBeGreaterThanOrEqual(most / 2)
        expect(delay).toBeLessThanOrEqual(most)
      },
    ),
  )
  expect(delayMs(3, error, 0)).not.toBe(delayMs(3, error, 1))
})
