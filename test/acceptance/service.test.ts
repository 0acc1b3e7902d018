/** Log-in, metrics, health, documentation, and the rules that hold for every answer. */
import { once } from 'node:events'
import { rename, rm, writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, exampleJob, login } from '../support/client.js'
import { postgresProxy } from '../support/proxy.js'
import {
  PASSWORD,
  type TestService,
  type TestStore,
  testStore,
  USERNAME,
} from '../support/service.js'
import {
  base64,
  errorsLogged,
  eventually,
  jwt,
  nowSeconds,
  openWire,
  promtool,
  sample,
  send,
  untilHealthyAt,
} from './helpers.js'

let store: TestStore
let service: TestService
let client: Client

beforeAll(async () => {
  store = await testStore()
  service = await store.start()
  client = await login(service.url)
})

afterAll(async () => {
  await store?.remove()
})

const form = (fields: Record<string, string>) => ({
  method: 'POST',
  path: '/token',
  headers: { 'content-type': 'application/x-www-form-urlencoded' },
  body: new URLSearchParams(fields).toString(),
})
const CREDENTIALS = { username: USERNAME, password: PASSWORD }
const withToken = (token: string, scheme = 'Bearer') => ({ authorization: `${scheme} ${token}` })
const page = async (): Promise<string> => (await client.request('/metrics')).text()

describe('POST /token', () => {
  it('takes a form and gives a token that works', async () => {
    const answer = await send(service.url, form({ ...CREDENTIALS, grant_type: 'password' }))
    expect(answer.status).toBe(200)
    expect(answer.headers['content-type']).toBe('application/json')
    expect(answer.headers['cache-control']).toBe('no-store')
    const body = JSON.parse(answer.text)
    expect(body).toEqual({
      access_token: expect.any(String),
      token_type: 'bearer',
      expires_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$/),
    })
    const [header, claims] = body.access_token
      .split('.', 2)
      .map((part: string) => JSON.parse(Buffer.from(part, 'base64url').toString()))
    expect(header).toEqual({ alg: 'HS256', typ: 'JWT' })
    expect(claims).toEqual({ sub: USERNAME, exp: expect.any(Number) })
    expect(claims.exp).toBe(Math.floor(Date.parse(body.expires_at) / 1000))
    // 15 minutes, and whatever this test took.
    expect(Math.abs(claims.exp - nowSeconds() - 900)).toBeLessThan(60)
    const listed = await send(service.url, {
      path: '/bytes/mime_types',
      headers: withToken(body.access_token),
    })
    expect([listed.status, listed.text]).toEqual([200, '{}'])
  })

  it('takes a multipart form', async () => {
    const body = new FormData()
    for (const [name, value] of Object.entries(CREDENTIALS)) body.set(name, value)
    const answer = await fetch(`${service.url}/token`, { method: 'POST', body })
    expect(answer.status).toBe(200)
    expect(await answer.json()).toMatchObject({ token_type: 'bearer' })
  })

  it.each([
    { username: USERNAME, password: 'wrong' },
    { username: 'wrong', password: PASSWORD },
    { username: USERNAME, password: '' },
    { username: PASSWORD, password: USERNAME },
    { username: USERNAME, password: `${PASSWORD}\0` },
  ])('refuses %j', async (fields) => {
    const answer = await send(service.url, form(fields))
    expect([answer.status, answer.headers['www-authenticate'], answer.text]).toEqual([
      401,
      'Bearer',
      '{"detail":"Incorrect username or password"}',
    ])
  })

  it.each([
    ['no password', form({ username: USERNAME }), /body\.password: Field required/],
    ['another grant', form({ ...CREDENTIALS, grant_type: 'refresh_token' }), /body\.grant_type/],
    ['nothing', { method: 'POST', path: '/token' }, /body\.username: Field required/],
    [
      'JSON',
      {
        method: 'POST',
        path: '/token',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(CREDENTIALS),
      },
      /body\.username: Field required/,
    ],
  ] as const)('refuses %s', async (_what, sent, message) => {
    const answer = await send(service.url, sent)
    expect(answer.status).toBe(422)
    expect(JSON.parse(answer.text).value).toMatch(message)
  })

  it('limits the log-ins of a client', async () => {
    const limited = await store.start({ BYTES_TOKEN_RATE_LIMIT: '5' })
    for (let i = 0; i < 5; i++) {
      const { status } = await send(limited.url, form({ ...CREDENTIALS, password: 'wrong' }))
      expect(status).toBe(401)
    }
    // Right credentials as well, or the limit would tell them apart.
    const answer = await send(limited.url, form(CREDENTIALS))
    expect(answer.status).toBe(429)
    expect(answer.headers['content-type']).toBe('application/json')
    expect(answer.headers['retry-after']).toMatch(/^([1-9]|[1-5]\d|60)$/)
    expect(JSON.parse(answer.text).detail).toMatch(/try again in \d+ seconds/)
    // Who has a token goes on.
    const path = '/bytes/mime_types'
    expect((await send(limited.url, { path, headers: withToken(client.token) })).status).toBe(200)
    await limited.stop()
  })
})

describe('HTTP basic', () => {
  const basic = (password: string) => ({
    path: '/metrics',
    headers: { authorization: `Basic ${base64(`${USERNAME}:${password}`)}` },
  })

  it('counts as a log-in when it is wrong, and costs nothing when it is right', async () => {
    const limited = await store.start({ BYTES_TOKEN_RATE_LIMIT: '5' })
    for (let i = 0; i < 8; i++) {
      expect((await send(limited.url, basic(PASSWORD))).status).toBe(200)
    }
    for (let i = 0; i < 4; i++) {
      const answer = await send(limited.url, basic('wrong'))
      expect([answer.status, answer.headers['www-authenticate']]).toEqual([
        401,
        'Basic realm="bytes"',
      ])
    }
    expect((await send(limited.url, form(CREDENTIALS))).status).toBe(200)
    for (const sent of [basic('wrong'), basic(PASSWORD), form(CREDENTIALS)]) {
      const answer = await send(limited.url, sent)
      expect(answer.status).toBe(429)
      expect(answer.headers['retry-after']).toMatch(/^([1-9]|[1-5]\d|60)$/)
    }
    await limited.stop()
  })

  it('is not asked for where credentials are missing', async () => {
    const answer = await send(service.url, { path: '/metrics' })
    expect([answer.status, answer.headers['www-authenticate']]).toEqual([401, 'Bearer'])
  })
})

describe('tokens', () => {
  it.each(['bearer', 'Bearer', 'BEARER', 'bEaReR'])('take the scheme %s', async (scheme) => {
    const headers = withToken(client.token, scheme)
    expect((await send(service.url, { path: '/bytes/mime_types', headers })).status).toBe(200)
  })

  it('end when they expire, also those that were accepted before', async () => {
    const exp = nowSeconds() + 2
    const headers = withToken(jwt({ sub: USERNAME, exp }))
    let accepted = 0
    const last = await eventually(async () => {
      const { status } = await send(service.url, { path: '/bytes/mime_types', headers })
      if (status === 200) accepted++
      return status !== 200 && { status, at: Date.now() }
    }, 'the token has expired')
    expect(last.status).toBe(401)
    expect(last.at).toBeGreaterThanOrEqual(exp * 1000)
    expect(accepted).toBeGreaterThan(0)
  })
})

describe('GET /metrics', () => {
  const organization = 'me"tr\\i\ncs'
  const label = 'organization_id="me\\"tr\\\\i\\ncs"'

  it('takes a token, or the credentials as HTTP basic', async () => {
    const status = async (authorization?: string) => {
      const headers: Record<string, string> = authorization === undefined ? {} : { authorization }
      return (await send(service.url, { path: '/metrics', headers })).status
    }
    expect(await status()).toBe(401)
    expect(await status(`Bearer ${client.token}`)).toBe(200)
    expect(await status('Bearer x')).toBe(401)
    expect(await status(`Basic ${base64(`${USERNAME}:${PASSWORD}`)}`)).toBe(200)
    expect(await status(`basic ${base64(`${USERNAME}:${PASSWORD}`)}`)).toBe(200)
    expect(await status(`Basic ${base64(`${USERNAME}:wrong`)}`)).toBe(401)
    expect(await status(`Basic ${base64(`wrong:${PASSWORD}`)}`)).toBe(401)
    expect(await status(`Basic ${base64(USERNAME)}`)).toBe(401)
    expect(await status('Basic')).toBe(401)
  })

  it('begins with the gauges of the protocol', async () => {
    const answer = await client.request('/metrics')
    expect(answer.headers.get('content-type')).toMatch(/^text\/plain/)
    expect((await answer.text()).split('\n').slice(0, 5)).toEqual([
      '# HELP bytes_database_organizations_total Total amount of organizations in the bytes database.',
      '# TYPE bytes_database_organizations_total gauge',
      'bytes_database_organizations_total 0.0',
      '# HELP bytes_database_raw_files_total Total amount of raw files in the bytes database.',
      '# TYPE bytes_database_raw_files_total gauge',
    ])
  })

  it('counts what uploads stored, what they saved, and the events that wait', async () => {
    const before = sample(await page(), 'bytes_outbox_events') ?? 0
    const upload = async (name: string, content: string, tag = 'a/b') =>
      client.upload(await client.job(name), [{ name: 'n', content, tags: [tag] }])
    await upload(organization, '12345')
    await upload(organization, '12345')
    await upload(organization, '12345')
    await upload(organization, '1234567')
    await upload('other', '12345')
    await client.job('no files')
    const text = await page()
    expect({
      organizations: sample(text, 'bytes_database_organizations_total'),
      files: sample(text, `bytes_database_raw_files_total{${label}}`),
      stored: sample(text, `bytes_stored_bytes{${label}}`),
      saved: sample(text, `bytes_deduplicated_bytes{${label}}`),
      otherFiles: sample(text, 'bytes_database_raw_files_total{organization_id="other"}'),
      otherStored: sample(text, 'bytes_stored_bytes{organization_id="other"}'),
      otherSaved: sample(text, 'bytes_deduplicated_bytes{organization_id="other"}'),
      waiting: sample(text, 'bytes_outbox_events'),
      published: sample(text, 'bytes_relay_events_total{outcome="published"}'),
    }).toEqual({
      organizations: 2,
      files: 4,
      stored: 12,
      saved: 10,
      otherFiles: 1,
      otherStored: 5,
      otherSaved: 0,
      waiting: before + 5,
      published: 0,
    })
    expect(text).not.toContain('no files')
    expect(sample(text, 'bytes_outbox_oldest_event_age_seconds')).toBeGreaterThan(0)
  })

  it('times requests by the pattern of their route', async () => {
    const count = async (labels: string) =>
      sample(await page(), `bytes_http_request_duration_seconds_count{${labels}}`) ?? 0
    const unknown = 'route="/bytes/raw/{raw_id}",method="GET",status="404"'
    const other = 'route="other",method="GET",status="404"'
    const before = [await count(unknown), await count(other)]
    await client.request(`/bytes/raw/${exampleJob().id}`)
    await client.request(`/nowhere/${exampleJob().id}`)
    expect([await count(unknown), await count(other)]).toEqual(before.map((n) => n + 1))
  })

  it('leaves out what the database counts while it is away', async () => {
    const proxy = await postgresProxy(store.databaseUri)
    await proxy.open()
    const cut = await store.start({ BYTES_DB_URI: proxy.uri('x'), BYTES_METRICS_TTL_SECONDS: '0' })
    const headers = withToken(client.token)
    const counted = (text: string) =>
      text
        .split('\n')
        .filter((line) => /^bytes_(database|stored|dedup|outbox_events|pending_hash)/.test(line))
    const before = (await send(cut.url, { path: '/metrics', headers })).text
    expect(sample(before, 'bytes_postgres_up')).toBe(1)
    expect(counted(before).length).toBeGreaterThan(3)
    await proxy.close()
    const away = await send(cut.url, { path: '/metrics', headers })
    expect(away.status).toBe(200)
    expect(sample(away.text, 'bytes_postgres_up')).toBe(0)
    expect(counted(away.text)).toEqual([])
    expect(away.text.split('\n').slice(0, 4)).toEqual(
      before.split('\n').filter((line) => line.startsWith('# ') && line.includes('bytes_database')),
    )
    expect(sample(away.text, 'bytes_blob_errors_total{code="blob_missing"}')).toBe(0)
    await proxy.open()
    const back = (await send(cut.url, { path: '/metrics', headers })).text
    expect([sample(back, 'bytes_postgres_up'), counted(back)]).toEqual([1, counted(before)])
    expect(await cut.stop()).toBe(0)
    await proxy.close()
  })

  it('passes promtool', async (ctx) => {
    const text = await page()
    expect(text).toContain(label)
    const complaints = await promtool(text)
    if (!complaints) return ctx.skip()
    // The protocol demands these names.
    const complaint = 'non-counter metrics should not have "_total" suffix'
    expect(complaints).toEqual([
      `bytes_database_organizations_total ${complaint}`,
      `bytes_database_raw_files_total ${complaint}`,
    ])
  })
})

describe('health', () => {
  const shape = (service: string, healthy: boolean) => ({
    service,
    healthy,
    version: null,
    additional: healthy ? null : expect.any(String),
    results: [],
  })

  it('has the shape of the protocol', async () => {
    await untilHealthyAt(service.url)
    const answer = await send(service.url, { path: '/health' })
    expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/json'])
    expect(JSON.parse(answer.text)).toEqual({
      service: 'bytes',
      healthy: true,
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      additional: null,
      results: [
        { ...shape('postgres', true), additional: expect.toSatisfy(() => true) },
        {
          ...shape('data_directory', true),
          additional: { freeBytes: expect.any(Number) },
        },
      ],
    })
    expect(Object.keys(JSON.parse(answer.text))).toEqual([
      'service',
      'healthy',
      'version',
      'additional',
      'results',
    ])
  })

  it('is bad within seconds when the database does not answer', async () => {
    const proxy = createServer()
    const sockets: Socket[] = []
    const { pathname, searchParams, port, username } = new URL(store.databaseUri)
    const path = join(searchParams.get('host') ?? '', `.s.PGSQL.${port || 5432}`)
    proxy.on('connection', (socket) => {
      const target = connect(path)
      for (const each of [socket, target]) sockets.push(each.on('error', () => undefined))
      socket.pipe(target).pipe(socket)
    })
    proxy.listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    const { port: ours } = proxy.address() as AddressInfo
    const uri = `postgresql://${username}@127.0.0.1:${ours}${pathname}?sslmode=disable`
    const frozen = await store.start({ BYTES_DB_URI: uri })
    await untilHealthyAt(frozen.url)
    for (const socket of sockets) socket.unpipe().pause()
    const started = Date.now()
    const answer = await send(frozen.url, { path: '/health' })
    expect(Date.now() - started).toBeLessThan(4_000)
    expect(answer.status).toBe(503)
    expect(JSON.parse(answer.text).results).toContainEqual({
      ...shape('postgres', false),
      additional: 'no answer within 2 s',
    })
    await frozen.kill()
    for (const socket of sockets) socket.destroy()
    proxy.close()
  })

  it('of the process alone', async () => {
    const answer = await send(service.url, { path: '/health/live' })
    expect(answer.status).toBe(200)
    expect(JSON.parse(answer.text)).toMatchObject({ service: 'bytes', healthy: true, results: [] })
  })

  it('is bad while the broker is away, but uploads go on', async () => {
    const degraded = await store.start({ QUEUE_URI: 'amqp://guest:guest@127.0.0.1:1/' })
    await untilHealthyAt(degraded.url)
    const answer = await send(degraded.url, { path: '/health' })
    const body = JSON.parse(answer.text)
    expect([answer.status, body.healthy]).toEqual([200, true])
    expect(body.results).toContainEqual({
      ...shape('rabbitmq', false),
      additional: expect.stringContaining('degraded'),
    })
    const other = await login(degraded.url)
    await other.upload(await other.job('broker'), [{ name: 'n', content: 'x' }])
    expect(await degraded.stop()).toBe(0)
  })

  it.each(['tmp', 'blobs'])('uploads are 503 while %s is not a directory', async (folder) => {
    const path = join(store.dataDir, folder)
    const job = await client.job('storage')
    const files = [{ name: 'n', content: base64(folder), tags: [] }]
    const upload = () => client.postJson(`/bytes/raw?boefje_meta_id=${job}`, { files })
    // The folder of this organization is known by now.
    await client.upload(await client.job('storage'), [{ name: 'n', content: 'before' }])
    await rename(path, `${path}.away`)
    await writeFile(path, '')
    try {
      const answer = await upload()
      expect(answer.status).toBe(503)
      expect(answer.headers.get('retry-after')).toMatch(/^\d+$/)
      const { detail } = (await answer.json()) as { detail: string }
      expect(detail).toMatch(/storage/)
      expect(detail).not.toContain(store.dataDir)
      const health = await send(service.url, { path: '/health' })
      if (folder === 'tmp') {
        expect([health.status, health.headers['retry-after']]).toEqual([503, '5'])
        const body = JSON.parse(health.text)
        expect(body.healthy).toBe(false)
        expect(body.results).toContainEqual(shape('data_directory', false))
        expect(health.text).not.toContain(store.dataDir)
      }
      expect((await send(service.url, { path: '/health/live' })).status).toBe(200)
    } finally {
      await rm(path)
      await rename(`${path}.away`, path)
    }
    await untilHealthyAt(service.url)
    expect(await client.getJson(`/bytes/raw?boefje_meta_id=${job}`)).toEqual([])
    expect((await upload()).status).toBe(200)
  })
})

describe('every answer', () => {
  const paths: readonly [path: string, status: number][] = [
    ['/health/live', 200],
    ['/', 307],
    ['/health/', 307],
    ['/docs', 200],
    ['/docs/swagger-ui.css', 200],
    ['/openapi.json', 200],
    ['/bytes/raw', 401],
    ['/token', 405],
    ['/nothing', 404],
    ['/openapiXjson', 404],
  ]

  it.each(paths)('GET %s (%i) has a request id and forbids sniffing', async (path, status) => {
    const answer = await send(service.url, { path })
    expect([answer.status, answer.headers['x-content-type-options']]).toEqual([status, 'nosniff'])
    expect(answer.headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/)
  })

  it.each([
    ['no HTTP', 'NONSENSE\r\n\r\n', 400],
    ['a path without a URL', 'GET /\\ HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['no Host', 'GET /health HTTP/1.1\r\n\r\n', 400],
    ['an empty Host', 'GET /health HTTP/1.1\r\nHost:\r\n\r\n', 400],
    ['two Hosts', 'GET /health HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n', 400],
    ['two Hosts in HTTP/1.0', 'GET /health HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n', 400],
    ['too long a header', `GET / HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(20_000)}\r\n\r\n`, 431],
    ['a tunnel', 'CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n', 400],
    ['an unknown expectation', 'GET / HTTP/1.1\r\nHost: x\r\nExpect: wonders\r\n\r\n', 417],
  ])('to %s as well, and it is logged', async (_what, text, status) => {
    const wire = await openWire(service.url)
    wire.write(text)
    const answer = (await wire.received(/"detail":.*\}$/s)).toLowerCase()
    wire.socket.destroy()
    expect(answer).toMatch(new RegExp(`^http/1\\.1 ${status} `))
    expect(answer).toContain('\r\ncontent-type: application/json\r\n')
    expect(answer).toContain('\r\nx-content-type-options: nosniff\r\n')
    // Not only the words of the status, but why.
    expect(answer).toMatch(/"detail":"[a-z ]+: [^"]+"/)
    const id = /\r\nx-request-id: ([0-9a-f-]{36})\r\n/.exec(answer)?.[1] ?? 'none'
    expect(id).not.toBe('none')
    await eventually(() => service.log().includes(id), 'the refusal is logged')
  })

  it('are given in HTTP/1.0, which knows no Host', async () => {
    const wire = await openWire(service.url)
    wire.write('GET /health/live HTTP/1.0\r\n\r\n')
    expect(await wire.ended).toMatch(/^HTTP\/1\.1 200 OK\r\n.*"healthy":true/s)
  })

  const idFor = async (given: string) =>
    (await send(service.url, { path: '/health', headers: { 'x-request-id': given } })).headers[
      'x-request-id'
    ]

  it.each(['abc-123', 'a', 'A.b:c_d', 'x'.repeat(128)])('echoes request id %s', async (given) => {
    expect(await idFor(given)).toBe(given)
  })

  it.each(['', 'x'.repeat(129), 'a b', 'a"b', '<script>', 'é', '{"a":1}', 'a,b'])(
    'replaces request id %j',
    async (given) => {
      expect(await idFor(given)).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-/)
    },
  )

  it('carries the request id of its log lines', async () => {
    for (const [path, status] of [
      ['/bytes/mime_types', 401],
      ['/nothing', 404],
    ] as const) {
      const requestId = exampleJob().id
      await send(service.url, { path, headers: { 'x-request-id': requestId } })
      const line = await eventually(
        () =>
          service
            .log()
            .split('\n')
            .find((found) => found.includes(requestId) && found.endsWith('}')),
        'the request is logged',
      )
      expect(JSON.parse(line)).toMatchObject({ requestId, path, status, method: 'GET' })
    }
  })
})

describe('redirects and methods', () => {
  it.each([
    ['/', '/health'],
    ['/health/', '/health'],
    ['/bytes/raw/?limit=3&mime_types=a%2Fb', '/bytes/raw?limit=3&mime_types=a%2Fb'],
    ['/docs/', '/docs'],
  ])('%s leads to %s', async (from, to) => {
    const answer = await send(service.url, { path: from })
    expect(answer.status).toBe(307)
    expect(new URL(answer.headers.location ?? '', service.url).href).toBe(`${service.url}${to}`)
  })

  it('a POST with a trailing slash is redirected with its method', async () => {
    const body = JSON.stringify(exampleJob())
    const answer = await client.request('/bytes/boefje_meta/', { method: 'POST', body })
    expect(answer.status).toBe(307)
    const followed = await client.request('/bytes/boefje_meta/', {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json' },
      redirect: 'follow',
    })
    expect(followed.status).toBe(201)
  })

  it.each([
    ['GET', '/token', 'POST, OPTIONS'],
    ['POST', '/health', 'GET, HEAD, OPTIONS'],
    ['DELETE', '/bytes/boefje_meta/x', 'GET, HEAD, OPTIONS'],
    ['PUT', '/bytes/boefje_meta', 'POST, GET, HEAD, OPTIONS'],
  ])('%s %s is 405 with Allow', async (method, path, allow) => {
    const answer = await send(service.url, { method, path })
    expect([answer.status, answer.text]).toEqual([405, '{"detail":"Method Not Allowed"}'])
    expect(answer.headers.allow?.split(', ').sort()).toEqual(allow.split(', ').sort())
  })
})

describe('a stop', () => {
  it('sends busy clients away between two requests', async () => {
    const stopping = await store.start({ BYTES_SHUTDOWN_TIMEOUT_SECONDS: '40' })
    const { hostname, port } = new URL(stopping.url)
    const closes: unknown[] = []
    const broken: string[] = []
    let answered = 0
    /** Sends one request after the other on one connection, until it is closed. */
    const busy = async (): Promise<void> => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 })
      let freeAt = performance.now()
      const ask = () =>
        new Promise<boolean>((resolve) => {
          const outgoing = request({ hostname, port, path: '/openapi.json', agent }, (incoming) => {
            incoming.resume()
            incoming.on('error', (error) => broken.push(error.message))
            incoming.on('close', () => {
              answered++
              freeAt = performance.now()
              if (!incoming.complete) broken.push('half an answer')
              if (incoming.headers.connection === 'close') closes.push(incoming.statusCode)
              resolve(true)
            })
          })
          outgoing.on('error', (error) => {
            // A new connection may be refused, but nobody was invited to use the old one again. Who
            // has been away for longer than the service waits for an invited one may come too late.
            if (outgoing.reusedSocket && idleMs < 50) broken.push(error.message)
            resolve(false)
          })
          outgoing.end()
          const idleMs = performance.now() - freeAt
        })
      while (await ask());
      agent.destroy()
    }
    const clients = Array.from({ length: 8 }, busy)
    await eventually(() => answered > 200, 'the clients are busy')
    const started = Date.now()
    expect(await stopping.stop()).toBe(0)
    expect(Date.now() - started).toBeLessThan(10_000)
    await Promise.all(clients)
    expect(broken).toEqual([])
    expect(closes).toContain(200)
    expect(stopping.log()).not.toContain('were cut')
  })

  it('closes the connection of a request that was in flight', async () => {
    const stopping = await store.start()
    const wire = await openWire(stopping.url)
    const body = new URLSearchParams(CREDENTIALS).toString()
    wire.write(
      'POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n' +
        `Expect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`,
    )
    await wire.received(/100 Continue/)
    const stopped = stopping.stop()
    await eventually(() => stopping.log().includes('"stopping"'), 'it stops')
    wire.write(body)
    expect(await wire.ended).toMatch(/200 OK[\s\S]*\r\nconnection: close\r\n/i)
    expect(await stopped).toBe(0)
  })
})

describe('documentation', () => {
  it('is a page that loads nothing from elsewhere', async () => {
    const answer = await send(service.url, { path: '/docs' })
    expect(answer.headers['content-type']).toMatch(/^text\/html/)
    const links = [...answer.text.matchAll(/(?:src|href)\s*=\s*"([^"]*)"/g)].map((m) => m[1] ?? '')
    expect(links.length).toBeGreaterThanOrEqual(4)
    expect(answer.text).not.toMatch(/https?:/)
    for (const path of links) {
      expect(path).toMatch(/^\/docs\//)
      const asset = await send(service.url, { path })
      const type = asset.headers['content-type']
      expect([path, asset.status, asset.body.length > 50]).toEqual([path, 200, true])
      expect(type).toMatch(/javascript|css|image\/png/)
    }
    expect(answer.headers['content-security-policy']).toMatch(/script-src 'self'/)
    const start = await send(service.url, { path: '/docs/start.js' })
    expect(start.text).toContain('/openapi.json')
    expect(start.text).not.toMatch(/https?:/)
  })

  it('is an OpenAPI 3.1 document of all routes whose references resolve', async () => {
    const answer = await send(service.url, { path: '/openapi.json' })
    expect(answer.headers['content-type']).toBe('application/json')
    const document = JSON.parse(answer.text)
    expect(document.openapi).toBe('3.1.0')
    const routes = Object.entries<Record<string, unknown>>(document.paths).flatMap(
      ([path, methods]) => Object.keys(methods).map((method) => `${method} ${path}`),
    )
    expect(routes.sort()).toEqual([
      'delete /bytes/uploads/{upload_id}',
      'get /',
      'get /bytes/blobs/{digest}',
      'get /bytes/boefje_meta',
      'get /bytes/boefje_meta/{boefje_meta_id}',
      'get /bytes/evidence_records/{record_id}',
      'get /bytes/mime_types',
      'get /bytes/normalizer_meta',
      'get /bytes/normalizer_meta/{normalizer_meta_id}',
      'get /bytes/raw',
      'get /bytes/raw/{raw_id}',
      'get /bytes/raw/{raw_id}/evidence',
      'get /bytes/raw/{raw_id}/evidence_record',
      'get /bytes/raw/{raw_id}/meta',
      'get /bytes/raw/{raw_id}/timestamp_token',
      'get /bytes/raw/{raw_id}/verify',
      'get /bytes/raws',
      'get /health',
      'get /health/live',
      'get /metrics',
      'head /bytes/uploads/{upload_id}',
      'options /bytes/uploads',
      'options /bytes/uploads/{upload_id}',
      'patch /bytes/uploads/{upload_id}',
      'post /bytes/boefje_meta',
      'post /bytes/normalizer_meta',
      'post /bytes/raw',
      'post /bytes/uploads',
      'post /bytes/uploads/{upload_id}',
      'post /token',
    ])

    const references: string[] = []
    const walk = (value: unknown): void => {
      if (typeof value !== 'object' || value === null) return
      for (const [key, entry] of Object.entries(value)) {
        if (key === '$ref') references.push(String(entry))
        walk(entry)
      }
    }
    walk(document)
    expect(references.length).toBeGreaterThan(10)
    for (const reference of references) {
      expect(reference).toMatch(/^#\//)
      let found: unknown = document
      for (const key of reference.slice(2).split('/')) found = Reflect.get(Object(found), key)
      expect([reference, typeof found]).toEqual([reference, 'object'])
    }

    for (const [path, methods] of Object.entries<Record<string, Operation>>(document.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        const inPath = operation.parameters.filter((p) => p.in === 'path').map((p) => p.name)
        expect([path, inPath]).toEqual([path, path.match(/(?<=\{)\w+(?=\})/g) ?? []])
        expect(operation.responses).not.toEqual({})
        // What the document says of access is what the service does.
        const sent = { method: method.toUpperCase(), path: path.replace(/\{\w+\}/, 'x') }
        const { status } = await send(service.url, sent)
        const open = operation.security.length === 0
        expect([path, status === 401]).toEqual([path, !open])
        const scheme = operation.security.flatMap((each) => Object.keys(each))
        for (const name of scheme) {
          expect(document.components.securitySchemes).toHaveProperty(name)
        }
      }
    }
  })
})

interface Operation {
  readonly parameters: readonly { readonly in: string; readonly name: string }[]
  readonly responses: object
  readonly security: readonly object[]
}

it('only the storage was complained about', () => {
  const others = errorsLogged(service.log()).filter((line) => !line.includes('storage failed'))
  expect(others).toEqual([])
})
