/** Resumable uploads with the usual client, over broken connections and a killed server. */
import { createHash, randomBytes } from 'node:crypto'
import { type HttpResponse, Upload, type UploadOptions } from 'tus-js-client'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Client, login } from '../support/client.js'
import { freePort } from '../support/ports.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { query } from './helpers.js'

const MEBIBYTE = 1024 * 1024

let store: TestStore
let service: TestService
let client: Client
let port: number

const start = async (): Promise<void> => {
  service = await store.start({ BYTES_PORT: String(port) })
}

beforeAll(async () => {
  store = await testStore()
  port = await freePort()
  await start()
  client = await login(service.url)
})

afterAll(async () => {
  await store?.remove()
})

const settings = (job: string): UploadOptions => ({
  endpoint: `${service.url}/bytes/uploads`,
  headers: { authorization: `Bearer ${client.token}` },
  metadata: { boefje_meta_id: job, filename: 'large.bin', tags: '["application/large"]' },
  chunkSize: MEBIBYTE,
  retryDelays: Array.from({ length: 1_000 }, () => 50),
})

/** Uploads to the end. */
function upload(content: Buffer, options: UploadOptions): Promise<HttpResponse> {
  return new Promise((resolve, reject) => {
    const { onError: _, ...rest } = options
    new Upload(content, {
      ...rest,
      onError: reject,
      onSuccess: ({ lastResponse }) => resolve(lastResponse),
    }).start()
  })
}

async function expectStored(answer: HttpResponse, content: Buffer): Promise<void> {
  const id = answer.getHeader('Bytes-Raw-Id')
  const stored = await client.request(`/bytes/raw/${id}`)
  expect(stored.status).toBe(200)
  const digest = (bytes: Uint8Array) => createHash('sha512').update(bytes).digest('hex')
  expect(digest(new Uint8Array(await stored.arrayBuffer()))).toBe(digest(content))
}

it.each([
  ['in chunks', {}],
  ['in one piece', { chunkSize: Number.POSITIVE_INFINITY }],
  ['with its creation', { uploadDataDuringCreation: true }],
  ['with another method', { overridePatchMethod: true }],
])('a file %s', async (_, options) => {
  const content = randomBytes(3 * MEBIBYTE + 7)
  const answer = await upload(content, { ...settings(await client.job()), ...options })
  await expectStored(answer, content)
})

it('a file of no bytes', async () => {
  const answer = await upload(Buffer.alloc(0), settings(await client.job()))
  await expectStored(answer, Buffer.alloc(0))
})

it('goes on where it was when the server is killed in the middle', async () => {
  const content = randomBytes(20 * MEBIBYTE)
  const offsets: number[] = []
  let restarted: Promise<void> | undefined
  const answer = await upload(content, {
    ...settings(await client.job()),
    onProgress: (sent) => {
      // In the middle of a chunk.
      if (sent > 9.5 * MEBIBYTE) restarted ??= service.kill().then(start)
    },
    onAfterResponse: (request, response) => {
      if (request.getMethod() === 'HEAD') offsets.push(Number(response.getHeader('Upload-Offset')))
    },
  })
  await restarted
  expect(offsets.length).toBeGreaterThan(0)
  expect(offsets[0]).toBeGreaterThanOrEqual(9 * MEBIBYTE)
  await expectStored(answer, content)
})

it('goes on with a new client that knows its address', async () => {
  const content = randomBytes(5 * MEBIBYTE)
  const options = settings(await client.job())
  const uploadUrl = await new Promise<string>((resolve, reject) => {
    const first = new Upload(content, {
      ...options,
      onError: reject,
      onChunkComplete: (_, accepted) => {
        if (accepted < 2 * MEBIBYTE) return
        first.abort().then(() => resolve(first.url ?? ''), reject)
      },
    })
    first.start()
  })
  let sent = 0
  const answer = await upload(content, {
    ...options,
    uploadUrl,
    onChunkComplete: (size) => {
      sent += size
    },
  })
  expect(sent).toBeGreaterThan(0)
  expect(sent).toBeLessThanOrEqual(3 * MEBIBYTE)
  await expectStored(answer, content)

  await Upload.terminate(uploadUrl, options)
  const gone = await client.request(new URL(uploadUrl).pathname, {
    method: 'HEAD',
    headers: { 'tus-resumable': '1.0.0' },
  })
  expect(gone.status).toBe(404)
})

it('ends with the refusal of a job that is not there', async () => {
  const content = randomBytes(100)
  const options = settings('01234567-89ab-cdef-0123-456789abcdef')
  await expect(upload(content, options)).rejects.toThrow('Boefje meta not found')
})

it('ends when its job is deleted before the last byte, also when it is resumed', async () => {
  const job = await client.job()
  const content = randomBytes(3 * MEBIBYTE)
  let uploadUrl = ''
  let patches = 0
  const options: UploadOptions = {
    ...settings(job),
    onBeforeRequest: async (request) => {
      if (request.getMethod() !== 'PATCH') return
      uploadUrl = request.getURL()
      if (++patches === 3) {
        await query(store.databaseUri, 'DELETE FROM boefje_meta WHERE id = $1', [job])
      }
    },
  }
  await expect(upload(content, options)).rejects.toThrow('Boefje meta not found')
  // Its upload is refused by HEAD, and a new one at its creation.
  await expect(upload(content, { ...options, uploadUrl })).rejects.toThrow('Boefje meta not found')
  expect(patches).toBe(3)
})
