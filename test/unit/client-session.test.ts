import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BytesClientError, type ClientOptions, createClient } from '../../src/client/client.js'
import { delayMs } from '../../src/client/retry.js'
import {
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
      expect((await failureOf(clientOf().getJob(JOB))).code).toBe('unexpected_answer')
    },
  )

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

  it('is repeated a bounded number of times', async () => {
    refuseFirst(99, 503)
    const error = await failureOf(clientOf().getJob(JOB))
    expect([error.code, error.status]).toEqual(['unavailable', 503])
    expect(fake.sent('GET /bytes').length).toBe(6)
    expect(pauses.length).toBe(5)
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

  it('that makes something is sent once', async () => {
    refuseFirst(1, 503)
    const job = { organization: 'o', started_at: 'x', ended_at: 'y', boefje: { id: 'b' } }
    expect((await failureOf(clientOf().createJob(job))).code).toBe('unavailable')
    expect(fake.sent('POST /bytes').length).toBe(1)
  })

  it('that nobody answers is a network error with the reason', async () => {
    const url = fake.url
    const client = createClient({ url: 'http://127.0.0.1:1', token: 't', pause })
    const error = await failureOf(client.getJob(JOB))
    expect([error.code, error.status]).toEqual(['network', undefined])
    expect(error.message).toMatch(/^no answer from http:\/\/127\.0\.0\.1:1: .+/)
    expect(pauses.length).toBe(5)
    expect(url).not.toBe('')
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
    ['{"detail":"a\\u001b[31m\\nb"}', 'a [31m b'],
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
    const late = await failureOf(client.getJob(JOB, { signal: AbortSignal.timeout(0) }))
    expect([late.code, late.message]).toEqual(['aborted', 'it took too long'])
  })

  it('stays below the path of the URL', async () => {
    const client = createClient({ url: `${fake.url}/some/where`, token: 't', pause })
    await failureOf(client.getJob('../../x?y#z'))
    expect(fake.requests[0]?.path).toBe('/some/where/bytes/boefje_meta/..%2F..%2Fx%3Fy%23z')
    expect((await failureOf(client.getJob('..'))).code).toBe('invalid_argument')
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
        const most = Math.min(20_000, 250 * 2 ** (n - 1))
        const delay = delayMs(n, error, r)
        expect(delay).toBeGreaterThanOrEqual(most / 2)
        expect(delay).toBeLessThanOrEqual(most)
      },
    ),
  )
  expect(delayMs(3, error, 0)).not.toBe(delayMs(3, error, 1))
})
