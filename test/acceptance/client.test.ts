/** The client `bytes/client`, and the commands that use it, with the real program. */
import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, login } from '../support/client.js'
import {
  PASSWORD,
  runProcess,
  spawnProcess,
  type TestService,
  type TestStore,
  testStore,
  USERNAME,
} from '../support/service.js'
import { startProxy, type TcpProxy } from '../support/tcp-proxy.js'
import { errorsLogged, eventually, filesBelow } from './helpers.js'

/** Of the built package, what is used here. */
interface BytesClient {
  createJob(job: object): Promise<{ id: string }>
  getJob(id: string): Promise<{ id: string; organization: string }>
  upload(options: object): Promise<{ id: string; size: number; digest: string }>
  uploadResumable(options: object): Promise<{ id: string; size: number; digest: string }>
  download(id: string, target: unknown, options?: object): Promise<{ digest: string }>
  stat(id: string): Promise<{ size: number; digest: string; fileName: string | undefined }>
  hasBlob(digest: string, organization: string): Promise<boolean>
  listRawFiles(filter: object): AsyncIterable<{ id: string }>
  rawFile(id: string): Promise<{ mime_types: { value: string }[] }>
  verify(id: string): Promise<{ passed: boolean; secureHash: { expected: string } }>
}
const BUILT = new URL('../../dist/client.js', import.meta.url).href
const { createClient } = (await import(BUILT)) as { createClient(options: object): BytesClient }

const MEBIBYTE = 1024 * 1024

let store: TestStore
let service: TestService
let plain: Client
let client: BytesClient
let folder: string

beforeAll(async () => {
  store = await testStore()
  service = await store.start()
  plain = await login(service.url)
  client = createClient({ url: service.url, username: USERNAME, password: PASSWORD })
  folder = await mkdtemp(join(tmpdir(), 'bytes-test-client-'))
})

afterAll(async () => {
  await store?.remove()
  if (folder) await rm(folder, { recursive: true, force: true })
})

const contentOf = async (id: string): Promise<Buffer> => {
  const answer = await plain.request(`/bytes/raw/${id}`)
  expect(answer.status).toBe(200)
  return Buffer.from(await answer.arrayBuffer())
}
const fileOf = async (content: Uint8Array): Promise<string> => {
  const path = join(folder, randomUUID())
  await writeFile(path, content)
  return path
}
/** A client whose connections can be cut. */
const throughProxy = async (): Promise<{ proxy: TcpProxy; cutOff: BytesClient }> => {
  const { hostname, port } = new URL(service.url)
  const proxy = await startProxy(hostname, Number(port))
  const url = `http://127.0.0.1:${proxy.port}`
  return { proxy, cutOff: createClient({ url, username: USERNAME, password: PASSWORD }) }
}

describe('the client', () => {
  it('stores a job', async () => {
    const now = new Date().toISOString()
    const job = { organization: 'jobs', started_at: now, ended_at: now, boefje: { id: 'b' } }
    const { id } = await client.createJob(job)
    expect(await client.getJob(id)).toMatchObject({ id, organization: 'jobs' })
  })

  it.each([0, 1, 5 * MEBIBYTE])(
    'stores %i bytes from a path, memory and a stream',
    async (size) => {
      const content = randomBytes(size)
      const blob = new Blob([content])
      const sources = [await fileOf(content), new Uint8Array(content), blob, blob.stream()]
      const jobId = await plain.job('uploads')
      for (const [i, source] of sources.entries()) {
        const tags = [`text/${i}`, 'näme']
        const { id, digest } = await client.upload({ jobId, source, name: `ñ ${i}.txt`, tags })
        expect((await contentOf(id)).equals(content)).toBe(true)
        expect(await client.stat(id)).toMatchObject({ size, digest })
        expect(await client.hasBlob(digest, 'uploads')).toBe(true)
        expect(await client.hasBlob(digest, 'others')).toBe(false)
        const types = (await client.rawFile(id)).mime_types.map(({ value }) => value)
        expect(types.sort()).toEqual([...tags].sort())
        expect(await client.verify(id)).toMatchObject({ passed: true })
      }
    },
  )

  it('gives the raw file that is there, and tells when it has other content', async () => {
    const jobId = await plain.job()
    const first = await client.upload({ jobId, source: Buffer.from('a'), tags: ['t'] })
    const again = await client.upload({ jobId, source: Buffer.from('a'), tags: ['t'] })
    expect(again.id).toBe(first.id)
    const other = client.upload({ jobId, source: Buffer.from('b'), tags: ['t'] })
    await expect(other).rejects.toMatchObject({ code: 'content_differs' })
  })

  it('tells what the service refuses, and its request id', async () => {
    const upload = client.upload({ jobId: randomUUID(), source: Buffer.from('a') })
    const error = await upload.catch((found: unknown) => found)
    expect(error).toMatchObject({ code: 'not_found', status: 404 })
    const { requestId } = error as { requestId: string }
    await eventually(() => service.log().includes(requestId), 'the refusal is logged')
    await expect(client.stat(randomUUID())).rejects.toMatchObject({ code: 'not_found' })
    const wrong = createClient({ url: service.url, username: USERNAME, password: 'wrong' })
    await expect(wrong.stat(randomUUID())).rejects.toMatchObject({ code: 'unauthorized' })
  })

  it('tells of a content that is too long, however it is sent', async () => {
    const small = await store.start({ BYTES_MAX_BODY_BYTES: String(MEBIBYTE) })
    const other = createClient({ url: small.url, username: USERNAME, password: PASSWORD })
    const content = randomBytes(20 * MEBIBYTE)
    const path = await fileOf(content)
    const jobId = await plain.job()
    for (const upload of [
      () => other.upload({ jobId, source: path, resumable: false }),
      () => other.upload({ jobId, source: new Blob([content]).stream() }),
      () => other.uploadResumable({ jobId, path }),
    ]) {
      await expect(upload()).rejects.toMatchObject({ code: 'too_large', status: 413 })
    }
    expect(await small.stop()).toBe(0)
  })

  it('uses a token until it is refused, and gets another', async () => {
    const secret = { BYTES_SECRET: 'another secret that signs other tokens' }
    const two = await store.start(secret)
    let target = service.url
    const other = createClient({
      url: service.url,
      username: USERNAME,
      password: PASSWORD,
      fetch: (url: URL, init: RequestInit) => fetch(url.href.replace(service.url, target), init),
    })
    const jobId = await plain.job()
    expect((await other.getJob(jobId)).id).toBe(jobId)
    target = two.url
    const source = await fileOf(randomBytes(MEBIBYTE))
    expect((await other.upload({ jobId, source })).size).toBe(MEBIBYTE)
    expect(await two.stop()).toBe(0)
  })

  it('lists more raw files than fit a page', async () => {
    const jobId = await plain.job('lists')
    const files = Array.from({ length: 250 }, (_, i) => ({
      name: `${i}`,
      content: 'x',
      tags: [`${i}`],
    }))
    const ids = Object.values(await plain.upload(jobId, files))
    const found: string[] = []
    for await (const { id } of client.listRawFiles({ organization: 'lists' })) found.push(id)
    expect(found.length).toBe(250)
    expect(found.sort()).toEqual(ids.sort())
  })

  it('stores a file in chunks, though the connection is cut', async () => {
    const content = randomBytes(70 * MEBIBYTE)
    const path = await fileOf(content)
    const { proxy, cutOff } = await throughProxy()
    const cuts = [10 * MEBIBYTE, 50 * MEBIBYTE]
    let cutting: Promise<void> = Promise.resolve()
    const { id } = await cutOff.upload({
      jobId: await plain.job(),
      source: path,
      resumable: true,
      onProgress: ({ sent }: { sent: number }) => {
        if (sent < (cuts[0] ?? Number.POSITIVE_INFINITY)) return
        cuts.shift()
        cutting = proxy.cut().then(() => proxy.restore())
      },
    })
    await cutting
    expect(cuts).toEqual([])
    expect((await contentOf(id)).equals(content)).toBe(true)
    await proxy.cut()
  })

  it.each([0, 1, 3 * MEBIBYTE])('stores %i bytes in chunks', async (size) => {
    const content = randomBytes(size)
    const jobId = await plain.job()
    const path = await fileOf(content)
    const { id } = await client.uploadResumable({ jobId, path, chunkSize: MEBIBYTE, name: 'n' })
    expect((await contentOf(id)).equals(content)).toBe(true)
    expect((await client.stat(id)).fileName).toBe('n')
  })

  it('goes on with an upload that another began', async () => {
    const content = randomBytes(5 * MEBIBYTE)
    const path = await fileOf(content)
    const jobId = await plain.job()
    const controller = new AbortController()
    let resumeFrom = ''
    const begun = client.uploadResumable({
      jobId,
      path,
      chunkSize: MEBIBYTE,
      keep: true,
      signal: controller.signal,
      onUploadUrl: (url: string) => {
        resumeFrom = url
      },
      onProgress: ({ sent }: { sent: number }) => {
        if (sent > 3 * MEBIBYTE) controller.abort()
      },
    })
    await expect(begun).rejects.toMatchObject({ code: 'aborted' })
    const other = createClient({ url: service.url, username: USERNAME, password: PASSWORD })
    let least = Number.POSITIVE_INFINITY
    const { id } = await other.uploadResumable({
      jobId,
      path,
      resumeFrom,
      chunkSize: MEBIBYTE,
      onProgress: ({ sent }: { sent: number }) => {
        least = Math.min(least, sent)
      },
    })
    expect(least).toBeGreaterThanOrEqual(3 * MEBIBYTE)
    expect((await contentOf(id)).equals(content)).toBe(true)
  })

  it('reads a file, though the connection is cut', async () => {
    const content = randomBytes(20 * MEBIBYTE)
    const jobId = await plain.job()
    const { id } = await client.upload({ jobId, source: new Uint8Array(content) })
    const { proxy, cutOff } = await throughProxy()
    const cuts = [2 * MEBIBYTE, 9 * MEBIBYTE]
    let cutting: Promise<void> = Promise.resolve()
    const path = join(folder, 'cut')
    let last = 0
    await cutOff.download(id, path, {
      onProgress: ({ received }: { received: number }) => {
        expect(received).toBeGreaterThan(last)
        last = received
        if (received < (cuts[0] ?? Number.POSITIVE_INFINITY)) return
        cuts.shift()
        cutting = proxy.cut().then(() => proxy.restore())
      },
    })
    await cutting
    expect(cuts).toEqual([])
    expect((await readFile(path)).equals(content)).toBe(true)
    expect((await readdir(folder)).filter((name) => name.endsWith('.part'))).toEqual([])
    await proxy.cut()
  })
})

it('does what the documentation shows', async () => {
  const page = await readFile(new URL('../../docs/api.md', import.meta.url), 'utf8')
  const section = page.slice(page.indexOf('\n## Client library\n'))
  const example = (/```ts\n([\s\S]*?)```/.exec(section)?.[1] ?? '')
    .replace("'bytes/client'", JSON.stringify(BUILT))
    .replace('http://127.0.0.1:8002', service.url)
  const place = await mkdtemp(join(folder, 'example-'))
  await writeFile(join(place, 'example.mjs'), example)
  await writeFile(join(place, 'answer.txt'), 'example.com. 3600 IN A 192.0.2.1\n')
  const env = { BYTES_USERNAME: USERNAME, BYTES_PASSWORD: PASSWORD }
  const run = promisify(execFile)
  const shown = await run(process.execPath, ['example.mjs'], { cwd: place, env })
  expect([shown.stderr, shown.stdout]).toEqual([
    '',
    expect.stringMatching(/^[0-9a-f-]{36} sha512:4397b3b5fc[0-9a-f]+ true\n$/),
  ])
  expect(await readFile(join(place, 'copy.txt'), 'utf8')).toContain('192.0.2.1')
  const wrong = { ...env, BYTES_PASSWORD: 'wrong' }
  const refused = await run(process.execPath, ['example.mjs'], { cwd: place, env: wrong })
  expect(refused.stderr).toMatch(/^unauthorized Incorrect username or password /)
})

describe('the commands', () => {
  const environment = (): Record<string, string> => ({
    BYTES_URL: service.url,
    BYTES_USERNAME: USERNAME,
    BYTES_PASSWORD: PASSWORD,
  })
  const bytes = (...args: string[]) => runProcess(args, environment())

  it('put, get and verify a file', async () => {
    const content = randomBytes(300_000)
    const path = await fileOf(content)
    const put = await bytes(
      'put',
      path,
      '--organization',
      'acme',
      '--tag',
      'a/b',
      '--name',
      'n.bin',
    )
    expect([put.code, put.stderr]).toEqual([0, ''])
    const id = /^([0-9a-f-]{36}) {2}n\.bin\n$/.exec(put.stdout)?.[1] ?? put.stdout
    expect((await contentOf(id)).equals(content)).toBe(true)

    const out = join(folder, 'got')
    expect(await bytes('get', id, '-o', out)).toEqual({ code: 0, stdout: '', stderr: '' })
    expect((await readFile(out)).equals(content)).toBe(true)
    const again = await bytes('get', id, '-o', out)
    expect([again.code, again.stdout]).toEqual([1, ''])
    expect(again.stderr).toMatch(/^bytes: .*got is there already: use --force to .*\n$/)
    expect((await bytes('get', id, '-o', out, '--force')).code).toBe(0)

    const child = spawnProcess(['get', id], environment())
    const chunks: Buffer[] = []
    child.stdout?.on('data', (chunk) => chunks.push(chunk))
    expect((await once(child, 'close'))[0]).toBe(0)
    expect(Buffer.concat(chunks).equals(content)).toBe(true)

    const verify = await bytes('verify', id)
    expect([verify.code, verify.stderr]).toEqual([0, ''])
    expect(verify.stdout).toMatch(
      /^content digest +ok +sha512:.*\nsecure hash +ok +sha512:.*\ntimestamp +- +none: .*\nunverifiable: .*\n$/,
    )
  })

  it('put several files, and what comes in', async () => {
    const paths = [await fileOf(Buffer.from('one')), await fileOf(Buffer.from('two'))]
    const put = await bytes('put', ...paths, '--organization', 'acme', '--json')
    const stored = put.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect([put.code, stored.map(({ size }) => size)]).toEqual([0, [3, 3]])
    expect(new Set(stored.map(({ job }) => job)).size).toBe(2)

    const args = ['put', '-', '--job', stored[0].job, '--tag', 'x/y']
    const piped = await runProcess(args, environment(), randomBytes(2 * MEBIBYTE))
    expect([piped.code, piped.stdout]).toEqual([0, expect.stringMatching(/^\S{36} {2}stdin\n$/)])
    expect((await contentOf(piped.stdout.slice(0, 36))).length).toBe(2 * MEBIBYTE)
  })

  it('fail with one line, and no secret', async () => {
    const failures = [
      await bytes('get', randomUUID()),
      await bytes('verify', randomUUID()),
      await bytes('put', join(folder, 'none'), '--organization', 'o'),
      await bytes('put', '/dev/null', '--job', randomUUID()),
      await runProcess(['get', 'x'], { ...environment(), BYTES_URL: 'http://127.0.0.1:1' }),
      await runProcess(['get', 'x'], { ...environment(), BYTES_PASSWORD: 'wrong-password' }),
    ]
    for (const { code, stdout, stderr } of failures) {
      expect([code, stdout]).toEqual([1, ''])
      expect(stderr).toMatch(/^bytes: [^\n]+\n$/)
      expect(stderr).not.toMatch(/wrong-password/)
      expect(stderr).not.toContain(PASSWORD)
    }
  })

  it.each([
    ['put'],
    ['put', 'x'],
    ['get'],
    ['get', 'a', 'b'],
    ['evidence'],
    ['evidence', 'a', '-o', ''],
    ['verify', '--nonsense'],
  ])('%s %s is a mistake', async (...args) => {
    const { code, stdout, stderr } = await runProcess(args, {})
    expect([code, stdout]).toEqual([64, ''])
    expect(stderr).toMatch(/^bytes: .*\nTry: bytes \w+ --help\n$/)
  })

  it.each(['put', 'get', 'evidence', 'verify', 'serve', 'migrate', 'sql'])(
    '%s tells of itself',
    async (name) => {
      const { code, stdout, stderr } = await runProcess([name, '--help'], {})
      expect([code, stderr]).toEqual([0, ''])
      expect(stdout).toMatch(new RegExp(`^Usage: bytes ${name}\\b`))
    },
  )

  it.each([
    [['help'], /^Usage: bytes \[command\]/],
    [['help', 'put'], /^Usage: bytes put /],
  ])('%s tells', async (args, text) => {
    const { code, stdout, stderr } = await runProcess(args, {})
    expect([code, stdout, stderr]).toEqual([0, expect.stringMatching(text), ''])
  })

  it.each([['nonsense\u001b[2J'], ['help', 'nonsense'], ['--nonsense']])(
    '%s %s is unknown, and says so in a line',
    async (...args) => {
      const { code, stdout, stderr } = await runProcess(args, {})
      expect([code, stdout]).toEqual([64, ''])
      expect(stderr).toMatch(/^bytes: \P{Cc}*nonsense\P{Cc}*\nTry: bytes --help\n$/u)
    },
  )

  it.each(['/docs', '/bytes'])('tell that %s is not where a service is', async (path) => {
    const env = { ...environment(), BYTES_URL: `${service.url}${path}` }
    const { code, stderr } = await runProcess(['get', randomUUID()], env)
    expect([code, stderr]).toEqual([78, expect.stringMatching(/not look like a Bytes service/)])
  })

  it('put of what is read to its end, whatever it says of its size', async () => {
    const put = await bytes('put', '/proc/version', '--organization', 'acme')
    expect([put.code, put.stderr]).toEqual([0, ''])
    const expected = await readFile('/proc/version')
    expect((await contentOf(put.stdout.slice(0, 36))).equals(expected)).toBe(true)
  })

  it('put that is interrupted leaves nothing on the service', async () => {
    const path = join(folder, 'huge')
    await writeFile(path, '')
    await truncate(path, 2 * 1024 * MEBIBYTE)
    const uploads = join(store.dataDir, 'uploads')
    const lengths = async () => (await filesBelow(uploads).catch(() => [])).length
    const before = await lengths()
    const child = spawnProcess(['put', path, '--organization', 'acme'], environment())
    // Bytes have come: so the client knows where its upload is.
    const begun = async () => {
      const data = (await filesBelow(uploads)).filter((name) => name.endsWith('.data'))
      const sizes = await Promise.all(
        data.map(async (name) => (await stat(join(uploads, name))).size),
      )
      return sizes.some((size) => size > 0)
    }
    await eventually(() => begun().catch(() => false), 'it has begun')
    child.kill('SIGINT')
    const [, signal] = await once(child, 'close')
    expect(signal).toBe('SIGINT')
    await eventually(async () => (await lengths()) === before, 'it is removed')
    await rm(path)
  })

  it('get ends quietly when nobody reads its output any more', async () => {
    const source = randomBytes(20 * MEBIBYTE)
    const { id } = await client.upload({ jobId: await plain.job(), source })
    const child = spawnProcess(['get', id], environment())
    let stderr = ''
    child.stderr?.on('data', (chunk) => {
      stderr += chunk
    })
    child.stdout?.once('data', () => child.stdout?.destroy())
    const [code] = await once(child, 'close')
    expect([code, stderr]).toEqual([141, ''])
  })

  it('need credentials, and take those that the service made', async () => {
    const dataDir = await mkdtemp(join(folder, 'data-'))
    const { BYTES_URL = '' } = environment()
    const use = () => runProcess(['verify', randomUUID()], { BYTES_URL, BYTES_DATA_DIR: dataDir })
    const without = await use()
    expect([without.code, without.stderr]).toEqual([78, expect.stringMatching(/BYTES_PASSWORD/)])
    const kept = { username: USERNAME, password: PASSWORD, secret: 'x' }
    await writeFile(join(dataDir, 'credentials.json'), JSON.stringify(kept))
    expect((await use()).stderr).toMatch(/HTTP 404/)
  })

  it('verify finds a file that was damaged on the disk', async () => {
    const content = randomBytes(400_000)
    const { id, digest } = await client.upload({ jobId: await plain.job('hurt'), source: content })
    const blobs = join(store.dataDir, 'blobs')
    const name = digest.replace('sha512:', '')
    const blob = (await filesBelow(blobs)).find(
      (path) => path.includes('hurt') && path.endsWith(name),
    )
    content[300_000] = (content[300_000] ?? 0) ^ 1
    await writeFile(join(blobs, blob ?? ''), content)
    const { code, stderr } = await bytes('verify', id)
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^bytes: [^\n]+\n$/)])
    const out = join(folder, 'damaged')
    expect((await bytes('get', id, '-o', out)).code).toBe(1)
    expect(await readdir(folder)).not.toContain('damaged')
    // Nor is what a pipe gets ever complete.
    const piped = await bytes('get', id)
    expect([piped.code, piped.stderr]).toEqual([1, expect.stringMatching(/^bytes: [^\n]+\n$/)])
    const child = spawnProcess(['get', id], environment())
    let received = 0
    child.stdout?.on('data', (chunk: Buffer) => {
      received += chunk.length
    })
    await once(child, 'close')
    expect(received).toBeLessThan(content.length)
  })

  it('get leaves nothing behind when it is interrupted', async () => {
    const input = randomBytes(40 * MEBIBYTE)
    const { id } = await client.upload({ jobId: await plain.job(), source: input })
    const { proxy } = await throughProxy()
    const into = await mkdtemp(join(folder, 'interrupted-'))
    const url = `http://127.0.0.1:${proxy.port}`
    const args = ['get', id, '-o', join(into, 'out')]
    const child = spawnProcess(args, { ...environment(), BYTES_URL: url })
    await eventually(async () => (await readdir(into)).length > 0, 'it has begun')
    child.kill('SIGINT')
    const [code, signal] = await once(child, 'close')
    // It may have been faster.
    if (code !== 0) expect(signal).toBe('SIGINT')
    expect((await readdir(into)).filter((name) => name !== 'out')).toEqual([])
    await proxy.cut()
  })
})

it('the service complained of the damaged file only', () => {
  const others = errorsLogged(service.log()).filter((line) => !/damaged|wrong digest/i.test(line))
  expect(others).toEqual([])
})
