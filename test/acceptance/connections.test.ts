/** Connections that do not go the usual way: pipelined, malformed half-way, or waiting for leave. */
import { randomUUID } from 'node:crypto'
import { readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, login } from '../support/client.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { base64, errorsLogged, eventually, openWire } from './helpers.js'
import { contentOf, sendBody } from './streaming-helpers.js'

const MIB = 1024 * 1024
const MAX_BODY = 40 * MIB
const SIZE = 30 * MIB
const OCTETS = 'application/octet-stream'
const NO_JOB = '00000000-0000-4000-8000-000000000000'

let store: TestStore
let service: TestService
let client: Client
let job: string
let raw: string

beforeAll(async () => {
  store = await testStore()
  service = await store.start({ BYTES_MAX_BODY_BYTES: String(MAX_BODY) })
  client = await login(service.url)
  job = await client.job()
  const authorization = `Bearer ${client.token}`
  const stored = await sendBody(
    service.url,
    `/bytes/raw?boefje_meta_id=${job}&tag=x`,
    { authorization, 'content-type': OCTETS },
    contentOf(SIZE),
  )
  raw = (JSON.parse(stored.text) as { file: string }).file
})

afterAll(async () => {
  expect(errorsLogged(service.log())).toEqual([])
  await store.remove()
})

/** The head of a request; a header that is empty is left out. */
function headOf(method: string, path: string, headers: Record<string, string> = {}): string {
  const all = { host: 'x', authorization: `Bearer ${client.token}`, ...headers }
  const lines = Object.entries(all).filter(([, value]) => value !== '')
  return `${method} ${path} HTTP/1.1\r\n${lines.map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n`
}

const heads = (received: string): string[] => received.match(/HTTP\/1\.1 \d+/g) ?? []

async function openBlobs(): Promise<number> {
  const folder = `/proc/${service.process.pid}/fd`
  const links = (await readdir(folder)).map((fd) => readlink(join(folder, fd)).catch(() => ''))
  return (await Promise.all(links)).filter((path) => path.includes('/blobs/')).length
}

describe.runIf(process.platform === 'linux')('answers that queue behind another one', () => {
  it.each([
    ['downloads', () => `/bytes/raw/${raw}`],
    ['lists with contents', () => `/bytes/raws?boefje_meta_id=${job}`],
  ])('let go of their files when the connection ends: %s', async (_, path) => {
    const wires = await Promise.all(Array.from({ length: 5 }, () => openWire(service.url)))
    for (const wire of wires) {
      wire.socket.pause()
      wire.write(headOf('GET', `/bytes/raw/${raw}`) + headOf('GET', path()).repeat(3))
    }
    await eventually(async () => (await openBlobs()) === 20, 'all files are being read')
    for (const wire of wires) wire.socket.destroy()
    await eventually(async () => (await openBlobs()) === 0, 'all files are closed')
  })

  it('have no content for HEAD, and leave no file open', async () => {
    const path = `/bytes/raws?boefje_meta_id=${job}`
    const wire = await openWire(service.url)
    wire.write(headOf('HEAD', path).repeat(2) + headOf('HEAD', path, { connection: 'close' }))
    const received = await wire.ended
    expect(heads(received)).toEqual(Array.from({ length: 3 }, () => 'HTTP/1.1 200'))
    expect(received).not.toContain('COMPLETED')
    expect(await openBlobs()).toBe(0)
  })

  it('come one after the other', async () => {
    const wire = await openWire(service.url)
    wire.write(headOf('GET', `/bytes/raw/${raw}`, { range: 'bytes=0-2' }).repeat(20))
    wire.write(headOf('GET', '/health/live', { connection: 'close' }))
    expect(heads(await wire.ended)).toEqual([
      ...Array.from({ length: 20 }, () => 'HTTP/1.1 206'),
      'HTTP/1.1 200',
    ])
  })
})

describe('a body that turns out to be malformed', () => {
  const chunked = { 'transfer-encoding': 'chunked', 'content-type': OCTETS }

  it('when the answer is under way cuts it, with no second answer in it', async () => {
    const wire = await openWire(service.url)
    wire.write(headOf('GET', `/bytes/raw/${raw}`, chunked))
    await wire.received(/\r\n\r\n/)
    wire.write('no chunk\r\n')
    const received = await wire.ended
    expect(heads(received)).toEqual(['HTTP/1.1 200'])
    expect(received.length).toBeLessThan(SIZE)
  })

  it('after the answer ends the connection without another', async () => {
    const wire = await openWire(service.url)
    wire.write(headOf('POST', `/bytes/raw?boefje_meta_id=${NO_JOB}&tag=x`, chunked))
    await wire.received(/not found"\}/)
    wire.write('no chunk\r\n')
    expect(heads(await wire.ended)).toEqual(['HTTP/1.1 404'])
  })

  it('before the answer gets one', async () => {
    const wire = await openWire(service.url)
    wire.write(headOf('POST', `/bytes/raw?boefje_meta_id=${job}&tag=malformed`, chunked))
    wire.write('3\r\nabc\r\nno chunk\r\n')
    expect(heads(await wire.ended)).toEqual(['HTTP/1.1 400'])
  })
})

describe('a refusal on a connection that ends with it reaches a client that is still sending', () => {
  const length = MAX_BODY - 1
  const upload = (id: string) => `/bytes/raw?boefje_meta_id=${id}&tag=x`
  const close = (n: number) => ({ connection: 'close', 'content-length': String(n) })

  /** Sends a whole body before it reads anything, as simple clients do. */
  async function sendFirst(head: string, size: number, tail = ''): Promise<string> {
    const wire = await openWire(service.url)
    wire.socket.pause()
    wire.write(head)
    for await (const piece of contentOf(size)) {
      await new Promise<void>((resolve, reject) => {
        wire.socket.write(piece, (error) => (error ? reject(error) : resolve()))
      })
    }
    wire.write(tail)
    wire.socket.resume()
    return wire.ended
  }

  it.each<[string, string, () => string]>([
    [
      '401',
      'without a token',
      () => headOf('POST', upload(job), { ...close(length), authorization: '' }),
    ],
    ['404', 'for no such job', () => headOf('POST', upload(NO_JOB), close(length))],
    ['422', 'without a job', () => headOf('POST', '/bytes/raw', close(length))],
    [
      '404',
      'in HTTP/1.0',
      () =>
        headOf('POST', upload(NO_JOB), { 'content-length': String(length) }).replace('1.1', '1.0'),
    ],
    [
      '400',
      'with chunks in HTTP/1.0',
      () =>
        `${headOf('POST', upload(job), { 'transfer-encoding': 'chunked' }).replace('1.1', '1.0')}${length.toString(16)}\r\n`,
    ],
    [
      '401',
      'though it waits for leave',
      () =>
        headOf('POST', upload(job), {
          expect: '100-continue',
          'content-length': String(length),
          authorization: '',
        }),
    ],
  ])('%s %s', async (status, _, head) => {
    const tail = head().includes('chunked') ? '\r\n0\r\n\r\n' : ''
    expect(heads(await sendFirst(head(), length, tail))).toEqual([`HTTP/1.1 ${status}`])
  })

  it('413 beyond the limit', async () => {
    const head = headOf('POST', upload(job), close(2 * MAX_BODY))
    expect(heads(await sendFirst(head, 2 * MAX_BODY))).toEqual(['HTTP/1.1 413'])
  })
})

describe('a client that waits for leave to send its body', () => {
  const waiting = (length: number) => ({
    expect: '100-continue',
    'content-type': OCTETS,
    'content-length': String(length),
  })
  const upload = (id: string) => `/bytes/raw?boefje_meta_id=${id}&tag=expect`
  const tus = {
    'tus-resumable': '1.0.0',
    'content-type': 'application/offset+octet-stream',
    'upload-offset': '0',
  }
  const created = (id: string, length: number) => ({
    'upload-length': String(length),
    'upload-metadata': `boefje_meta_id ${base64(id)}`,
  })

  it('gets it, and then the answer', async () => {
    const wire = await openWire(service.url)
    wire.write(headOf('POST', upload(await client.job()), waiting(4)))
    await wire.received(/^HTTP\/1\.1 100 Continue\r\n\r\n/)
    wire.write('body')
    expect(heads(await wire.received(/"\}/))).toEqual(['HTTP/1.1 100', 'HTTP/1.1 200'])
    // The connection goes on.
    wire.write(
      headOf('POST', '/bytes/uploads', { ...tus, ...waiting(3), ...tus, ...created(job, 3) }),
    )
    await wire.received(/HTTP\/1\.1 100[\s\S]*HTTP\/1\.1 100/)
    wire.write('abc')
    const all = await wire.received(/bytes-raw-id: [0-9a-f-]{36}\r\n[\s\S]*\r\n\r\n/i)
    expect(heads(all).slice(2)).toEqual(['HTTP/1.1 100', 'HTTP/1.1 201'])
    wire.socket.destroy()
  })

  it.each<[string, string, () => [method: string, path: string, headers: Record<string, string>]]>([
    ['401', 'without a token', () => ['POST', upload(job), { authorization: '' }]],
    ['404', 'for a job that is not there', () => ['POST', upload(NO_JOB), {}]],
    ['413', 'when it is too long', () => ['POST', upload(job), waiting(MAX_BODY + 1)]],
    ['415', 'when it is compressed', () => ['POST', upload(job), { 'content-encoding': 'gzip' }]],
    ['405', 'for no such method', () => ['PUT', upload(job), {}]],
    ['404', 'for no such upload', () => ['PATCH', `/bytes/uploads/${randomUUID()}`, tus]],
    [
      '404',
      'for no such job',
      () => ['POST', '/bytes/uploads', { ...tus, ...created(NO_JOB, MIB) }],
    ],
    ['413', 'beyond the end', () => ['POST', '/bytes/uploads', { ...tus, ...created(job, 1) }]],
  ])('gets the refusal instead: %s %s', async (status, _, request) => {
    const [method, path, headers] = request()
    const wire = await openWire(service.url)
    wire.write(headOf(method, path, { ...waiting(MIB), ...headers }))
    expect(heads(await wire.received(/\}/))).toEqual([`HTTP/1.1 ${status}`])
    // The body may come, or not: nothing else can on this connection.
    expect(await wire.ended).toMatch(/\r\nconnection: close\r\n/i)
  })
})
