/** Transfers from and to pipes that have a name, whose other end may do nothing for long. */
import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import {
  type FileHandle,
  lstat,
  mkdtemp,
  open,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { BytesClientError, createClient } from '../../src/client/client.js'
import { openHandle } from '../../src/client/opening.js'
import { FAKE_USER, type FakeBytes, startFakeBytes } from '../support/fake-bytes.js'

const JOB = '00000000-0000-4000-8000-000000000000'
/** Longer than what a pipe holds. */
const CONTENT = Buffer.alloc(1024 * 1024, 'some bytes that repeat. ')
const WAIT = { timeout: 60_000, interval: 10 }

let fake: FakeBytes
let folder: string
let pipe: string
let client: ReturnType<typeof createClient>

beforeEach(async () => {
  fake = await startFakeBytes()
  folder = await mkdtemp(join(tmpdir(), 'bytes-test-client-'))
  pipe = join(folder, 'pipe')
  await promisify(execFile)('mkfifo', [pipe])
  client = createClient({ url: fake.url, ...FAKE_USER, pause: async () => undefined })
})

afterEach(async () => {
  await fake.close()
  await rm(folder, { recursive: true, force: true })
})

/** How many descriptors of this process are of the pipe. */
async function descriptors(): Promise<number> {
  const names = await readdir('/proc/self/fd')
  const targets = await Promise.all(
    names.map((name) => readlink(join('/proc/self/fd', name)).catch(() => '')),
  )
  return targets.filter((target) => target === pipe).length
}

const codeOf = async (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'it did not fail',
    (error: unknown) => (error instanceof BytesClientError ? error.code : error),
  )

/** One end of the pipe, which does nothing by itself and waits for nothing. */
const openEnd = (flag: 'O_RDONLY' | 'O_WRONLY'): Promise<FileHandle> =>
  vi.waitFor(() => open(pipe, constants[flag] | constants.O_NONBLOCK), WAIT)

/** Everything that is in the pipe, when the last of those who write to it has closed it. */
async function drain(handle: FileHandle): Promise<number> {
  const buffer = Buffer.alloc(64 * 1024)
  for (let size = 0; ; ) {
    const { bytesRead } = await vi.waitFor(() => handle.read(buffer), WAIT)
    if (bytesRead === 0) return size
    size += bytesRead
  }
}

describe('a download', () => {
  const stored = () => fake.store(CONTENT).id

  it.each(['pipe', 'link to a pipe'])('is written into a %s', async (what) => {
    const id = stored()
    const path = what === 'pipe' ? pipe : join(folder, 'link')
    if (path !== pipe) await symlink(pipe, path)
    for (const overwrite of [false, true]) {
      const [content] = await Promise.all([
        readFile(pipe),
        client.download(id, path, { overwrite }),
      ])
      expect(content.equals(CONTENT)).toBe(true)
      expect((await lstat(pipe)).isFIFO()).toBe(true)
    }
    expect((await readdir(folder)).length).toBe(path === pipe ? 1 : 2)
    expect(await descriptors()).toBe(0)
  })

  it('that is called off leaves a pipe that nobody has opened', async () => {
    const signal = AbortSignal.timeout(50)
    expect(await codeOf(client.download(stored(), pipe, { signal }))).toBe('aborted')
    const reader = await openEnd('O_RDONLY')
    // Whoever comes now does not find it open: that would be told as EAGAIN.
    expect((await reader.read()).bytesRead).toBe(0)
    expect(await descriptors()).toBe(1)
    await reader.close()
  })

  it('that is called off leaves a pipe that nobody reads', async () => {
    const reader = await openEnd('O_RDONLY')
    const calling = new AbortController()
    const { signal } = calling
    let received = 0
    const download = codeOf(
      client.download(stored(), pipe, {
        signal,
        onProgress: (progress) => {
          received = progress.received
        },
      }),
    )
    await vi.waitFor(() => expect(received).toBeGreaterThan(64 * 1024), WAIT)
    calling.abort()
    expect(await download).toBe('aborted')
    expect(await descriptors()).toBe(1)
    expect(await drain(reader)).toBeLessThan(CONTENT.length)
    await reader.close()
  })

  it('fails when its reader goes away', async () => {
    const reader = await openEnd('O_RDONLY')
    const download = codeOf(client.download(stored(), pipe))
    await vi.waitFor(async () => expect(await descriptors()).toBe(2), WAIT)
    await reader.close()
    expect(await download).toBe('target_failed')
    expect(await descriptors()).toBe(0)
  })
})

describe('an upload', () => {
  const upload = (signal?: AbortSignal) => client.upload({ jobId: JOB, source: pipe, signal })

  it.each([CONTENT.length, 0])('stores %i bytes that come through a pipe', async (size) => {
    const content = CONTENT.subarray(0, size)
    const [{ id }] = await Promise.all([upload(), writeFile(pipe, content)])
    expect(fake.raws.get(id)?.content.equals(content)).toBe(true)
    expect(await descriptors()).toBe(0)
  })

  it('asks the service for nothing before something comes', async () => {
    const uploading = upload()
    const writer = await openEnd('O_WRONLY')
    // What was begun before would be there first.
    for (let i = 0; i < 20; i++) await client.hasBlob(`sha512:${'0'.repeat(128)}`, 'org')
    expect(fake.sent('POST /bytes/raw')).toEqual([])
    await writer.write('x')
    await writer.close()
    expect((await uploading).size).toBe(1)
  })

  it('that is called off leaves a pipe that nobody has opened', async () => {
    expect(await codeOf(upload(AbortSignal.timeout(50)))).toBe('aborted')
    await expect(open(pipe, constants.O_WRONLY | constants.O_NONBLOCK)).rejects.toThrow('ENXIO')
  })

  it.each([0, 1])('that is called off leaves a pipe of which %i bytes have come', async (size) => {
    const calling = new AbortController()
    const uploading = codeOf(upload(calling.signal))
    const writer = await openEnd('O_WRONLY')
    if (size > 0) {
      await writer.write('x')
      await vi.waitFor(() => expect(fake.sent('POST /bytes/raw')).toHaveLength(1), WAIT)
    }
    calling.abort()
    expect(await uploading).toBe('aborted')
    await expect(writer.write('y')).rejects.toThrow('EPIPE')
    await writer.close()
  })

  it('in chunks takes no pipe', async () => {
    const error = client.uploadResumable({ jobId: JOB, path: pipe })
    expect(await codeOf(error)).toBe('source_failed')
  })
})

it('a file that opens after the call was called off is closed', async () => {
  const opening = openHandle(pipe, constants.O_RDONLY, AbortSignal.timeout(50))
  expect(await codeOf(opening)).toBe('aborted')
  const writer = await openEnd('O_WRONLY')
  await vi.waitFor(async () => expect(await descriptors()).toBe(1), WAIT)
  await writer.close()
})
