/** What bounds uploads and downloads: time, memory, disk, and how many there are. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readlink, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, login } from '../support/client.js'
import { HARD_HEAP, type TestService, type TestStore, testStore } from '../support/service.js'
import { base64, errorsLogged, eventually, openWire, send, stateOf } from './helpers.js'
import {
  BOUNDARY,
  contentOf,
  formBody,
  jsonBody,
  peakMemory,
  resetPeak,
  sendBody,
  sha512,
} from './streaming-helpers.js'

const MIB = 1024 * 1024
const OCTETS = 'application/octet-stream'

let store: TestStore

beforeAll(async () => {
  store = await testStore()
})

afterAll(() => store.remove())

interface Running {
  readonly service: TestService
  readonly client: Client
  post(
    job: string,
    body: Iterable<Uint8Array>,
    headers?: Record<string, string>,
  ): ReturnType<typeof sendBody>
}

/** Runs the service with some settings while the action lasts; it must log no other errors. */
async function withService(
  environment: Record<string, string>,
  action: (running: Running) => Promise<void>,
  expectedErrors?: RegExp,
): Promise<void> {
  const service = await store.start(environment)
  const client = await login(service.url)
  const authorization = `Bearer ${client.token}`
  await action({
    service,
    client,
    post: (job, body, headers = {}) =>
      sendBody(
        service.url,
        `/bytes/raw?boefje_meta_id=${job}&tag=x`,
        { authorization, 'content-type': OCTETS, ...headers },
        body,
      ),
  })
  const errors = errorsLogged(service.log())
  expect(errors.filter((line) => !expectedErrors?.test(line))).toEqual([])
  await service.stop()
}

/** The head of an upload that declares a length, to be continued by hand. */
const headOf = (job: string, token: string, length: number): string =>
  `POST /bytes/raw?boefje_meta_id=${job}&tag=wire HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n` +
  `Authorization: Bearer ${token}\r\nContent-Type: ${OCTETS}\r\n\r\n`

describe('a client that falls silent', () => {
  it('in the middle of a body is told so, and nothing is left', async () => {
    await withService({ BYTES_IDLE_TIMEOUT_SECONDS: '1' }, async ({ client, service }) => {
      const job = await client.job()
      const before = await stateOf(store, client)
      const wire = await openWire(service.url)
      wire.write(headOf(job, client.token, 1000) + 'x'.repeat(500))
      const answer = await wire.received(/again"\}/)
      expect(answer).toMatch(/^HTTP\/1\.1 408 /)
      expect(answer).toContain('No more of the body came for 1 seconds')
      expect(answer).toMatch(/\r\nconnection: close\r\n/i)
      await wire.ended
      expect(await stateOf(store, client)).toEqual(before)
      const login = await openWire(service.url)
      login.write('POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nusername=')
      expect(await login.received(/again"\}/)).toMatch(/^HTTP\/1\.1 408 /)
      login.socket.destroy()
    })
  })

  it('in the middle of a part of a resumable upload is told so, and may go on from there', async () => {
    await withService({ BYTES_IDLE_TIMEOUT_SECONDS: '1' }, async ({ client, service }) => {
      const headers = {
        'tus-resumable': '1.0.0',
        'content-type': 'application/offset+octet-stream',
      }
      const { 'content-type': _, ...plain } = headers
      const created = await client.request('/bytes/uploads', {
        method: 'POST',
        headers: {
          ...plain,
          'upload-length': '4',
          'upload-metadata': `boefje_meta_id ${base64(await client.job())}`,
        },
      })
      const path = created.headers.get('location') ?? ''
      const wire = await openWire(service.url)
      wire.write(
        `PATCH ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nUpload-Offset: 0\r\n` +
          Object.entries(headers)
            .map(([name, value]) => `${name}: ${value}\r\n`)
            .join('') +
          `Authorization: Bearer ${client.token}\r\n\r\nab`,
      )
      const answer = await wire.ended
      expect(answer).toMatch(/^HTTP\/1\.1 408 [\s\S]*\r\nconnection: close\r\n/i)
      expect(answer).toContain('No more of the body came for 1 seconds')
      const rest = await client.request(path, {
        method: 'PATCH',
        headers: { ...headers, 'upload-offset': '2' },
        body: 'cd',
      })
      const id = rest.headers.get('bytes-raw-id')
      expect(await (await client.request(`/bytes/raw/${id}`)).text()).toBe('abcd')
    })
  })

  it('in the head of a request, or before it, is cut off', async () => {
    const environment = { BYTES_HEADERS_TIMEOUT_SECONDS: '1', BYTES_IDLE_TIMEOUT_SECONDS: '2' }
    await withService(environment, async ({ service }) => {
      const slow = await openWire(service.url)
      slow.write('GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ')
      expect(await slow.ended).toMatch(/^HTTP\/1\.1 408 /)
      const mute = await openWire(service.url)
      expect(await mute.ended).toMatch(/^(HTTP\/1\.1 408 |$)/)
    })
  })

  it('and reads nothing of an answer is cut off, and lets go of the file', async () => {
    await withService({ BYTES_IDLE_TIMEOUT_SECONDS: '1' }, async ({ service, client, post }) => {
      const stored = await post(await client.job(), contentOf(30 * MIB))
      const { file } = JSON.parse(stored.text) as { file: string }
      const { hostname, port } = new URL(service.url)
      const socket = connect(Number(port), hostname)
      await once(socket, 'connect')
      socket.pause()
      socket.on('error', () => undefined)
      socket.write(
        `GET /bytes/raw/${file} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${client.token}\r\n\r\n`,
      )
      const open = () => openContents(service)
      await eventually(async () => (await open()) === 1, 'the file is being read')
      await eventually(async () => (await open()) === 0, 'the file is closed')
      let received = 0
      const closed = once(socket, 'close')
      socket.on('data', (chunk) => {
        received += chunk.length
      })
      socket.resume()
      await closed
      expect(received).toBeLessThan(30 * MIB)
    })
  })

  it('is not one whom the server keeps waiting', async () => {
    await withService({ BYTES_IDLE_TIMEOUT_SECONDS: '3' }, async ({ service, client }) => {
      const job = await client.job()
      const wire = await openWire(service.url)
      wire.write(headOf(job, client.token, 5))
      // Each byte within the time, and all of them not.
      for (const byte of 'bytes') {
        wire.write(byte)
        await new Promise((resolve) => setTimeout(resolve, 800))
      }
      expect(await wire.received(/\}/)).toMatch(/^HTTP\/1\.1 200 /)
      wire.socket.destroy()
    })
  })
})

/** Contents that the service has open. */
async function openContents(service: TestService): Promise<number> {
  const folder = `/proc/${service.process.pid}/fd`
  const links = (await readdir(folder)).map((fd) => readlink(join(folder, fd)).catch(() => ''))
  return (await Promise.all(links)).filter((path) => path.includes('/blobs/')).length
}

describe('verifications at the same time', () => {
  it('read few contents at once, and are all answered', async () => {
    await withService({}, async ({ service, client, post }) => {
      const stored = await post(await client.job(), contentOf(20 * MIB))
      const { file } = JSON.parse(stored.text) as { file: string }
      let most = 0
      const watch = setInterval(async () => {
        most = Math.max(most, await openContents(service))
      }, 2)
      const headers = { authorization: `Bearer ${client.token}` }
      const path = `/bytes/raw/${file}/verify`
      const all = Array.from({ length: 40 }, () => send(service.url, { path, headers }))
      const answers = await Promise.all(all)
      clearInterval(watch)
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200))
      expect(answers.every(({ text }) => text.includes('"unverifiable"'))).toBe(true)
      expect(most).toBeGreaterThan(0)
      expect(most).toBeLessThanOrEqual(4)
    })
  })
})

describe('uploads at the same time', () => {
  it('are so many at most, and the rest may come again', async () => {
    await withService({ BYTES_MAX_CONCURRENT_UPLOADS: '2' }, async ({ service, client, post }) => {
      const job = await client.job()
      const wires = await Promise.all([1, 2].map(() => openWire(service.url)))
      for (const wire of wires) wire.write(headOf(job, client.token, 1000))
      const refused = await eventually(async () => {
        const answer = await post(await client.job(), [Buffer.from('x')])
        return answer.status === 503 && answer
      }, 'one was refused')
      expect(refused.text).toMatch(/Too many uploads/)
      expect(refused.headers['retry-after']).toBe('5')
      expect((await client.request('/bytes/raw?limit=1')).status).toBe(200)
      for (const wire of wires) wire.socket.destroy()
      await eventually(
        async () => (await post(await client.job(), [Buffer.from('x')])).status === 200,
        'there is room again',
      )
    })
  })
})

describe('thousands of files in one upload', () => {
  const FILES = 3000

  it('are stored, all of them, and do not keep other uploads waiting', async () => {
    await withService({}, async ({ client, post }) => {
      const job = await client.job('thousands')
      const files = Array.from({ length: FILES }, (_, i) => ({
        name: `${i}`,
        content: `content ${i % 2900}`,
        tags: [`t/${i}`],
      }))
      const uploading = client.upload(job, files)
      expect((await post(await client.job(), [Buffer.from('small')])).status).toBe(200)
      const ids = await uploading
      expect(new Set(Object.values(ids)).size).toBe(FILES)
      // Again: each is found, and nothing is stored.
      expect(await client.upload(job, files)).toEqual(ids)
      const page = await (await client.request('/metrics')).text()
      const total = 'bytes_database_raw_files_total{organization_id="thousands"}'
      expect(page).toContain(`${total} ${FILES}.0`)
      expect(await readdir(join(store.dataDir, 'tmp'))).toEqual([])
    })
  })

  it('are refused before anything is stored when their events would be too long', async () => {
    await withService({}, async ({ client }) => {
      const job = await client.job('events', { arguments: { long: 'x'.repeat(1_000_000) } })
      const before = await stateOf(store, client)
      const files = Array.from({ length: 100 }, (_, i) => ({
        name: `${i}`,
        content: '',
        tags: [`t/${i}`],
      }))
      const answer = await client.postJson(`/bytes/raw?boefje_meta_id=${job}`, { files })
      expect([answer.status, await answer.text()]).toEqual([
        422,
        expect.stringMatching(/send them in several uploads/),
      ])
      expect(await stateOf(store, client)).toEqual(before)
    })
  })
})

describe('a body that is not as long as it says', () => {
  it('is refused when it ends early, and nothing is left', async () => {
    await withService({}, async ({ service, client }) => {
      const job = await client.job()
      const before = await stateOf(store, client)
      const wire = await openWire(service.url)
      wire.write(headOf(job, client.token, 1000) + 'x'.repeat(999))
      wire.socket.end()
      await wire.ended
      await eventually(
        async () => (await readdir(join(store.dataDir, 'tmp'))).length === 0,
        'it is gone',
      )
      expect(await stateOf(store, client)).toEqual(before)
    })
  })

  it('ends where it says when more follows, which is no request', async () => {
    await withService({}, async ({ service, client }) => {
      const job = await client.job()
      const wire = await openWire(service.url)
      wire.write(`${headOf(job, client.token, 4)}four, and more\r\n\r\n`)
      const answers = await wire.ended
      expect(answers.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200'])
      const id = /"file":"([^"]+)"/.exec(answers)?.[1]
      expect(await (await client.request(`/bytes/raw/${id}`)).text()).toBe('four')
    })
  })
})

describe('a disk', () => {
  it('keeps a reserve: uploads that would take it are refused before they are read', async () => {
    const environment = { BYTES_DISK_RESERVE_BYTES: String(2 ** 50) }
    await withService(
      environment,
      async ({ client, post }) => {
        const job = await client.job()
        for (const body of [[Buffer.from('x')], contentOf(2 * MIB)]) {
          const answer = await post(job, body)
          expect([answer.status, answer.text]).toEqual([507, expect.stringMatching(/kept free/)])
        }
        const declared = await post(job, contentOf(2 * MIB), { 'content-length': String(2 * MIB) })
        expect(declared.status).toBe(507)
        expect((await client.request('/health')).status).toBe(503)
        expect(await readdir(join(store.dataDir, 'tmp'))).toEqual([])
      },
      /storage_full/,
    )
  })

  it('that fills while files are written refuses the upload, and gives the space back', async ({
    skip,
  }) => {
    const small = await testStore()
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'none', small.dataDir])
    if (mounted.status !== 0) {
      await small.remove()
      skip('no file system may be mounted here')
    }
    try {
      const service = await small.start({ BYTES_DISK_RESERVE_BYTES: '0' })
      const client = await login(service.url)
      const job = await client.job()
      const headers = { authorization: `Bearer ${client.token}` }
      const path = `/bytes/raw?boefje_meta_id=${job}`
      const bodies = {
        [OCTETS]: () => contentOf(40 * MIB),
        'application/json': () => jsonBody(40 * MIB, 'x'),
        [`multipart/form-data; boundary=${BOUNDARY}`]: () =>
          formBody([
            { name: 'a', fileName: 'a', content: contentOf(10 * MIB) },
            { name: 'b', fileName: 'b', content: contentOf(30 * MIB) },
          ]),
      }
      for (const [type, body] of Object.entries(bodies)) {
        const sent = { ...headers, 'content-type': type }
        const answer = await sendBody(service.url, path, sent, body())
        expect([type, answer.status, answer.text]).toEqual([
          type,
          507,
          expect.stringMatching(/no space left/),
        ])
        expect(await readdir(join(small.dataDir, 'tmp'))).toEqual([])
      }
      const sent = { ...headers, 'content-type': OCTETS }
      const fits = await sendBody(service.url, path, sent, contentOf(15 * MIB))
      expect(fits.status).toBe(200)
      await service.kill()
    } finally {
      spawnSync('umount', ['-l', small.dataDir])
      await small.remove()
    }
  })
})

describe('memory', () => {
  /** Far less than any of the bodies, and more than a garbage collector needs. */
  const BOUND = 160 * MIB
  const SIZE = 450_000_000
  const PATIENT = { BYTES_IDLE_TIMEOUT_SECONDS: '600', ...HARD_HEAP }

  it('does not grow with the contents of a list that is read slowly', async () => {
    await withService(PATIENT, async ({ service, client, post }) => {
      const job = await client.job()
      expect((await post(job, contentOf(30 * MIB))).status).toBe(200)
      const pid = service.process.pid ?? 0
      await resetPeak(pid)
      const before = await peakMemory(pid)
      const wires = await Promise.all(Array.from({ length: 16 }, () => openWire(service.url)))
      const path = `/bytes/raws?boefje_meta_id=${job}`
      for (const wire of wires) {
        wire.socket.pause()
        wire.write(
          `GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${client.token}\r\n\r\n`,
        )
      }
      const answered = () => service.log().split('"path":"/bytes/raws"').length - 1
      await eventually(() => answered() === 16, 'all of them are answered')
      const { files } = (await client.getJson(path)) as { files: { content: string }[] }
      const content = Buffer.from(files[0]?.content ?? '', 'base64')
      expect(sha512([content])).toBe(sha512(contentOf(30 * MIB)))
      expect((await peakMemory(pid)) - before).toBeLessThan(BOUND)
      for (const wire of wires) wire.socket.destroy()
    })
  })

  it('does not grow with the size of a file, in or out', async () => {
    await withService(PATIENT, async ({ service, client }) => {
      const pid = service.process.pid ?? 0
      const digest = sha512(contentOf(SIZE))
      const authorization = `Bearer ${client.token}`
      const ways = {
        [OCTETS]: () => contentOf(SIZE),
        [`multipart/form-data; boundary=${BOUNDARY}`]: () =>
          formBody([{ name: 'file', fileName: 'f', content: contentOf(SIZE) }]),
        // 600 MB of base64: more than a string of JavaScript may hold.
        'application/json': () => jsonBody(SIZE, 'x'),
      }
      let last = ''
      for (const [type, body] of Object.entries(ways)) {
        const job = await client.job('memory')
        await resetPeak(pid)
        const before = await peakMemory(pid)
        const answer = await sendBody(
          service.url,
          `/bytes/raw?boefje_meta_id=${job}`,
          { authorization, 'content-type': type },
          body(),
        )
        expect([type, answer.status, answer.text]).toEqual([type, 200, expect.any(String)])
        expect((await peakMemory(pid)) - before, type).toBeLessThan(BOUND)
        last = (JSON.parse(answer.text) as { file: string }).file
        const meta = await client.getJson(`/bytes/raw/${last}/meta`)
        expect(meta).toMatchObject({ id: last })
      }
      const names = await readdir(join(store.dataDir, 'blobs/v1/memory'), { recursive: true })
      expect(names.filter((name) => name.endsWith(digest))).toHaveLength(1)

      await resetPeak(pid)
      const before = await peakMemory(pid)
      const download = await client.request(`/bytes/raw/${last}`)
      let size = 0
      for await (const piece of download.body ?? []) size += piece.length
      expect(size).toBe(SIZE)
      expect((await peakMemory(pid)) - before).toBeLessThan(BOUND)

      await resetPeak(pid)
      const base = await peakMemory(pid)
      expect(await client.getJson(`/bytes/raw/${last}/verify`)).toMatchObject({
        checks: [{ passed: true }, { passed: true }, { name: 'retrieval_link' }],
      })
      const evidence = await client.request(`/bytes/raw/${last}/evidence`)
      let archived = 0
      for await (const piece of evidence.body ?? []) archived += piece.length
      expect(String(archived)).toBe(evidence.headers.get('content-length'))
      expect(archived).toBeGreaterThan(SIZE)
      expect((await peakMemory(pid)) - base).toBeLessThan(BOUND)
    })
    await rm(join(store.dataDir, 'blobs/v1/memory'), { recursive: true })
    await mkdir(join(store.dataDir, 'blobs/v1/memory'))
  })
})

it('answers a request that has an unknown job while the body is still coming', async () => {
  await withService({}, async ({ service, client }) => {
    const wire = await openWire(service.url)
    wire.write(headOf('00000000-0000-4000-8000-000000000000', client.token, 10 * MIB))
    wire.write('x'.repeat(MIB))
    expect(await wire.received(/\}/)).toMatch(/^HTTP\/1\.1 404 /)
    // The rest is read and thrown away, so that the connection can go on.
    wire.write('x'.repeat(9 * MIB))
    wire.write('GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n')
    expect(await wire.received(/"service":"bytes"/)).toContain('HTTP/1.1 200')
    wire.socket.destroy()
    expect((await send(service.url, { path: '/health/live' })).status).toBe(200)
  })
})
