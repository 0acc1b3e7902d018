import { appendFileSync, existsSync, truncateSync, utimesSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BytesClientError, createClient, type UploadOptions } from '../../src/client/client.js'
import { FAKE_USER, type FakeBytes, refuse, sha512, startFakeBytes } from '../support/fake-bytes.js'

const JOB = '00000000-0000-4000-8000-000000000000'
const MEBIBYTE = 1024 * 1024

let fake: FakeBytes
let folder: string
let client: ReturnType<typeof createClient>

beforeEach(async () => {
  fake = await startFakeBytes()
  folder = await mkdtemp(join(tmpdir(), 'bytes-test-client-'))
  client = createClient({ url: fake.url, ...FAKE_USER, pause: async () => undefined })
})

afterEach(async () => {
  await fake.close()
  await rm(folder, { recursive: true, force: true })
})

async function* chunks(...parts: (Uint8Array | Error)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) {
    if (part instanceof Error) throw part
    yield part
  }
}
const bytes = (length: number): Buffer => Buffer.alloc(length, 'some bytes that repeat. ')
const fileOf = async (content: Uint8Array): Promise<string> => {
  const path = join(folder, `file ${Math.random()}`)
  await writeFile(path, content)
  return path
}
const failureOf = async (options: Partial<UploadOptions>): Promise<BytesClientError> => {
  try {
    await client.upload({ jobId: JOB, source: bytes(10), ...options })
  } catch (error) {
    if (error instanceof BytesClientError) return error
    throw error
  }
  throw new Error('it did not fail')
}
const uploads = () => fake.sent('POST /bytes/raw')

describe('an upload', () => {
  it.each([0, 1, 1000, 3 * MEBIBYTE + 7])(
    'stores %i bytes from every kind of source',
    async (size) => {
      const content = bytes(size)
      const path = await fileOf(content)
      const sources = [
        path,
        pathToFileURL(path),
        new Uint8Array(content),
        chunks(content.subarray(0, size / 2), content.subarray(size / 2)),
        new Blob([content]),
        new Blob([content]).stream(),
      ]
      for (const [i, source] of sources.entries()) {
        const progress: unknown[] = []
        const result = await client.upload({
          jobId: JOB,
          source,
          name: `näme ${i}/&`,
          tags: ['a/b', `c ${i}`],
          onProgress: (p) => progress.push(p),
        })
        expect(result).toMatchObject({ size, digest: `sha512:${sha512(content).toString('hex')}` })
        const stored = fake.raws.get(result.id)
        expect(stored?.content.equals(content)).toBe(true)
        expect(stored).toMatchObject({
          name: `näme ${i}/&`,
          tags: JSON.stringify(['a/b', `c ${i}`]),
        })
        const known = i < 3 || source instanceof Blob
        const { headers } = uploads().at(-1) ?? {}
        expect(headers?.['content-type']).toBe('application/octet-stream')
        expect(headers?.['content-length']).toBe(known || size === 0 ? String(size) : undefined)
        expect(headers?.['repr-digest'] !== undefined).toBe(known)
        if (size > 0)
          expect(progress.at(-1)).toEqual({ sent: size, total: known ? size : undefined })
      }
    },
  )

  it('stores what any stream gives', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 5000 })), async (parts) => {
        const { id } = await client.upload({
          jobId: JOB,
          source: chunks(...parts),
          tags: [`${Math.random()}`],
        })
        expect(fake.raws.get(id)?.content.equals(Buffer.concat(parts))).toBe(true)
      }),
      { numRuns: 30 },
    )
  })

  it('announces no digest for a longer file, and compares it afterwards', async () => {
    const path = await fileOf(bytes(17 * MEBIBYTE))
    const result = await client.upload({ jobId: JOB, source: path })
    expect(uploads()[0]?.headers['repr-digest']).toBeUndefined()
    expect(uploads()[0]?.headers['content-length']).toBe(String(17 * MEBIBYTE))
    expect(result.digest).toBe(`sha512:${sha512(bytes(17 * MEBIBYTE)).toString('hex')}`)
  })

  it('reads a stream no faster than it is taken', async () => {
    let read = 0
    let release = (): void => undefined
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    fake.interceptors.add(async (request) => {
      if (request.url?.startsWith('/bytes/raw?')) await held
      return false
    })
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (; read < 64; read++) yield bytes(MEBIBYTE)
    }
    const done = client.upload({ jobId: JOB, source: endless() })
    let before = -1
    while (read === 0 || read !== before) {
      before = read
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
    // What sockets hold is some megabytes.
    expect(read).toBeLessThan(32)
    release()
    expect((await done).size).toBe(64 * MEBIBYTE)
  })

  it('keeps nothing of a stream in memory', async () => {
    fake.interceptors.add((request, response) => {
      if (!request.url?.startsWith('/bytes/raw?')) return false
      request.resume().on('end', () => refuse(response, 422, 'it was only read'))
      return true
    })
    const start = process.memoryUsage().arrayBuffers
    let most = 0
    async function* long(): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < 4 * 256; i++) {
        most = Math.max(most, process.memoryUsage().arrayBuffers - start)
        yield Buffer.alloc(MEBIBYTE / 4)
      }
    }
    expect((await failureOf({ source: long() })).code).toBe('refused')
    expect(most / MEBIBYTE).toBeLessThan(128)
  })

  it('gives the existing raw file for equal content, and tells when it differs', async () => {
    const first = await client.upload({ jobId: JOB, source: bytes(5), tags: ['t'] })
    const again = await client.upload({ jobId: JOB, source: bytes(5), tags: ['t'] })
    expect(again.id).toBe(first.id)
    const error = await failureOf({ source: chunks(bytes(6)), tags: ['t'] })
    expect(error.code).toBe('content_differs')
    expect(error.message).toContain(first.id)
  })

  it('of a file or bytes is repeated when the connection breaks or the service is busy', async () => {
    const content = bytes(3 * MEBIBYTE)
    for (const source of [await fileOf(content), content]) {
      const failures = [
        (request: { destroy(): void }) => request.destroy(),
        (_: unknown, response: Parameters<typeof refuse>[0]) => refuse(response, 503, 'busy'),
      ]
      fake.interceptors.add((request, response) => {
        if (!request.url?.startsWith('/bytes/raw?')) return false
        const fail = failures.shift()
        fail?.(request.socket, response)
        return fail !== undefined
      })
      const before = uploads().length
      const { id } = await client.upload({ jobId: JOB, source, tags: [`${before}`] })
      expect(fake.raws.get(id)?.content.equals(content)).toBe(true)
      expect(uploads().length - before).toBe(3)
    }
  })

  it('of a file is repeated with a new token, of a stream it cannot', async () => {
    await client.getJob(JOB)
    fake.tokens.clear()
    const path = await fileOf(bytes(1000))
    expect((await client.upload({ jobId: JOB, source: path, tags: ['1'] })).size).toBe(1000)
    fake.tokens.clear()
    const error = await failureOf({ source: chunks(bytes(1000)), tags: ['2'] })
    expect([error.code, error.status]).toEqual(['unauthorized', 401])
  })

  it('of a stream is sent once', async () => {
    fake.interceptors.add((request, response) =>
      request.url?.startsWith('/bytes/raw?') ? refuse(response, 503, 'busy') : false,
    )
    expect((await failureOf({ source: chunks(bytes(1000)) })).code).toBe('unavailable')
    expect(uploads().length).toBe(1)
  })

  it('tells what is wrong with the source', async () => {
    const cases: [UploadOptions['source'], number | undefined, RegExp][] = [
      [
        join(folder, 'none'),
        undefined,
        /none cannot be read: no such file or directory \(ENOENT\)$/,
      ],
      [folder, undefined, /cannot be read: it is a directory/],
      [chunks(bytes(10), new Error('the tape broke')), undefined, /the tape broke/],
      [chunks(bytes(10)), 11, /it has 10 of 11 bytes/],
      [chunks(bytes(10)), 9, /it has more than 9 bytes/],
      [chunks('text' as unknown as Uint8Array), undefined, /something else than bytes/],
    ]
    for (const [source, size, text] of cases) {
      const error = await failureOf({ source, size })
      expect([error.code, error.message]).toEqual(['source_failed', expect.stringMatching(text)])
    }
    expect(fake.raws.size).toBe(0)
  })

  it.each([undefined, null, 5, '', {}, [new Uint8Array(1)], new URL('http://host/')])(
    'has a source, which %s is not',
    async (source) => {
      const error = await failureOf({ source: source as unknown as string })
      expect(error.code).toBe('invalid_argument')
      expect(fake.requests).toEqual([])
    },
  )

  it.each([undefined, ''])('has a job, which %s is not', async (jobId) => {
    expect((await failureOf({ jobId: jobId as string })).code).toBe('invalid_argument')
  })

  it.runIf(existsSync('/proc/cpuinfo'))('stores a file that says that it is empty', async () => {
    const { id, size } = await client.upload({ jobId: JOB, source: '/proc/cpuinfo' })
    expect([size > 0, fake.raws.get(id)?.content.length]).toEqual([true, size])
    const error = await client
      .upload({ jobId: JOB, source: '/proc/cpuinfo', resumable: true })
      .catch((found: unknown) => found)
    expect(error).toMatchObject({ code: 'source_failed' })
  })

  it.each([
    ['longer', (path: string) => appendFileSync(path, 'more')],
    ['another', (path: string) => utimesSync(path, 0, 0)],
    ['shorter', (path: string) => truncateSync(path, 10)],
  ])('tells of a file that becomes %s, and stores nothing', async (_what, change) => {
    const path = await fileOf(bytes(20 * MEBIBYTE))
    // At once, as it has to be changed before its last piece is read.
    const error = await failureOf({ source: path, onProgress: () => change(path) })
    expect([error.code, error.message]).toEqual(['source_failed', expect.stringMatching(/changed/)])
    expect(fake.raws.size).toBe(0)
  })

  it('passes on what its callback throws, and sends nothing again', async () => {
    const thrown = new Error('of the callback')
    const onProgress = (): void => {
      throw thrown
    }
    await expect(client.upload({ jobId: JOB, source: bytes(9), onProgress })).rejects.toBe(thrown)
    expect(uploads().length).toBeLessThanOrEqual(1)
  })

  it('ends when its signal aborts', async () => {
    const controller = new AbortController()
    const source = await fileOf(bytes(20 * MEBIBYTE))
    const { signal } = controller
    const error = await failureOf({ source, signal, onProgress: () => controller.abort() })
    expect(error.code).toBe('aborted')
    expect(fake.raws.size).toBe(0)
  })

  it('tells of a job that is not there', async () => {
    const error = await failureOf({ jobId: 'x' })
    expect(error).toMatchObject({ code: 'not_found', serverText: 'Boefje meta not found' })
  })

  it.each(['{}', '{"a":1}', '{"a":"x","b":"y"}', '[]', 'null'])(
    'is not answered with %s',
    async (body) => {
      fake.interceptors.add((request, response) => {
        if (!request.url?.startsWith('/bytes/raw?')) return false
        request.resume().on('end', () => response.end(body))
        return true
      })
      expect((await failureOf({})).code).toBe('unexpected_answer')
    },
  )
})
