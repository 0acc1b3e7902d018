import {
  appendFile,
  type FileHandle,
  mkdtemp,
  open,
  rm,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { BytesClientError, createClient, type ResumableOptions } from '../../src/client/client.js'
import { FAKE_USER, type FakeBytes, refuse, sha512, startFakeBytes } from '../support/fake-bytes.js'

const JOB = '00000000-0000-4000-8000-000000000000'
const CONTENT = Buffer.from(Array.from({ length: 1000 }, (_, i) => `${i}`).join(' '))
const CHUNK = 1000

let fake: FakeBytes
let folder: string
let path: string
let pauses: number
let client: ReturnType<typeof createClient>

beforeEach(async () => {
  fake = await startFakeBytes()
  folder = await mkdtemp(join(tmpdir(), 'bytes-test-client-'))
  path = join(folder, 'file')
  await writeFile(path, CONTENT)
  pauses = 0
  client = createClient({
    url: fake.url,
    ...FAKE_USER,
    pause: async () => {
      pauses++
    },
  })
})

afterEach(async () => {
  await fake.close()
  await rm(folder, { recursive: true, force: true })
})

const upload = (options: Partial<ResumableOptions> = {}) =>
  client.uploadResumable({ jobId: JOB, path, chunkSize: CHUNK, ...options })
const failureOf = async (options: Partial<ResumableOptions> = {}): Promise<BytesClientError> => {
  const error = await upload(options).catch((found: unknown) => found)
  if (error instanceof BytesClientError) return error
  throw new Error(`no client error: ${error}`)
}
const patches = () => fake.sent('PATCH /bytes/uploads/')
const creations = () => fake.sent('POST /bytes/uploads')
type Answer = (request: IncomingMessage, response: ServerResponse) => boolean | Promise<boolean>
/** Answers requests of a method, one after the other; those that are left undefined are served. */
const onEach = (method: string, ...answers: (Answer | undefined)[]): void => {
  fake.interceptors.add(async (request, response) => {
    if (request.method !== method || !request.url?.startsWith('/bytes/uploads')) return false
    return (await answers.shift()?.(request, response)) ?? false
  })
}
const cut: Answer = (request) => {
  request.socket.destroy()
  return true
}
const status =
  (code: number, headers = {}): Answer =>
  (request, response) => {
    request.resume()
    return refuse(response, code, `refused ${code}`, headers)
  }
/** The chunk is kept, and the connection breaks before that is told. */
const keepAndCut: Answer = async (request, response) => {
  const end = response.writeHead.bind(response)
  response.writeHead = (() => {
    request.socket.destroy()
    return response
  }) as typeof end
  return false
}

describe('an upload in chunks', () => {
  it('stores the file', async () => {
    const progress: number[] = []
    let url = ''
    const result = await upload({
      name: 'näme',
      tags: ['a/b', 'c'],
      onProgress: ({ sent, total }) => {
        progress.push(sent)
        expect(total).toBe(CONTENT.length)
      },
      onUploadUrl: (given) => {
        url = given
      },
    })
    const { digest, size, id } = result
    expect({ digest, size }).toEqual({
      digest: `sha512:${sha512(CONTENT).toString('hex')}`,
      size: CONTENT.length,
    })
    const stored = fake.raws.get(id)
    expect(stored?.content.equals(CONTENT)).toBe(true)
    expect(stored).toMatchObject({ name: 'näme', tags: '["a/b","c"]', job: JOB })
    expect(patches().map(({ headers }) => headers['upload-offset'])).toEqual([
      '0',
      '1000',
      '2000',
      '3000',
    ])
    expect(progress.at(-1)).toBe(CONTENT.length)
    expect([...progress].sort((a, b) => a - b)).toEqual(progress)
    expect(url).toBe(`${fake.url}/bytes/uploads/${[...fake.uploads.keys()][0]}`)
    expect(pauses).toBe(0)
  })

  it.each([0, 1, CHUNK, 2 * CHUNK])('stores %i bytes', async (size) => {
    await truncate(path, size)
    const { id } = await upload()
    expect(fake.raws.get(id)?.content.equals(CONTENT.subarray(0, size))).toBe(true)
  })

  it('is what a file of more than 1 GiB is sent with, or who wants it so', async () => {
    await truncate(path, 65 * 1024 * 1024)
    const { id, size } = await client.upload({ jobId: JOB, source: path, tags: ['1'] })
    expect([size, fake.raws.get(id)?.content.length]).toEqual([65 * 1024 * 1024, size])
    expect(patches().length).toBe(0)
    const parts = await client.upload({ jobId: JOB, source: path, tags: ['2'], resumable: true })
    expect(patches().length).toBe(3)
    expect(fake.raws.get(parts.id)?.content.length).toBe(size)
    const source = new Uint8Array(1)
    await expect(client.upload({ jobId: JOB, source, resumable: true })).rejects.toMatchObject({
      code: 'invalid_argument',
    })

    onEach('POST', status(422), status(422))
    await truncate(path, 1024 ** 3 + 1)
    await expect(client.upload({ jobId: JOB, source: path })).rejects.toMatchObject({ status: 422 })
    expect(creations().length).toBe(2)
  })

  it('reads each byte of the file once', async () => {
    const handle = await open(path)
    const prototype = Object.getPrototypeOf(handle) as FileHandle
    await handle.close()
    const read = vi.spyOn(prototype, 'read')
    onEach('PATCH', undefined, keepAndCut)
    await upload()
    const bytes = await Promise.all(
      read.mock.results.map(async ({ value }) => (await value).bytesRead),
    )
    read.mockRestore()
    expect(bytes.reduce((sum, n) => sum + n, 0)).toBe(CONTENT.length)
  })

  it('goes on where the service is, whatever breaks', async () => {
    const ways = [undefined, cut, keepAndCut, status(500), status(503), status(409), status(423)]
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...ways), { maxLength: 5 }),
        fc.array(fc.constantFrom(undefined, cut, status(503)), { maxLength: 4 }),
        async (onPatch, onHead) => {
          fake.interceptors.clear()
          onEach('PATCH', ...onPatch)
          onEach('HEAD', ...onHead)
          const { id } = await upload({ tags: [`${Math.random()}`] })
          expect(fake.raws.get(id)?.content.equals(CONTENT)).toBe(true)
        },
      ),
      { numRuns: 60 },
    )
  })

  it('goes on where the service is when that has come back with less than it had', async () => {
    const back = status(503)
    onEach('PATCH', undefined, undefined, (request, response) => {
      // As from a backup: the first chunk is there, and the second is gone.
      for (const begun of fake.uploads.values()) begun.content = begun.content.subarray(0, 500)
      return back(request, response)
    })
    const { id } = await upload()
    expect(fake.raws.get(id)?.content.equals(CONTENT)).toBe(true)
    expect(fake.sent('DELETE')).toEqual([])
    expect(patches().map(({ headers }) => headers['upload-offset'])).toEqual([
      '0',
      '1000',
      '2000',
      '500',
      '1500',
      '2500',
      '3500',
    ])
  })

  it('tells of a content that was damaged on its way', async () => {
    onEach('PATCH', undefined, () => {
      for (const begun of fake.uploads.values()) begun.content.fill('x')
      return false
    })
    expect((await failureOf()).code).toBe('content_differs')
  })

  it.each([
    ['fails', status(422), false],
    ['is aborted', undefined, true],
  ])('that %s is removed', async (_what, answer, aborts) => {
    onEach('PATCH', undefined, answer)
    const controller = new AbortController()
    const onProgress = ({ sent }: { sent: number }) => aborts && sent > 1500 && controller.abort()
    await failureOf({ signal: controller.signal, onProgress })
    expect([fake.sent('DELETE /bytes/uploads/').length, fake.uploads.size]).toEqual([1, 0])
    expect(fake.raws.size).toBe(0)
  })

  it('stays when it is to be kept, or was begun before', async () => {
    let resumeFrom = ''
    onEach('PATCH', undefined, status(422), status(422))
    const onUploadUrl = (url: string) => {
      resumeFrom = url
    }
    await failureOf({ keep: true, onUploadUrl })
    await failureOf({ resumeFrom })
    expect([fake.sent('DELETE').length, fake.uploads.size]).toEqual([0, 1])
    expect((await upload({ resumeFrom })).size).toBe(CONTENT.length)
  })

  it('sends nothing twice that was kept', async () => {
    onEach('PATCH', keepAndCut, keepAndCut)
    await upload()
    expect(patches().map(({ headers }) => headers['upload-offset'])).toEqual([
      '0',
      '1000',
      '2000',
      '3000',
    ])
    expect(pauses).toBe(2)
  })

  it('has its id though the answer to the last chunk is lost', async () => {
    onEach('PATCH', undefined, undefined, undefined, keepAndCut)
    const { id } = await upload()
    expect(fake.raws.get(id)?.content.equals(CONTENT)).toBe(true)
  })

  it('gives up after five minutes of tries that bring nothing', async () => {
    onEach('PATCH', undefined, ...Array(500).fill(status(500)))
    const error = await failureOf()
    expect([error.code, error.status]).toEqual(['server_error', 500])
    // Five minutes, in steps of at most ten seconds.
    expect(pauses).toBeGreaterThanOrEqual(30)
    expect(patches().length).toBe(pauses + 2)
  })

  it('does not give up as long as it goes on', async () => {
    const chunks = Math.ceil(CONTENT.length / 200)
    onEach('PATCH', ...Array.from({ length: chunks }, () => [cut, undefined]).flat())
    const { id } = await upload({ chunkSize: 200 })
    expect(fake.raws.get(id)?.content.equals(CONTENT)).toBe(true)
    expect(pauses).toBe(chunks)
  })

  it('begins anew once when it is gone', async () => {
    const urls: string[] = []
    onEach('PATCH', undefined, (request, response) => {
      fake.uploads.clear()
      return status(404)(request, response)
    })
    await upload({ onUploadUrl: (url) => urls.push(url) })
    expect(creations().length).toBe(2)
    expect(new Set(urls).size).toBe(2)

    onEach('PATCH', status(410), status(410))
    expect((await failureOf()).status).toBe(410)
    expect(creations().length).toBe(4)
  })

  it.each([400, 413, 415, 422, 507])('ends at once when it is answered %i', async (code) => {
    onEach('PATCH', status(code))
    expect((await failureOf()).status).toBe(code)
    expect([patches().length, pauses]).toEqual([1, 0])
  })

  it('of a job that is not there is refused at once', async () => {
    const error = await failureOf({ jobId: 'none' })
    expect([error.code, creations().length]).toEqual(['not_found', 1])
  })

  it('gets a new token on the way', async () => {
    onEach('PATCH', undefined, () => {
      fake.tokens.clear()
      return false
    })
    const { id } = await upload()
    expect(fake.raws.get(id)?.content.equals(CONTENT)).toBe(true)
    expect(fake.sent('POST /token').length).toBe(2)
  })

  it('tells when the job has another file with the same MIME types', async () => {
    await upload({ tags: ['t'] })
    await appendFile(path, 'more')
    expect((await failureOf({ tags: ['t'] })).code).toBe('content_differs')
  })

  it('tells of a file that is written to meanwhile', async () => {
    onEach('PATCH', undefined, async () => {
      await utimes(path, new Date(0), new Date(0))
      return false
    })
    const error = await failureOf()
    expect([error.code, error.message]).toEqual(['source_failed', expect.stringMatching(/changed/)])
  })

  it.each([0, -1, 1.5, Number.NaN])('has no chunks of %d bytes', async (chunkSize) => {
    expect((await failureOf({ chunkSize })).code).toBe('invalid_argument')
  })

  it('is of a regular file', async () => {
    expect((await failureOf({ path: folder })).code).toBe('source_failed')
    expect((await failureOf({ path: '/dev/null' })).message).toMatch(/no regular file/)
  })
})

describe('an upload that was begun before', () => {
  const begin = async (): Promise<string> => {
    const controller = new AbortController()
    let url = ''
    const error = await failureOf({
      keep: true,
      signal: controller.signal,
      onUploadUrl: (given) => {
        url = given
      },
      onProgress: ({ sent }) => sent > 2000 && controller.abort(),
    })
    expect(error.code).toBe('aborted')
    return url
  }

  it('is gone on with by another client', async () => {
    const resumeFrom = await begin()
    const before = patches().length
    const { id, digest } = await upload({ resumeFrom })
    expect(fake.raws.get(id)?.content.equals(CONTENT)).toBe(true)
    expect(digest).toBe(`sha512:${sha512(CONTENT).toString('hex')}`)
    expect(patches()[before]?.headers['upload-offset']).toBe('2000')
    expect(creations().length).toBe(1)
    // It is complete: what came of it is told again.
    expect((await upload({ resumeFrom })).id).toBe(id)
  })

  it('is begun anew when it is gone', async () => {
    const resumeFrom = await begin()
    fake.uploads.clear()
    const { id } = await upload({ resumeFrom })
    expect(fake.raws.get(id)?.content.equals(CONTENT)).toBe(true)
  })

  it('is refused for a file of another size, and found out for one of other content', async () => {
    const resumeFrom = await begin()
    await writeFile(path, Buffer.alloc(CONTENT.length, 'x'))
    expect((await failureOf({ resumeFrom })).code).toBe('content_differs')
    await appendFile(path, 'x')
    expect((await failureOf({ resumeFrom })).code).toBe('invalid_argument')
  })

  it('is not looked for at another server', async () => {
    const resumeFrom = 'http://127.0.0.1:1/bytes/uploads/x'
    expect((await failureOf({ resumeFrom })).code).toBe('unexpected_answer')
    expect(fake.requests).toEqual([])
  })
})

describe('a service that does not keep to the protocol', () => {
  it.each([
    ['no address', {}],
    ['an address elsewhere', { location: 'http://127.0.0.1:1/x' }],
  ])('gives %s', async (_what, headers) => {
    onEach('POST', (request, response) => {
      request.resume()
      response.writeHead(201, headers).end()
      return true
    })
    expect((await failureOf()).code).toBe('unexpected_answer')
  })

  it.each([undefined, '', '-1', '1e3', '99999', '0'])('tells the offset %s', async (offset) => {
    const answer: Answer = (request, response) => {
      request.resume()
      response.writeHead(204, offset === undefined ? {} : { 'upload-offset': offset }).end()
      return true
    }
    onEach('PATCH', answer, answer)
    expect((await failureOf()).code).toBe('unexpected_answer')
    expect(patches().length).toBe(1)
  })

  it('never tells the id', async () => {
    const state = { 'upload-offset': String(CONTENT.length) }
    const answer: Answer = (request, response) => {
      request.resume()
      response.writeHead(204, state).end()
      return true
    }
    onEach('PATCH', ...Array(9).fill(answer))
    onEach('HEAD', ...Array(9).fill(answer))
    expect((await failureOf()).code).toBe('unexpected_answer')
    expect(patches().length).toBe(2)
  })
})
