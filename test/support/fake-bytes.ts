/** A small service that speaks the protocol of Bytes from memory, and fails when it is told to. */
import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export const FAKE_USER = { username: 'fake', password: 'fake-password' }

interface RawFile {
  readonly id: string
  readonly job: string
  readonly name: string
  readonly tags: string
  content: Buffer
}

interface Upload {
  readonly length: number
  readonly metadata: Record<string, string>
  content: Buffer
  rawId?: string
}

export interface Recorded {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
}

/** Answers a request in the place of the service; false leaves it to that. */
export type Interceptor = (
  request: IncomingMessage,
  response: ServerResponse,
) => boolean | Promise<boolean>

export interface FakeBytes {
  readonly url: string
  readonly requests: Recorded[]
  /** Of these methods and paths, such as `PATCH /bytes/uploads`, in order. */
  sent(start: string): Recorded[]
  readonly jobs: Map<string, Record<string, unknown>>
  readonly raws: Map<string, RawFile>
  readonly uploads: Map<string, Upload>
  /** The tokens that are accepted. */
  readonly tokens: Set<string>
  /** The lifetime of new tokens in seconds. */
  tokenSeconds: number
  /** How far the clock of the service is ahead, in milliseconds. */
  clockAheadMs: number
  /** Tried in order; each stays until it is removed. */
  readonly interceptors: Set<Interceptor>
  /** Bytes of a body of content after which the connection is cut, each once. */
  readonly cuts: number[]
  store(content: Uint8Array | string, name?: string): RawFile
  close(): Promise<void>
}

export const sha512 = (content: Uint8Array): Buffer => createHash('sha512').update(content).digest()

export async function startFakeBytes(): Promise<FakeBytes> {
  const job = '00000000-0000-4000-8000-000000000000'
  const fake: Omit<FakeBytes, 'url' | 'close'> = {
    requests: [],
    sent: (start) =>
      fake.requests.filter(({ method, path }) => `${method} ${path}`.startsWith(start)),
    jobs: new Map([[job, exampleMeta(job)]]),
    raws: new Map(),
    uploads: new Map(),
    tokens: new Set(),
    tokenSeconds: 900,
    clockAheadMs: 0,
    interceptors: new Set(),
    cuts: [],
    store: (content, name = 'file') =>
      storeRaw({ job, name, tags: randomUUID(), content: Buffer.from(content) }),
  }
  const storeRaw = (given: Omit<RawFile, 'id'>): RawFile => {
    const same = [...fake.raws.values()].find((r) => r.job === given.job && r.tags === given.tags)
    const raw = same ?? { ...given, id: randomUUID() }
    fake.raws.set(raw.id, raw)
    return raw
  }

  const server = createServer(async (request, response) => {
    const { method = '', url = '' } = request
    fake.requests.push({ method, path: url, headers: request.headers })
    response.setHeader('x-request-id', `request-${fake.requests.length}`)
    try {
      for (const intercept of [...fake.interceptors]) {
        if (await intercept(request, response)) return
      }
      await answer(fake, storeRaw, request, response)
    } catch {
      response.destroy()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return Object.assign(fake, {
    url: `http://127.0.0.1:${port}`,
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  })
}

function exampleMeta(id: string): Record<string, unknown> {
  const times = { started_at: '2026-01-01T00:00:00Z', ended_at: '2026-01-01T00:00:01.500000Z' }
  return { id, ...times, boefje: { id: 'b', version: null }, organization: 'org', arguments: {} }
}

export async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks)
}

export function refuse(
  response: ServerResponse,
  status: number,
  detail: string,
  headers: Record<string, string> = {},
): true {
  const body = Buffer.from(JSON.stringify({ detail }))
  response.writeHead(status, { 'content-type': 'application/json', ...headers })
  response.end(body)
  return true
}

type Fake = Omit<FakeBytes, 'url' | 'close'>

async function answer(
  fake: Fake,
  storeRaw: (given: Omit<RawFile, 'id'>) => RawFile,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<unknown> {
  const { pathname, searchParams } = new URL(request.url ?? '', 'http://fake')
  const method = request.method ?? ''
  const json = (status: number, value: unknown, headers: Record<string, string> = {}): void => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers })
    response.end(JSON.stringify(value))
  }
  if (pathname === '/token') {
    const form = new URLSearchParams((await bodyOf(request)).toString())
    if (form.get('password') !== FAKE_USER.password) return refuse(response, 401, 'Incorrect')
    const token = randomUUID()
    fake.tokens.add(token)
    const now = Date.now() + fake.clockAheadMs
    response.setHeader('date', new Date(now).toUTCString())
    const expiresAt = new Date(now + fake.tokenSeconds * 1000).toISOString()
    return json(200, {
      access_token: token,
      token_type: 'bearer',
      expires_at: expiresAt.replace('Z', '000+00:00'),
    })
  }
  const token = request.headers.authorization?.replace('Bearer ', '') ?? ''
  if (!fake.tokens.has(token)) {
    request.resume()
    return refuse(response, 401, 'Could not validate credentials')
  }
  const [, , kind = '', id = '', more = ''] = pathname.split('/')
  const shown = (raw: RawFile) => ({
    id: raw.id,
    boefje_meta: fake.jobs.get(raw.job),
    mime_types: [],
    secure_hash: `sha512:${sha512(Buffer.concat([raw.content, Buffer.from('1767225601.5')])).toString('hex')}`,
    signing_provider_url: null,
    hash_retrieval_link: null,
  })

  if (kind === 'boefje_meta' && method === 'POST') {
    const meta = JSON.parse((await bodyOf(request)).toString()) as Record<string, unknown>
    fake.jobs.set(String(meta.id), { ...exampleMeta(''), ...meta })
    return json(201, { status: 'success' })
  }
  if (kind === 'boefje_meta') {
    const meta = fake.jobs.get(decodeURIComponent(id))
    return meta ? json(200, meta) : refuse(response, 404, 'Boefje meta not found')
  }
  if (kind === 'raw' && method === 'POST') {
    const job = searchParams.get('boefje_meta_id') ?? ''
    if (!fake.jobs.has(job)) return refuse(response, 404, 'Boefje meta not found')
    const content = await bodyOf(request)
    const announced = request.headers['repr-digest']
    if (announced && announced !== `sha-512=:${sha512(content).toString('base64')}:`) {
      return refuse(response, 400, 'The digest is wrong')
    }
    const name = searchParams.get('name') ?? 'file'
    const tags = JSON.stringify(searchParams.getAll('tag').sort())
    return json(200, { [name]: storeRaw({ job, name, tags, content }).id })
  }
  if (kind === 'raw' && id === '') {
    const all = [...fake.raws.values()]
    const start = Number(searchParams.get('after') ?? 0)
    const next = start + 2 < all.length ? `/bytes/raw?limit=2&after=${start + 2}` : undefined
    const link = next && `</elsewhere>; rel="prev", <${next}>; rel="next"`
    return json(200, all.slice(start, start + 2).map(shown), link ? { link } : {})
  }
  if (kind === 'raw') {
    const raw = fake.raws.get(decodeURIComponent(id))
    if (!raw) return refuse(response, 404, 'Raw file not found')
    return more === 'meta' ? json(200, shown(raw)) : content(fake, raw, request, response)
  }
  if (kind === 'blobs') {
    const hex = decodeURIComponent(id).replace('sha512:', '')
    const found = [...fake.raws.values()].some((r) => sha512(r.content).toString('hex') === hex)
    const here = found && searchParams.get('organization') === 'org'
    return response.writeHead(here ? 200 : 404).end()
  }
  if (kind === 'uploads') return tus(fake, storeRaw, id, request, response)
  return refuse(response, 404, 'Not Found')
}

function content(
  fake: Fake,
  raw: RawFile,
  request: IncomingMessage,
  response: ServerResponse,
): unknown {
  const size = raw.content.length
  const digest = sha512(raw.content)
  const etag = `"sha512:${digest.toString('hex')}"`
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
  const partial = start > 0 && request.headers['if-range'] === etag
  const part = partial ? raw.content.subarray(start) : raw.content
  response.writeHead(partial ? 206 : 200, {
    'content-type': 'application/octet-stream',
    'content-length': part.length,
    'content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(raw.name)}`,
    'repr-digest': `sha-512=:${digest.toString('base64')}:`,
    etag,
    ...(partial && { 'content-range': `bytes ${start}-${size - 1}/${size}` }),
  })
  if (request.method === 'HEAD') return response.end()
  const cut = fake.cuts.shift()
  if (cut === undefined) return response.end(part)
  return response.write(part.subarray(0, cut), () => response.destroy())
}

async function tus(
  fake: Fake,
  storeRaw: (given: Omit<RawFile, 'id'>) => RawFile,
  id: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<unknown> {
  const { method, headers } = request
  if (headers['tus-resumable'] !== '1.0.0') return refuse(response, 412, 'Tus-Resumable')
  const finish = (upload: Upload): Record<string, string> => {
    if (upload.content.length < upload.length) return {}
    const { boefje_meta_id: job = '', filename: name = 'file', tags = '[]' } = upload.metadata
    upload.rawId ??= storeRaw({ job, name, tags, content: upload.content }).id
    return { 'bytes-raw-id': upload.rawId }
  }
  if (method === 'POST') {
    await bodyOf(request)
    const metadata = Object.fromEntries(
      String(headers['upload-metadata'])
        .split(',')
        .map((pair) => pair.trim().split(' '))
        .map(([key, value = '']) => [key, Buffer.from(value, 'base64').toString()]),
    ) as Record<string, string>
    if (!fake.jobs.has(metadata.boefje_meta_id ?? '')) {
      return refuse(response, 404, 'Boefje meta not found')
    }
    const name = randomUUID()
    fake.uploads.set(name, {
      length: Number(headers['upload-length']),
      metadata,
      content: Buffer.alloc(0),
    })
    return response.writeHead(201, { location: `/bytes/uploads/${name}` }).end()
  }
  const upload = fake.uploads.get(id)
  if (!upload) {
    request.resume()
    return refuse(response, 404, 'There is no such upload')
  }
  const state = (): Record<string, string> => ({
    'upload-offset': String(upload.content.length),
    'upload-length': String(upload.length),
  })
  if (method === 'HEAD') return response.writeHead(200, { ...finish(upload), ...state() }).end()
  if (method === 'DELETE') {
    fake.uploads.delete(id)
    return response.writeHead(204).end()
  }
  const chunk = await bodyOf(request)
  if (headers['upload-offset'] !== String(upload.content.length)) {
    return refuse(response, 409, 'The offset is another')
  }
  const [algorithm = '', checksum] = String(headers['upload-checksum']).split(' ')
  if (checksum !== undefined && createHash(algorithm).update(chunk).digest('base64') !== checksum) {
    return refuse(response, 460, 'The checksum is wrong')
  }
  upload.content = Buffer.concat([upload.content, chunk])
  return response.writeHead(204, { ...finish(upload), ...state() }).end()
}
