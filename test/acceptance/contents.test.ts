/** Downloads: headers, conditions, ranges, and contents that are damaged. */
import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile, readlink, writeFile } from 'node:fs/promises'
import type { IncomingHttpHeaders } from 'node:http'
import { connect, type Socket } from 'node:net'
import { basename, join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, login } from '../support/client.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import {
  type Answer,
  errorsLogged,
  eventually,
  filesBelow,
  openWire,
  query,
  sample,
  send,
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

const sha512 = (content: Uint8Array) => createHash('sha512').update(content)
const hexOf = (content: Uint8Array): string => sha512(content).digest('hex')
const etagOf = (content: Uint8Array): string => `"sha512:${hexOf(content)}"`

async function uploadOne(content: Uint8Array, name = 'n', organization = 'org'): Promise<string> {
  return (await client.upload(await client.job(organization), [{ name, content }]))[name] ?? ''
}

const ask = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
  send(service.url, {
    method,
    path,
    headers: { authorization: `Bearer ${client.token}`, ...headers },
  })

const byDigest = (content: Uint8Array, organization = 'org'): string =>
  `/bytes/blobs/sha512:${hexOf(content)}?organization=${encodeURIComponent(organization)}`

/** No two places of it are alike. */
function example(size: number, seed = ''): Buffer {
  const bytes = Buffer.alloc(size)
  for (let at = 0; at < size; at += 64)
    sha512(Buffer.from(`${seed}${at}`))
      .digest()
      .copy(bytes, at)
  return bytes
}

/** What differs from answer to answer. */
function lasting(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const { date: _date, 'x-request-id': _id, ...rest } = headers
  return rest
}

describe.each(['raw file', 'blob'])('the content of a %s', (kind) => {
  const content = example(5_000, kind)
  let path: string
  let fileName: string

  beforeAll(async () => {
    const id = await uploadOne(content, 'report.txt')
    path = kind === 'blob' ? byDigest(content) : `/bytes/raw/${id}`
    fileName = kind === 'blob' ? hexOf(content).slice(0, 16) : 'report.txt'
  })

  const described = {
    'content-type': 'application/octet-stream',
    etag: etagOf(content),
    'repr-digest': `sha-512=:${sha512(content).digest('base64')}:`,
    'accept-ranges': 'bytes',
    'cache-control': 'private, immutable',
    'x-content-type-options': 'nosniff',
  }

  it('comes with its digest, a tag, a name and how to cache it', async () => {
    const answer = await ask(path)
    expect(answer.status).toBe(200)
    expect(answer.body.equals(content)).toBe(true)
    expect(answer.headers).toMatchObject({ ...described, 'content-length': '5000' })
    expect(nameOf(answer)).toBe(fileName)
    expect(answer.headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/)
  })

  it('has the same headers for HEAD, which knows no ranges', async () => {
    const got = await ask(path)
    for (const headers of [{}, { range: 'bytes=0-1' }, { range: 'bytes=9999-' }]) {
      const head = await ask(path, headers, 'HEAD')
      expect([head.status, head.body.length]).toEqual([200, 0])
      expect(lasting(head.headers)).toEqual(lasting(got.headers))
    }
  })

  it('is not sent to a client that has it', async () => {
    const tag = etagOf(content)
    for (const header of [tag, `W/${tag}`, `"x", ${tag}`, '*']) {
      for (const method of ['GET', 'HEAD']) {
        const answer = await ask(path, { 'if-none-match': header, range: 'bytes=0-1' }, method)
        expect([answer.status, answer.body.length]).toEqual([304, 0])
        const { etag, 'cache-control': caching } = answer.headers
        expect([etag, caching]).toEqual([tag, 'private, immutable'])
      }
    }
    expect((await ask(path, { 'if-none-match': '"x"' })).status).toBe(200)
    expect((await ask(path, { 'if-none-match': 'malformed' })).status).toBe(200)
  })

  it('is refused to a client that wants another', async () => {
    const answer = await ask(path, { 'if-match': '"x"' })
    expect(answer.status).toBe(412)
    expect(JSON.parse(answer.text).detail).toContain(etagOf(content))
    expect((await ask(path, { 'if-match': etagOf(content) })).status).toBe(200)
  })

  it.each([
    ['bytes=0-0', 0, 1],
    ['bytes=0-4999', 0, 5000],
    ['bytes=100-199', 100, 200],
    ['bytes=4000-', 4000, 5000],
    ['bytes=4999-999999999999999999999', 4999, 5000],
    ['bytes=-1', 4999, 5000],
    ['bytes=-999999', 0, 5000],
    ['bytes=7000-,10-19', 10, 20],
  ])('is sent in part for %s', async (range, start, end) => {
    const answer = await ask(path, { range })
    expect(answer.status).toBe(206)
    expect(answer.body.equals(content.subarray(start, end))).toBe(true)
    expect(answer.headers).toMatchObject({
      ...described,
      'content-length': String(end - start),
      'content-range': `bytes ${start}-${end - 1}/5000`,
    })
    expect(nameOf(answer)).toBe(fileName)
  })

  it('is sent in several parts', async () => {
    const answer = await ask(path, { range: 'bytes=0-0, 100-1199 ,-50,9999-' })
    expect(answer.status).toBe(206)
    expect(answer.headers).toMatchObject({ etag: etagOf(content), 'accept-ranges': 'bytes' })
    expect(answer.headers['content-range']).toBeUndefined()
    expect(partsOf(answer)).toEqual([
      { range: 'bytes 0-0/5000', body: content.subarray(0, 1) },
      { range: 'bytes 100-1199/5000', body: content.subarray(100, 1200) },
      { range: 'bytes 4950-4999/5000', body: content.subarray(4950) },
    ])
  })

  it.each([
    ['bytes=5000-', /5000 bytes long/],
    ['bytes=-0', /5000 bytes long/],
    ['bytes=0-4000,1000-', /overlap/],
    [`bytes=${Array.from({ length: 1000 }, (_, i) => `${i}-${i}`).join(',')}`, /at most 100/],
    [`bytes=${Array(1000).fill('0-').join(',')}`, /at most 100/],
  ])('is refused for ranges that cannot be sent: %.30s', async (range, reason) => {
    const answer = await ask(path, { range })
    expect(answer.status).toBe(416)
    expect(answer.headers['content-range']).toBe('bytes */5000')
    expect(answer.headers['content-type']).toBe('application/json')
    expect(JSON.parse(answer.text).detail).toMatch(reason)
    for (const name of ['etag', 'repr-digest', 'content-disposition']) {
      expect(answer.headers[name]).toBeUndefined()
    }
  })

  it.each(['bytes=2-1', 'bytes=x', 'pages=1-2', 'bytes', 'bytes=0-1;'])(
    'is sent whole for a range that is none: %s',
    async (range) => {
      const answer = await ask(path, { range })
      expect([answer.status, answer.body.length]).toEqual([200, 5000])
    },
  )

  it('is sent in part only when If-Range has its tag', async () => {
    const statusOf = async (ifRange: string) =>
      (await ask(path, { range: 'bytes=0-1', 'if-range': ifRange })).status
    expect(await statusOf(etagOf(content))).toBe(206)
    const others = ['"x"', `W/${etagOf(content)}`, 'Sat, 21 Nov 2026 10:00:00 GMT']
    for (const other of others) expect(await statusOf(other)).toBe(200)
  })
})

/** The parts of a multipart/byteranges answer, read by its boundary alone. */
function partsOf(answer: Answer): { range: string; body: Buffer }[] {
  const type = answer.headers['content-type'] ?? ''
  const boundary = /^multipart\/byteranges; boundary=(\w+)$/.exec(type)?.[1]
  expect(boundary).toBeDefined()
  expect(answer.headers['content-length']).toBe(String(answer.body.length))
  // Latin-1 keeps every byte.
  const pieces = `\r\n${answer.body.toString('latin1')}`.split(`\r\n--${boundary}`)
  expect([pieces.shift(), pieces.pop()]).toEqual(['', '--\r\n'])
  return pieces.map((piece) => {
    const [, head = '', body = ''] = /^\r\n([\s\S]*?)\r\n\r\n([\s\S]*)$/.exec(piece) ?? []
    const [type, range, ...more] = head.split('\r\n')
    expect([type, more]).toEqual(['Content-Type: application/octet-stream', []])
    return {
      range: range?.replace('Content-Range: ', '') ?? '',
      body: Buffer.from(body, 'latin1'),
    }
  })
}

/** The file name of a Content-Disposition, as a client that knows RFC 6266 reads it. */
function nameOf(answer: Answer): string {
  const header = answer.headers['content-disposition'] ?? ''
  const extended = /; filename\*=UTF-8''([\w.%!#$&+^`|~-]+)$/.exec(header)?.[1]
  if (extended !== undefined) return decodeURIComponent(extended)
  const [, quoted, token] =
    /^attachment; filename=(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))$/.exec(header) ?? []
  return quoted?.replace(/\\(.)/g, '$1') ?? token ?? `unreadable: ${header}`
}

describe('ranges of large contents', () => {
  const content = example(900_000)
  let id: string
  beforeAll(async () => {
    id = await uploadOne(content)
  })

  it('are what a slice of the content is', async () => {
    const position = fc.nat({ max: content.length + 1000 })
    const list = fc.array(fc.tuple(position, position), { minLength: 1, maxLength: 5 })
    await fc.assert(
      fc.asyncProperty(list, async (pairs) => {
        const sorted = pairs.map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }))
        const specs = sorted.map(({ first, last }) => `${first}-${last}`)
        const answer = await ask(`/bytes/raw/${id}`, { range: `bytes=${specs.join(',')}` })
        const slices = sorted
          .map(({ first, last }) => content.subarray(first, last + 1))
          .filter((slice) => slice.length > 0)
        const length = slices.reduce((sum, slice) => sum + slice.length, 0)
        if (slices.length === 0 || length > content.length) {
          expect(answer.status).toBe(416)
          return
        }
        expect(answer.status).toBe(206)
        const got = slices.length === 1 ? [answer.body] : partsOf(answer).map(({ body }) => body)
        expect(got.length).toBe(slices.length)
        expect(got.every((body, i) => body.equals(slices[i] ?? Buffer.alloc(0)))).toBe(true)
      }),
      { numRuns: 60 },
    )
  })

  it('make up the content again', async () => {
    const pieces = []
    for (let at = 0; at < content.length; at += 77_777) {
      pieces.push((await ask(`/bytes/raw/${id}`, { range: `bytes=${at}-${at + 77_776}` })).body)
    }
    expect(Buffer.concat(pieces).equals(content)).toBe(true)
  })
})

describe('an empty content', () => {
  it('has no ranges', async () => {
    const id = await uploadOne(Buffer.alloc(0))
    for (const path of [`/bytes/raw/${id}`, byDigest(Buffer.alloc(0))]) {
      const whole = await ask(path)
      expect([whole.status, whole.headers['content-length'], whole.text]).toEqual([200, '0', ''])
      const head = await ask(path, {}, 'HEAD')
      expect(lasting(head.headers)).toEqual(lasting(whole.headers))
      const none = await ask(path, { range: 'bytes=0-' })
      expect([none.status, none.headers['content-range']]).toEqual([416, 'bytes */0'])
      expect((await ask(path, { range: 'bytes=-1' })).status).toBe(200)
    }
  })
})

describe('a file name', () => {
  it.each([
    ['plain.txt', 'plain.txt'],
    ['with space.txt', 'with space.txt'],
    ['say "hi".txt', 'say "hi".txt'],
    ['a;b=c.txt', 'a;b=c.txt'],
    ['100%41.txt', '100%41.txt'],
    ["it's.txt", "it's.txt"],
    ['naïve — 日本語 💾.txt', 'naïve — 日本語 💾.txt'],
    ['a\r\nSet-Cookie: x=y\r\n\r\n.txt', 'aSet-Cookie: x=y.txt'],
    ['../../etc/passwd', 'passwd'],
    ['C:\\x\\y.exe', 'y.exe'],
    ['\u202etxt.exe', 'txt.exe'],
  ])('%j is told as %j', async (name, expected) => {
    const answer = await ask(`/bytes/raw/${await uploadOne(example(10), name)}`)
    expect(answer.status).toBe(200)
    expect(nameOf(answer)).toBe(expected)
    expect(answer.headers['set-cookie']).toBeUndefined()
    expect(answer.headers['content-disposition']).toMatch(/^[\x20-\x7e]+$/)
  })

  it('that is none is the id', async () => {
    for (const name of ['', '..', '///', '\u0000']) {
      const id = await uploadOne(example(10), name)
      expect(nameOf(await ask(`/bytes/raw/${id}`))).toBe(id)
    }
  })
})

describe('a blob', () => {
  const content = example(100, 'blob')

  it('is found by its digest in any form', async () => {
    await uploadOne(content)
    const hex = hexOf(content)
    for (const digest of [hex, hex.toUpperCase(), `sha512:${hex}`, `SHA512%3A${hex}`]) {
      const answer = await ask(`/bytes/blobs/${digest}?organization=org`)
      expect([answer.status, answer.body.equals(content)]).toEqual([200, true])
    }
  })

  it('is of one organization only, and only while a raw file has it', async () => {
    const mine = example(100, 'mine')
    await uploadOne(mine, 'n', 'mine & only mine')
    const path = byDigest(mine, 'mine & only mine')
    expect((await ask(path)).status).toBe(200)
    const missing = [404, { detail: 'No raw file of the organization has this content' }]
    for (const other of [byDigest(mine, 'org'), byDigest(mine, ''), byDigest(example(9, 'no'))]) {
      const answer = await ask(other)
      expect([answer.status, JSON.parse(answer.text)]).toEqual(missing)
    }
    await query(store.databaseUri, 'DELETE FROM boefje_meta WHERE organization = $1', [
      'mine & only mine',
    ])
    expect((await ask(path)).status).toBe(404)
    expect((await ask(path, {}, 'HEAD')).status).toBe(404)
  })

  it.each(['x', 'sha512:', 'a'.repeat(127), `md5:${'a'.repeat(128)}`, `${'g'.repeat(128)}`])(
    'with the digest %.20s is refused',
    async (digest) => {
      const answer = await ask(`/bytes/blobs/${digest}?organization=org`)
      expect(answer.status).toBe(422)
      expect(JSON.parse(answer.text).value).toMatch(/path\.digest: .*128 hexadecimal digits/)
    },
  )

  it('needs an organization and a token', async () => {
    const path = `/bytes/blobs/${hexOf(content)}`
    const answer = await ask(path)
    expect(answer.status).toBe(422)
    expect(JSON.parse(answer.text).value).toBe('query.organization: Field required')
    expect((await ask(`${path}?organization=a%00b`)).status).toBe(422)
    expect((await send(service.url, { path: `${path}?organization=org` })).status).toBe(401)
  })
})

const pathOf = async (content: Uint8Array): Promise<string> => {
  const files = await filesBelow(join(store.dataDir, 'blobs'))
  const found = files.find((path) => basename(path) === hexOf(content))
  return join(store.dataDir, 'blobs', found ?? 'it is not there')
}

/** A GET that is sent over a connection of its own. */
const requestText = (path: string, requestId: string): string =>
  `GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${client.token}\r\n` +
  `X-Request-Id: ${requestId}\r\n\r\n`

describe('3 MiB with one wrong bit', () => {
  const SIZE = 3 * 1024 * 1024

  it.each([
    ['at the beginning', 0],
    ['in the middle', SIZE / 2],
    ['in the last piece', SIZE - 10],
    ['at the end', SIZE - 1],
  ])('%s never arrive whole', async (where, at) => {
    const content = example(SIZE, where)
    const id = await uploadOne(content)
    const file = await pathOf(content)
    const stored = await readFile(file)
    stored[at] = (stored[at] ?? 0) ^ 0x10
    await writeFile(file, stored)

    const metric = 'bytes_blob_errors_total{code="blob_damaged"}'
    const count = async () => sample((await ask('/metrics')).text, metric) ?? 0
    const before = await count()
    for (const [path, name] of [
      [`/bytes/raw/${id}`, `Raw file ${id}`],
      [byDigest(content), `Blob sha512:${hexOf(content)}`],
    ] as const) {
      await expect(ask(path)).rejects.toThrow()
      const requestId = randomUUID()
      const wire = await openWire(service.url)
      wire.write(requestText(path, requestId))
      const received = await wire.ended
      expect(received).toContain(`content-length: ${SIZE}`)
      expect(received.length - received.indexOf('\r\n\r\n') - 4).toBeLessThan(SIZE)
      const line = await eventually(
        () => errorsLogged(service.log()).find((found) => found.includes(requestId)),
        'the failure is logged',
      )
      expect(line).toContain('an answer was cut off')
      expect(line).toContain(`${name} cannot be read: its stored content does not have the digest`)
    }
    expect(await count()).toBe(before + 4)
    // A part is not checked against the digest of the whole.
    const part = await ask(`/bytes/raw/${id}`, { range: `bytes=${SIZE / 4}-${SIZE / 4 + 9}` })
    expect([part.status, part.body]).toEqual([206, content.subarray(SIZE / 4, SIZE / 4 + 10)])

    await uploadOne(content)
    expect((await ask(`/bytes/raw/${id}`)).body.equals(content)).toBe(true)
  })
})

describe.runIf(process.platform === 'linux')('a client that', () => {
  const SIZE = 40_000_000
  let content: Buffer
  let id: string
  beforeAll(async () => {
    content = Buffer.alloc(SIZE, example(6_400))
    id = await uploadOne(content)
  })

  const openFiles = async (): Promise<string[]> => {
    const folder = `/proc/${service.process.pid}/fd`
    const names = await readdir(folder)
    const targets = await Promise.all(
      names.map((name) => readlink(join(folder, name)).catch(() => '')),
    )
    return targets.filter((target) => target.startsWith(store.dataDir))
  }
  /** Bytes that the service has read so far, of files and sockets. */
  const bytesRead = async (): Promise<number> => {
    const text = await readFile(`/proc/${service.process.pid}/io`, 'utf8')
    return Number(/^rchar: (\d+)$/m.exec(text)?.[1])
  }
  /** A download that is not read on after its beginning. */
  const begin = async (): Promise<Socket> => {
    const { hostname, port } = new URL(service.url)
    const socket = connect(Number(port), hostname)
    socket.on('error', () => undefined)
    socket.write(requestText(`/bytes/raw/${id}`, randomUUID()))
    await once(socket, 'readable')
    return socket
  }

  it('goes away leaves no file open', async () => {
    for (let i = 0; i < 5; i++) (await begin()).destroy()
    const waiting = await begin()
    expect((await openFiles()).length).toBeGreaterThan(0)
    waiting.resetAndDestroy()
    await eventually(async () => (await openFiles()).length === 0, 'all files are closed')
  })

  it('reads slowly is sent no more than it reads', async () => {
    const before = await bytesRead()
    const socket = await begin()
    // It has stopped when several looks in a row see the same.
    const looks: number[] = []
    await eventually(async () => {
      looks.push(await bytesRead())
      return looks.length > 20 && new Set(looks.slice(-20)).size === 1
    }, 'the service stops reading')
    // The kernel holds some megabytes for a connection.
    expect((looks.at(-1) ?? 0) - before).toBeLessThan(SIZE / 2)
    expect(await openFiles()).toHaveLength(1)
    const chunks: Buffer[] = []
    let length = 0
    let headEnd = 0
    for await (const chunk of socket) {
      chunks.push(chunk)
      length += chunk.length
      if (headEnd === 0) headEnd = chunk.indexOf('\r\n\r\n') + 4
      if (length === headEnd + SIZE) break
    }
    expect(Buffer.concat(chunks).subarray(headEnd).equals(content)).toBe(true)
    await eventually(async () => (await openFiles()).length === 0, 'the file is closed')
  })
})

it('is described with its headers and refusals', async () => {
  const document = JSON.parse((await send(service.url, { path: '/openapi.json' })).text)
  for (const pattern of ['/bytes/raw/{raw_id}', '/bytes/blobs/{digest}']) {
    const { parameters, responses } = document.paths[pattern].get
    const named = parameters.map((each: { in: string; name: string }) => `${each.in} ${each.name}`)
    expect(named).toEqual(
      expect.arrayContaining(['header Range', 'header If-Range', 'header If-None-Match']),
    )
    expect(Object.keys(responses)).toEqual(
      expect.arrayContaining(['200', '206', '304', '404', '412', '416', '422', '500']),
    )
    expect(Object.keys(responses[206].headers)).toEqual(
      expect.arrayContaining(['ETag', 'Content-Range', 'Repr-Digest']),
    )
  }
})

it('after all that nothing but the damage was logged as an error', () => {
  const unexpected = errorsLogged(service.log()).filter((line) => !line.includes('cannot be read'))
  expect(unexpected).toEqual([])
})
