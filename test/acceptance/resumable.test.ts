/** Resumable uploads by the tus protocol, request by request. */
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { readdir, readFile, readlink, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, login } from '../support/client.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import {
  type Answer,
  base64,
  errorsLogged,
  eventually,
  openWire,
  query,
  sample,
  send,
} from './helpers.js'

const MAX_BYTES = 8 * 1024 * 1024
const CHUNK = 'application/offset+octet-stream'
const HOUR = 60 * 60 * 1000

let store: TestStore
let service: TestService
let client: Client

const start = async (): Promise<void> => {
  service = await store.start({ BYTES_MAX_BODY_BYTES: String(MAX_BYTES) })
  client = await login(service.url)
}

beforeAll(async () => {
  store = await testStore()
  await start()
})

afterAll(async () => {
  await store?.remove()
})

type Headers = Record<string, string>

/** One request of the protocol, without redirects or retries. A header that is empty is left out. */
function tus(
  method: string,
  path: string,
  headers: Headers = {},
  body?: string | Uint8Array,
): Promise<Answer> {
  const all = {
    authorization: `Bearer ${client.token}`,
    'tus-resumable': '1.0.0',
    ...(body !== undefined && { 'content-type': CHUNK }),
    ...headers,
  }
  const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ''))
  return send(service.url, { method, path, headers: given, ...(body !== undefined && { body }) })
}

const metadataOf = (values: Record<string, string>): string =>
  Object.entries(values)
    .map(([key, value]) => `${key} ${base64(value)}`)
    .join(',')

const creation = (job: string, length: number, extra: Record<string, string> = {}): Headers => ({
  'upload-length': String(length),
  'upload-metadata': metadataOf({ boefje_meta_id: job, ...extra }),
})

async function create(length: number, job = ''): Promise<string> {
  const answer = await tus('POST', '/bytes/uploads', creation(job || (await client.job()), length))
  expect([answer.status, answer.text]).toEqual([201, ''])
  return String(answer.headers.location)
}

const patch = (path: string, offset: number, body: string | Uint8Array, headers: Headers = {}) =>
  tus('PATCH', path, { 'upload-offset': String(offset), ...headers }, body)

const download = async (id: unknown): Promise<string> => {
  const answer = await client.request(`/bytes/raw/${id}`)
  expect(answer.status).toBe(200)
  return answer.text()
}

const offsetOf = async (path: string): Promise<unknown> =>
  (await tus('HEAD', path)).headers['upload-offset']

const checksum = (algorithm: string, content: string): Headers => ({
  'upload-checksum': `${algorithm} ${createHash(algorithm).update(content).digest('base64')}`,
})

const contentDigest = (algorithm: string, content: string): Headers => {
  const digest = createHash(algorithm.replace('-', '')).update(content).digest('base64')
  return { 'content-digest': `${algorithm}=:${digest}:` }
}

const reprDigest = (algorithm: string, content: string): Headers => ({
  'repr-digest': String(contentDigest(algorithm, content)['content-digest']),
})

const folder = (): string => join(store.dataDir, 'uploads')
const fileOf = (path: string, kind: 'data' | 'json'): string =>
  join(folder(), `${path.split('/').at(-1)}.${kind}`)
const sizeOf = (path: string): Promise<number> => stat(fileOf(path, 'data')).then((s) => s.size)

/** Makes an upload look as if it had been created so long ago. */
async function age(path: string, ms: number): Promise<void> {
  const record = JSON.parse(await readFile(fileOf(path, 'json'), 'utf8'))
  await writeFile(fileOf(path, 'json'), JSON.stringify({ ...record, createdAt: Date.now() - ms }))
}

/** A PATCH on a connection of its own that has sent only a part of its body. */
async function unfinishedPatch(path: string, length: number, part: string, headers: Headers = {}) {
  const before = await sizeOf(path)
  const wire = await openWire(service.url)
  const lines = Object.entries({
    host: 'localhost',
    authorization: `Bearer ${client.token}`,
    'tus-resumable': '1.0.0',
    'content-type': CHUNK,
    'content-length': String(length),
    'upload-offset': String(before),
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  wire.write(`PATCH ${path} HTTP/1.1\r\n${lines.join('')}\r\n${part}`)
  await eventually(async () => (await sizeOf(path)) === before + part.length, 'the part is written')
  return wire
}

describe('an upload', () => {
  it('comes in parts, and becomes a raw file with the last one', async () => {
    const job = await client.job()
    const described = { filename: 'näme', filetype: 'text/plain', tags: '["b/c","a/b"]' }
    const made = await tus('POST', '/bytes/uploads', creation(job, 11, described))
    expect(made.status).toBe(201)
    expect(made.headers.location).toMatch(/^\/bytes\/uploads\/[0-9a-f-]{36}$/)
    expect(Date.parse(String(made.headers['upload-expires']))).toBeGreaterThan(Date.now())
    const path = String(made.headers.location)

    const first = await patch(path, 0, 'hello ')
    expect([first.status, first.headers['upload-offset']]).toEqual([204, '6'])
    expect(first.headers['upload-expires']).toBe(made.headers['upload-expires'])
    expect(first.headers['bytes-raw-id']).toBeUndefined()

    const head = await tus('HEAD', path)
    expect(head.status).toBe(200)
    expect(head.headers).toMatchObject({
      'tus-resumable': '1.0.0',
      'upload-offset': '6',
      'upload-length': '11',
      'upload-metadata': creation(job, 11, described)['upload-metadata'],
      'upload-expires': made.headers['upload-expires'],
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    })
    expect(head.headers['access-control-allow-origin']).toBeUndefined()

    const last = await patch(path, 6, 'world')
    expect([last.status, last.headers['upload-offset']]).toEqual([204, '11'])
    const id = String(last.headers['bytes-raw-id'])
    expect(await download(id)).toBe('hello world')
    expect(await client.getJson(`/bytes/raw/${id}/meta`)).toMatchObject({
      boefje_meta: { id: job },
      mime_types: [{ value: 'a/b' }, { value: 'b/c' }, { value: 'text/plain' }],
    })

    // The answer may be lost: the upload still tells, but its bytes are gone.
    const again = await tus('HEAD', path)
    expect(again.headers).toMatchObject({ 'upload-offset': '11', 'bytes-raw-id': id })
    const repeated = await patch(path, 11, '')
    expect([repeated.status, repeated.headers['bytes-raw-id']]).toEqual([204, id])
    const files = (await readdir(folder())).filter((name) => path.endsWith(name.slice(0, 36)))
    expect(files).toEqual([`${path.slice(-36)}.json`])
    expect((await stat(fileOf(path, 'json'))).mode & 0o777).toBe(0o640)
    expect((await stat(folder())).mode & 0o777).toBe(0o740)

    expect((await tus('DELETE', path)).status).toBe(204)
    expect((await tus('HEAD', path)).status).toBe(404)
    expect(await download(id)).toBe('hello world')
  })

  it('expires when its creation says, also if that takes a while', async () => {
    const job = await client.job()
    // Somebody has the jobs for themselves meanwhile.
    const rival = new pg.Client({ connectionString: store.databaseUri })
    await rival.connect()
    let made: Answer
    try {
      await rival.query('BEGIN; LOCK TABLE boefje_meta')
      const creating = tus('POST', '/bytes/uploads', creation(job, 11))
      await eventually(async () => {
        const waiting = 'SELECT 1 FROM pg_locks WHERE NOT granted AND relation = $1::regclass'
        return (await rival.query(waiting, ['boefje_meta'])).rowCount === 1
      }, 'it waits')
      // Times are told in seconds.
      await new Promise((resolve) => setTimeout(resolve, 1100))
      await rival.query('COMMIT')
      made = await creating
    } finally {
      await rival.end()
    }
    const head = await tus('HEAD', String(made.headers.location))
    expect(head.headers['upload-expires']).toBe(made.headers['upload-expires'])
  })

  it('may be one of no bytes, or come with its creation', async () => {
    const empty = await tus('POST', '/bytes/uploads', creation(await client.job(), 0))
    expect(empty.status).toBe(201)
    expect(await download(empty.headers['bytes-raw-id'])).toBe('')

    const job = await client.job()
    const whole = await tus('POST', '/bytes/uploads', creation(job, 5), 'whole')
    expect([whole.status, whole.headers['upload-offset']]).toEqual([201, '5'])
    expect(await download(whole.headers['bytes-raw-id'])).toBe('whole')
    const path = String(whole.headers.location)
    expect((await tus('HEAD', path)).headers['bytes-raw-id']).toBe(whole.headers['bytes-raw-id'])

    const part = await tus('POST', '/bytes/uploads', creation(await client.job(), 5), 'pa')
    expect([part.status, part.headers['upload-offset']]).toEqual([201, '2'])
    const rest = await patch(String(part.headers.location), 2, 'rts')
    expect(await download(rest.headers['bytes-raw-id'])).toBe('parts')

    // The same job and MIME types: the same raw file, as with every upload.
    const twice = await tus('POST', '/bytes/uploads', creation(job, 5), 'other')
    expect(twice.headers['bytes-raw-id']).toBe(whole.headers['bytes-raw-id'])
  })

  it('tells what is supported, without credentials', async () => {
    for (const path of ['/bytes/uploads', `/bytes/uploads/${randomUUID()}`]) {
      const answer = await send(service.url, { method: 'OPTIONS', path })
      expect(answer.status).toBe(204)
      expect(answer.headers).toMatchObject({
        'tus-resumable': '1.0.0',
        'tus-version': '1.0.0',
        'tus-extension': 'creation,creation-with-upload,checksum,expiration,termination',
        'tus-max-size': String(MAX_BYTES),
        'tus-checksum-algorithm': 'sha1,sha256,sha512',
      })
      expect(answer.headers.allow).toContain('POST')
    }
  })

  it('is logged and counted under its pattern', async () => {
    const path = await create(3)
    const id = 'resumable-request'
    const answer = await patch(path, 0, 'abc', { 'x-request-id': id })
    expect(answer.headers['x-request-id']).toBe(id)
    const line = new RegExp(`"requestId":"${id}"[^\\n]*"status":204`)
    await eventually(() => line.test(service.log()), 'the request is logged')
    const page = await (await client.request('/metrics')).text()
    const labels = 'route="/bytes/uploads/{upload_id}",method="PATCH",status="204"'
    const name = 'bytes_http_request_duration_seconds_count'
    expect(sample(page, `${name}{${labels}}`)).toBeGreaterThan(0)
  })

  it('takes the method from X-HTTP-Method-Override', async () => {
    const path = await create(3)
    const as = (method: string): Headers => ({ 'x-http-method-override': method })
    const patched = await tus('POST', path, { ...as('PATCH'), 'upload-offset': '0' }, 'ab')
    expect([patched.status, patched.headers['upload-offset']]).toEqual([204, '2'])
    expect((await tus('POST', path, as('HEAD'))).headers['upload-offset']).toBe('2')
    expect((await tus('POST', path, as('PUT'))).status).toBe(405)
    expect((await tus('POST', path)).status).toBe(405)
    expect((await tus('POST', path, as('DELETE'))).status).toBe(204)
    expect((await tus('HEAD', path)).status).toBe(404)
  })

  it('takes no notice of a body of HEAD', async () => {
    const path = await create(3)
    const headers = { 'x-http-method-override': 'HEAD' }
    for (const [method, more] of [
      ['HEAD', {}],
      ['POST', headers],
    ] as const) {
      const answer = await tus(method, path, more, 'body')
      expect([answer.status, answer.headers['upload-offset']]).toEqual([200, '0'])
    }
  })
})

describe('a creation is refused', () => {
  const post = async (headers: Headers, body?: string) => {
    const before = await readdir(folder())
    const job = await client.job()
    const answer = await tus('POST', '/bytes/uploads', { ...creation(job, 5), ...headers }, body)
    expect(await readdir(folder())).toEqual(before)
    expect(answer.headers['tus-resumable']).toBe('1.0.0')
    return [answer.status, JSON.parse(answer.text)]
  }
  const told = (text: string) => ({ detail: expect.stringContaining(text) })

  it.each([
    [401, { authorization: '' }, 'Not authenticated'],
    [412, { 'tus-resumable': '' }, 'Tus-Resumable: 1.0.0'],
    [412, { 'tus-resumable': '0.2.2' }, 'Tus-Resumable: 1.0.0'],
    [400, { 'upload-length': '' }, 'Upload-Length'],
    [400, { 'upload-length': '-1' }, 'Upload-Length'],
    [400, { 'upload-length': '1e+21' }, 'Upload-Length'],
    [400, { 'upload-length': '0x10' }, 'Upload-Length'],
    [400, { 'upload-length': '', 'upload-defer-length': '1' }, 'Upload-Defer-Length'],
    [400, { 'upload-concat': 'partial' }, 'Upload-Concat'],
    [413, { 'upload-length': String(MAX_BYTES + 1) }, 'BYTES_MAX_BODY_BYTES'],
    [400, { 'repr-digest': 'sha-256' }, 'cannot be parsed'],
    [400, { 'repr-digest': 'md5=:AAAA:' }, 'send sha-256 or sha-512'],
  ])('with %i: %j', async (status, headers, text) => {
    expect(await post(headers as unknown as Headers)).toEqual([status, told(text)])
  })

  it.each([
    [415, { 'content-type': 'text/plain' }, 'application/offset+octet-stream'],
    [415, { 'content-encoding': 'gzip' }, 'Content-Encoding'],
    [400, { 'upload-checksum': 'md5 AAAA' }, 'sha1,sha256,sha512'],
    [460, checksum('sha256', 'something else'), 'sha256'],
    [400, contentDigest('sha-512', 'something else'), 'sha512'],
    [400, reprDigest('sha-512', 'other'), 'send it again'],
    [413, { 'upload-length': '4' }, 'end of the file'],
  ])('with %i when it has bytes: %j', async (status, headers, text) => {
    expect(await post(headers as unknown as Headers, 'bytes')).toEqual([status, told(text)])
  })

  const job = randomUUID()
  it.each([
    ['', 'boefje_meta_id: Field required'],
    [metadataOf({ boefje_meta_id: 'no uuid' }), 'boefje_meta_id: Input should be a valid UUID'],
    ['boefje_meta_id !!!', 'Not valid base64'],
    ['a b c', 'Give pairs'],
    [',', 'Give pairs'],
    [`${metadataOf({ boefje_meta_id: job })},boefje_meta_id YQ==`, 'given twice'],
    [`${metadataOf({ boefje_meta_id: job })},filename /w==`, 'filename: Not valid UTF-8'],
    [metadataOf({ boefje_meta_id: job, filename: 'a\0b' }), 'filename: The text holds a NUL'],
    [metadataOf({ boefje_meta_id: job, tags: 'text/plain' }), 'Give a JSON array of MIME types'],
    [metadataOf({ boefje_meta_id: job, tags: '"text/plain"' }), 'tags: '],
    [metadataOf({ boefje_meta_id: job, tags: '[1]' }), 'tags.0: '],
    [metadataOf({ boefje_meta_id: job, tags: '["\\u0000"]' }), 'tags.0: The text holds a NUL'],
    [metadataOf({ boefje_meta_id: job, tags: '["\\ud800"]' }), 'surrogate'],
    [metadataOf({ boefje_meta_id: job, filetype: 'x'.repeat(65) }), 'longer than 64'],
    [metadataOf({ boefje_meta_id: job, tags: JSON.stringify(Array(1001).fill('a')) }), '1000'],
  ])('with 422: %.80s', async (metadata, text) => {
    const headers = { 'upload-metadata': metadata }
    expect(await post(headers)).toEqual([
      422,
      expect.objectContaining({ value: expect.stringContaining(text) }),
    ])
  })

  it('with 404 when there is no such job', async () => {
    const answer = await tus('POST', '/bytes/uploads', creation(randomUUID(), 5))
    expect([answer.status, JSON.parse(answer.text)]).toEqual([
      404,
      { detail: 'Boefje meta not found' },
    ])
  })
})

describe('a chunk is refused', () => {
  it.each([
    [409, { 'upload-offset': '2' }, 'HEAD'],
    [409, { 'upload-offset': '0' }, 'HEAD'],
    [400, { 'upload-offset': '' }, 'Upload-Offset'],
    [400, { 'upload-length': '5' }, 'Upload-Length'],
    [400, { 'upload-offset': '1, 1' }, 'Upload-Offset'],
    [412, { 'tus-resumable': '' }, 'Tus-Resumable'],
    [415, { 'content-type': '' }, 'offset+octet-stream'],
    [415, { 'content-type': 'application/octet-stream' }, 'offset+octet-stream'],
    [415, { 'content-encoding': 'br' }, 'Content-Encoding'],
    [400, { 'upload-checksum': 'md5 XrY7u+Ae7tCTyyK7j1rNww==' }, 'sha1,sha256,sha512'],
    [400, { 'upload-checksum': 'sha1' }, '20 bytes in base64'],
    [400, { 'upload-checksum': 'sha1 !!' }, '20 bytes in base64'],
    [460, checksum('sha1', 'other'), 'send it again'],
    [400, contentDigest('sha-256', 'other'), 'send it again'],
    [400, { ...contentDigest('sha-256', 'bc'), ...contentDigest('sha-512', 'b') }, 'send it again'],
    [400, { 'content-digest': 'sha-256=bc' }, 'cannot be parsed'],
    [400, { 'content-digest': 'md5=:AAAA:' }, 'send sha-256 or sha-512'],
    [400, reprDigest('sha-256', 'bc'), 'with the creation'],
    [401, { authorization: 'Bearer no' }, 'credentials'],
  ])('with %i: %j', async (status, headers, text) => {
    const path = await create(9)
    await patch(path, 0, 'a')
    const answer = await patch(path, 1, 'bc', headers as unknown as Headers)
    expect([answer.status, JSON.parse(answer.text)]).toEqual([
      status,
      { detail: expect.stringContaining(text) },
    ])
    expect(answer.headers['tus-resumable']).toBe('1.0.0')
    expect(await offsetOf(path)).toBe('1')
    expect((await patch(path, 1, 'bcdefghi')).headers['bytes-raw-id']).toBeDefined()
  })

  it('with 413 when it goes beyond the end', async () => {
    const path = await create(3)
    expect((await patch(path, 0, 'abcd')).status).toBe(413)
    const body = 'x'.repeat(200_000)
    const headers = {
      authorization: `Bearer ${client.token}`,
      'tus-resumable': '1.0.0',
      'content-type': CHUNK,
      'upload-offset': '0',
    }
    const sent = { method: 'PATCH', path, headers, body, chunked: true }
    expect((await send(service.url, sent)).status).toBe(413)
    expect(await offsetOf(path)).toBe('0')
  })

  it.each(['sha1', 'sha256', 'sha512'])('but not when its %s is right', async (algorithm) => {
    const path = await create(6)
    expect((await patch(path, 0, 'abc', checksum(algorithm, 'abc'))).status).toBe(204)
    expect((await patch(path, 3, 'xxx', checksum(algorithm, 'def'))).status).toBe(460)
    const last = await patch(path, 3, 'def', checksum(algorithm, 'def'))
    expect(await download(last.headers['bytes-raw-id'])).toBe('abcdef')
  })

  it('but not when its Content-Digest is right', async () => {
    const path = await create(6)
    expect((await patch(path, 0, 'abc', contentDigest('sha-512', 'abc'))).status).toBe(204)
    expect((await patch(path, 3, 'xxx', contentDigest('sha-256', 'def'))).status).toBe(400)
    const both = { ...contentDigest('sha-256', 'def'), ...checksum('sha1', 'def') }
    const last = await patch(path, 3, 'def', both)
    expect(await download(last.headers['bytes-raw-id'])).toBe('abcdef')
  })

  it.each([
    ['..%2f..%2fcredentials', 422],
    ['%2e%2e', 404],
    ['x', 422],
    [`${randomUUID()}.data`, 422],
    [`${randomUUID()}%00`, 422],
    [randomUUID(), 404],
  ])('and every other request, when the id is %s', async (id, status) => {
    for (const method of ['PATCH', 'HEAD', 'DELETE'] as const) {
      const headers = method === 'PATCH' ? { 'upload-offset': '0', 'content-type': CHUNK } : {}
      const answer = await tus(method, `/bytes/uploads/${id}`, headers)
      expect([method, answer.status]).toEqual([method, status])
    }
    expect((await tus('GET', `/bytes/uploads/${randomUUID()}`)).status).toBe(405)
  })
})

describe('the digest of a whole file', () => {
  const create = async (job: string, digest: Headers): Promise<string> => {
    const answer = await tus('POST', '/bytes/uploads', { ...creation(job, 6), ...digest })
    expect(answer.status).toBe(201)
    return String(answer.headers.location)
  }
  const rawFiles = (job: string) => client.getJson(`/bytes/raw?boefje_meta_id=${job}&limit=10`)

  it.each(['sha-256', 'sha-512'])('that is right changes nothing: %s', async (algorithm) => {
    const path = await create(await client.job(), reprDigest(algorithm, 'abcdef'))
    await patch(path, 0, 'abc')
    const last = await patch(path, 3, 'def')
    expect([last.status, await download(last.headers['bytes-raw-id'])]).toEqual([204, 'abcdef'])
    expect((await tus('HEAD', path)).headers['bytes-raw-id']).toBe(last.headers['bytes-raw-id'])
  })

  it('that is wrong refuses the file, and ends the upload', async () => {
    const job = await client.job()
    const before = await readdir(folder())
    const path = await create(job, reprDigest('sha-256', 'abcdeX'))
    await patch(path, 0, 'abc')
    const last = await patch(path, 3, 'def')
    expect([last.status, last.text]).toEqual([400, expect.stringContaining('send it again')])
    expect((await tus('HEAD', path)).status).toBe(404)
    expect(await rawFiles(job)).toEqual([])
    expect(await readdir(folder())).toEqual(before)
    expect(await readdir(join(store.dataDir, 'tmp'))).toEqual([])
  })

  it('is checked after a crash as well', async () => {
    const job = await client.job()
    const [right, wrong] = [
      await create(job, reprDigest('sha-256', 'whole!')),
      await create(job, reprDigest('sha-256', 'other!')),
    ]
    // As if the process had ended between the last byte and the ingest.
    for (const path of [right, wrong]) await writeFile(fileOf(path, 'data'), 'whole!')
    expect((await tus('HEAD', wrong)).status).toBe(400)
    expect((await tus('HEAD', wrong)).status).toBe(404)
    expect(await rawFiles(job)).toEqual([])
    expect((await tus('HEAD', right)).headers['bytes-raw-id']).toMatch(/^[0-9a-f-]{36}$/)
  })
})

describe('a connection that breaks', () => {
  it('leaves what came of the chunk, and nothing open', async () => {
    const path = await create(10)
    const wire = await unfinishedPatch(path, 10, 'abcd')
    wire.socket.destroy()
    expect(await offsetOf(path)).toBe('4')
    const fds = join('/proc', String(service.process.pid), 'fd')
    await eventually(async () => {
      const names = await Promise.all(
        (await readdir(fds)).map((fd) => readlink(join(fds, fd)).catch(() => '')),
      )
      return !names.some((name) => name.includes('/uploads/'))
    }, 'the file is closed')
    const last = await patch(path, 4, 'efghij')
    expect(await download(last.headers['bytes-raw-id'])).toBe('abcdefghij')
  })

  it('leaves nothing of a chunk with a checksum', async () => {
    const path = await create(10)
    await patch(path, 0, 'ab')
    const wire = await unfinishedPatch(path, 8, 'cdef', checksum('sha256', 'cdefghij'))
    wire.socket.destroy()
    expect(await offsetOf(path)).toBe('2')
    const last = await patch(path, 2, 'cdefghij', checksum('sha256', 'cdefghij'))
    expect(await download(last.headers['bytes-raw-id'])).toBe('abcdefghij')
  })

  it('without being noticed does not hold up the next request', async () => {
    const path = await create(10)
    const wire = await unfinishedPatch(path, 10, 'abcd')
    // The connection stays open, and sends no more.
    expect(await offsetOf(path)).toBe('4')
    expect(await wire.received(/\r\n\r\n/)).toMatch(/^HTTP\/1.1 204[\s\S]*upload-offset: 4\r\n/)
    const last = await patch(path, 4, 'efghij')
    expect(await download(last.headers['bytes-raw-id'])).toBe('abcdefghij')
    await wire.ended
  })
})

describe('an ingest that fails', () => {
  it('for good is told with its own status, and leaves the upload', async () => {
    const job = await client.job()
    const path = await create(3, job)
    await query(store.databaseUri, 'DELETE FROM boefje_meta WHERE id = $1', [job])
    const last = await patch(path, 0, 'abc')
    expect([last.status, JSON.parse(last.text)]).toEqual([404, { detail: 'Boefje meta not found' }])
    expect((await tus('HEAD', path)).status).toBe(404)
    expect((await patch(path, 3, '')).status).toBe(404)
    expect(await sizeOf(path)).toBe(3)
    expect((await tus('DELETE', path)).status).toBe(204)
    await expect(sizeOf(path)).rejects.toThrow('ENOENT')
  })

  it('for now may be tried again, by HEAD and PATCH', async () => {
    const [one, other] = [await create(3), await create(3)]
    const temporary = join(store.dataDir, 'tmp')
    await rename(temporary, `${temporary}.away`)
    await writeFile(temporary, 'no folder')
    try {
      const answer = await patch(one, 0, 'abc')
      expect([answer.status, answer.headers['retry-after']]).toEqual([503, '5'])
      expect((await patch(other, 0, 'def')).status).toBe(503)
      // Clients take a 5xx of a HEAD for a lost upload, and 423 for one to try again.
      const head = await tus('HEAD', one)
      expect([head.status, head.headers['retry-after']]).toEqual([423, '5'])
      expect((await patch(one, 3, '')).status).toBe(503)
    } finally {
      await rm(temporary)
      await rename(`${temporary}.away`, temporary)
    }
    expect(await download((await tus('HEAD', one)).headers['bytes-raw-id'])).toBe('abc')
    expect(await download((await patch(other, 3, '')).headers['bytes-raw-id'])).toBe('def')
  })
})

describe('an expired upload', () => {
  it('is gone for its client, and can be ended', async () => {
    const path = await create(3)
    await age(path, 23 * HOUR)
    expect((await patch(path, 0, 'a')).status).toBe(204)
    await age(path, 25 * HOUR)
    expect((await tus('HEAD', path)).status).toBe(410)
    const answer = await patch(path, 1, 'bc')
    expect([answer.status, JSON.parse(answer.text)]).toEqual([
      410,
      { detail: 'The upload has expired: create a new one' },
    ])
    expect((await tus('DELETE', path)).status).toBe(204)
    expect((await tus('DELETE', path)).status).toBe(404)
  })
})

describe('after a crash', () => {
  it('uploads go on, complete ones are stored, and old ones removed', async () => {
    const paths = await Promise.all([10, 10, 6, 6, 5, 5, 5].map((length) => create(length)))
    const [half = '', unchecked = '', whole = '', patched = '', old = '', busy = '', young = ''] =
      paths
    await unfinishedPatch(half, 10, 'abcd')
    await patch(unchecked, 0, 'ab')
    await unfinishedPatch(unchecked, 8, 'XXXX', checksum('sha256', 'cdefghij'))
    await service.kill()
    // As if the process had ended between the last byte and the ingest.
    await writeFile(fileOf(whole, 'data'), 'whole!')
    await writeFile(fileOf(patched, 'data'), 'whole?')
    for (const path of [old, busy]) await age(path, 25 * HOUR)
    const longAgo = new Date(Date.now() - 25 * HOUR)
    for (const kind of ['data', 'json'] as const) {
      await utimes(fileOf(old, kind), longAgo, longAgo)
      await utimes(fileOf(young, kind), longAgo, longAgo)
    }
    await writeFile(join(folder(), 'a file of somebody else'), '')
    const orphan = join(folder(), `${randomUUID()}.data`)
    await writeFile(orphan, 'without a record')
    await utimes(orphan, longAgo, longAgo)

    await start()
    expect(await offsetOf(half)).toBe('4')
    const last = await patch(half, 4, 'efghij')
    expect(await download(last.headers['bytes-raw-id'])).toBe('abcdefghij')

    expect(await sizeOf(unchecked)).toBe(6)
    expect(await offsetOf(unchecked)).toBe('2')
    await patch(unchecked, 2, 'cd')
    const rest = await patch(unchecked, 4, 'efghij')
    expect(await download(rest.headers['bytes-raw-id'])).toBe('abcdefghij')

    expect(await download((await tus('HEAD', whole)).headers['bytes-raw-id'])).toBe('whole!')
    expect(await download((await patch(patched, 6, '')).headers['bytes-raw-id'])).toBe('whole?')

    await eventually(
      async () => !(await readdir(folder())).includes(orphan.split('/').at(-1) ?? ''),
      'the orphan is removed',
    )
    await eventually(async () => (await tus('HEAD', old)).status === 404, 'the old one is removed')
    // Another instance may be writing to what has changed lately.
    expect((await tus('HEAD', busy)).status).toBe(410)
    expect(await offsetOf(young)).toBe('0')
    expect(await readdir(folder())).toContain('a file of somebody else')
  })

  it('damaged records are no uploads', async () => {
    const path = await create(5)
    for (const damage of ['', '{', '{"size":1}', randomBytes(20).toString('latin1')]) {
      await writeFile(fileOf(path, 'json'), damage)
      expect((await tus('HEAD', path)).status).toBe(404)
      expect((await patch(path, 0, 'a')).status).toBe(404)
    }
    expect((await tus('DELETE', path)).status).toBe(204)
  })
})

it('leaves nothing that keeps the service from stopping', async () => {
  expect(await service.stop()).toBe(0)
  expect(errorsLogged(service.log())).toEqual([])
})
