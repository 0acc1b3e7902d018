/** The forms of an upload, for tests that break one in the middle and then ask what has become of it. */
import { createHash, randomBytes } from 'node:crypto'
import { Agent, type IncomingHttpHeaders, request } from 'node:http'

/** Longest wait for an answer, in milliseconds: a request that takes longer hangs. */
const PATIENCE_MS = 30_000
const OCTETS = 'application/octet-stream'
const TUS = { 'tus-resumable': '1.0.0' }

export interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** A client with one connection at a time, which it keeps. */
export interface OneConnection {
  /** @throws Error when the connection is lost, or `HANGS` when nothing comes */
  exchange(
    method: string,
    path: string,
    headers?: Record<string, string>,
    body?: Uint8Array | string,
  ): Promise<Reply>
  close(): void
}

export const HANGS = 'there was no answer in time'

export function oneConnection(url: string, token: string): OneConnection {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const { hostname, port } = new URL(url)
  return {
    exchange: (method, path, headers = {}, body = '') =>
      new Promise((resolve, reject) => {
        const length = { 'content-length': String(Buffer.byteLength(body)) }
        const all = { authorization: `Bearer ${token}`, ...length, ...headers }
        const outgoing = request(
          { agent, hostname, port, method, path, headers: all, timeout: PATIENCE_MS },
          (incoming) => {
            const chunks: Buffer[] = []
            incoming.on('data', (chunk) => chunks.push(chunk))
            incoming.on('error', reject)
            incoming.on('end', () => {
              const { statusCode: status = 0, headers } = incoming
              resolve({ status, headers, body: Buffer.concat(chunks) })
            })
          },
        )
        outgoing.on('timeout', () => outgoing.destroy(new Error(HANGS)))
        outgoing.on('error', reject)
        outgoing.end(body)
      }),
    close: () => agent.destroy(),
  }
}

export interface UploadedFile {
  readonly name: string
  readonly tag: string
  readonly content: Buffer
}

/** What came of an attempt. */
export interface Outcome {
  /** Raw file ids by name, when it was acknowledged. */
  readonly ids?: Record<string, string>
  /** The answer that was no acknowledgement. */
  readonly refusal?: Reply
}

/** An upload that can be attempted several times. */
export interface Attempts {
  readonly files: readonly UploadedFile[]
  /** @throws Error when the connection is lost */
  attempt(client: OneConnection): Promise<Outcome>
}

export interface UploadForm {
  readonly name: string
  /** Whether the contents are made in advance: it is uploaded once before, as `again` of a job. */
  readonly again?: 'intact' | 'damaged'
  /** The system calls that it is tried for, when there are too many of the others. */
  readonly calls?: readonly string[]
  /** An upload of contents that nobody has. */
  make(job: string): Attempts
  /** The same contents for another job. */
  remake(job: string, files: readonly UploadedFile[]): Attempts
}

const newFile = (name: string, size: number): UploadedFile => ({
  name,
  tag: `test/${name}`,
  content: randomBytes(size),
})

function outcomeOf(reply: Reply): Outcome {
  if (reply.status !== 200) return { refusal: reply }
  return { ids: JSON.parse(reply.body.toString()) as Record<string, string> }
}

function json(job: string, files: readonly UploadedFile[]): Attempts {
  const listed = files.map(({ name, tag, content }) => ({
    name,
    tags: [tag],
    content: content.toString('base64'),
  }))
  const body = JSON.stringify({ files: listed })
  const headers = { 'content-type': 'application/json' }
  const path = `/bytes/raw?boefje_meta_id=${job}`
  return {
    files,
    attempt: async (client) => outcomeOf(await client.exchange('POST', path, headers, body)),
  }
}

function octets(job: string, files: readonly UploadedFile[]): Attempts {
  const [file = newFile('file', 0)] = files
  const path = `/bytes/raw?boefje_meta_id=${job}&tag=${file.tag}`
  const headers = { 'content-type': OCTETS }
  return {
    files,
    attempt: async (client) =>
      outcomeOf(await client.exchange('POST', path, headers, file.content)),
  }
}

/** Goes on where an attempt before has ended, if the service still has that. */
function resumable(job: string, files: readonly UploadedFile[]): Attempts {
  const [{ tag, content, name } = newFile('file', 0)] = files
  const pairs = { boefje_meta_id: job, tags: JSON.stringify([tag]) }
  const metadata = Object.entries(pairs)
    .map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`)
    .join(',')
  let path = ''
  /** What the service has acknowledged. */
  let promised = 0

  const create = async (client: OneConnection): Promise<Reply> => {
    const made = await client.exchange('POST', '/bytes/uploads', {
      ...TUS,
      'upload-length': String(content.length),
      'upload-metadata': metadata,
    })
    path = made.headers.location ?? ''
    promised = 0
    return made
  }
  const offsetOf = (reply: Reply): number => {
    const offset = Number(reply.headers['upload-offset'])
    if (offset < promised)
      throw new Error(`lost bytes: ${promised} were promised, ${offset} are left`)
    promised = offset
    return offset
  }
  const done = (reply: Reply): Outcome | undefined => {
    const id = reply.headers['bytes-raw-id']
    return id === undefined ? undefined : { ids: { [name]: String(id) } }
  }
  return {
    files,
    attempt: async (client) => {
      let offset = 0
      const known = path === '' ? undefined : await client.exchange('HEAD', path, TUS)
      if (known?.status === 200) {
        const finished = done(known)
        if (finished) return finished
        offset = offsetOf(known)
      } else if (known === undefined || known.status === 404) {
        const made = await create(client)
        if (made.status !== 201) return { refusal: made }
      } else return { refusal: known }
      const half = Math.ceil(content.length / 2)
      while (offset < content.length) {
        const chunk = content.subarray(offset, offset < half ? half : content.length)
        const digest = createHash('sha256').update(chunk).digest('base64')
        const patched = await client.exchange(
          'PATCH',
          path,
          {
            ...TUS,
            'content-type': 'application/offset+octet-stream',
            'upload-offset': String(offset),
            // The first half alone has one, so that both ways of a chunk are gone.
            ...(offset < half && { 'upload-checksum': `sha256 ${digest}` }),
          },
          chunk,
        )
        if (patched.status !== 204) return { refusal: patched }
        const finished = done(patched)
        if (finished) return finished
        offset = offsetOf(patched)
      }
      throw new Error('the upload has all its bytes and no raw file')
    },
  }
}

const two = (): UploadedFile[] => [newFile('small', 1_000), newFile('other', 100_000)]
const large = (): UploadedFile[] => [newFile('file', 3 * 1024 * 1024)]
const small = (): UploadedFile[] => [newFile('file', 1_000)]
const medium = (): UploadedFile[] => [newFile('file', 200_000)]

const form = (
  name: string,
  remake: UploadForm['remake'],
  files: () => UploadedFile[],
  again?: UploadForm['again'],
): UploadForm => ({
  name,
  remake,
  make: (job) => remake(job, files()),
  ...(again && { again }),
})

/** So large that it is synced in its middle as well: see `SYNC_SIZE` of the disk writer. */
const huge = (): UploadedFile[] => [newFile('file', 33 * 1024 * 1024)]

/** For a service that stores contents as they are. */
export const PLAIN_FORMS: readonly UploadForm[] = [
  form('JSON, 2 files', json, two),
  form('octets, 3 MiB', octets, large),
  form('equal to a file', octets, small, 'intact'),
  form('equal to a damaged file', octets, small, 'damaged'),
  form('resumable', resumable, medium),
]

/** One that is synced while it is written, for the calls that do so. */
export const SYNCED_FORM: UploadForm = {
  ...form('octets, 33 MiB', octets, huge),
  calls: ['fdatasync', 'fsync'],
}

/** For a service that encrypts contents. */
export const SEALED_FORMS: readonly UploadForm[] = [
  form('sealed JSON, 2 files', json, two),
  form('sealed, equal to a file', octets, small, 'intact'),
  form('sealed, equal to a damaged file', octets, small, 'damaged'),
  form('sealed resumable', resumable, medium),
]
