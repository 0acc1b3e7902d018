/** Requests of several clients at once while something is broken, each with its verdict. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { vi } from 'vitest'
import { type Client, exampleJob, login } from './client.js'

/** No request may take longer, in milliseconds: the service's own limits are below. */
export const ANSWER_LIMIT_MS = 50_000
/** More files than go into one statement of the database. */
const LARGE = 105

export interface SentFile {
  readonly name: string
  readonly content: string
  readonly tags: readonly string[]
}

/** An upload with a job of its own. */
export interface SentUpload {
  readonly job: string
  readonly files: readonly SentFile[]
  /** Ids by name, once the service has acknowledged them. */
  ids: Readonly<Record<string, string>> | undefined
}

export interface Load {
  /** Uploads that were answered, or whose answer did not come. */
  readonly uploads: readonly SentUpload[]
  /** Statuses of answers, and how many of each. */
  readonly statuses: ReadonlyMap<number, number>
  /** What must not be: answers that the fault does not excuse, or none. */
  readonly violations: string[]
  /** Resolves when so many more answers with this status have come, of 200 only those of uploads. */
  until(status: number, more: number): Promise<void>
  /** Resolves when the last request has been answered. */
  stop(): Promise<void>
}

export interface LoadOptions {
  /** Clients at the same time. One of five sends uploads of many files, one of five reads. */
  readonly clients?: number
  /** Whether 503 with Retry-After is an answer that the fault excuses. */
  readonly mayRefuse: boolean
  /** Contents that other uploads have as well: how many there are. */
  readonly equalContents?: number
  /** Files in an upload of many. */
  readonly many?: number
}

/** A status, and the body of an answer that is JSON. */
interface Answer {
  readonly status: number
  readonly body: unknown
}

/** Starts to send requests, for as long as it is not stopped. */
export async function startLoad(
  url: string,
  { clients = 5, mayRefuse, equalContents = 7, many = LARGE }: LoadOptions,
): Promise<Load> {
  const client = await login(url)
  const uploads: SentUpload[] = []
  const statuses = new Map<number, number>()
  let acknowledged = 0
  const violations: string[] = []
  let over = false

  const send = async (what: string, request: Promise<Response>): Promise<Answer | undefined> => {
    const started = performance.now()
    try {
      const response = await request
      const { status } = response
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      const text = await response.text()
      if (status === 503 && mayRefuse) {
        const wrong = whyNoRefusal(response, text)
        if (wrong) violations.push(`${what}: 503 ${wrong}`)
        // As a client that heeds Retry-After would, only sooner.
        await sleep(20)
      } else if (status >= 300) violations.push(`${what} was answered ${status}: ${text}`)
      return { status, body: parsed(text) }
    } catch (error) {
      const ms = Math.round(performance.now() - started)
      const cause = error instanceof Error ? `: ${String(error.cause)}` : ''
      violations.push(`${what} was not answered, after ${ms} ms: ${String(error)}${cause}`)
      return undefined
    }
  }
  const post = (path: string, body: unknown): Promise<Response> =>
    client.request(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
    })
  const get = (path: string): Promise<Response> =>
    client.request(path, { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) })

  const uploadOnce = async (files: number): Promise<void> => {
    const job = exampleJob()
    const made = await send('a job', post('/bytes/boefje_meta', job))
    if (made?.status !== 201) return
    const upload: SentUpload = {
      job: job.id,
      files: newFiles(files, equalContents),
      ids: undefined,
    }
    const answer = await send('an upload', sendUpload(client, upload))
    if (answer?.status === 200) {
      upload.ids = answer.body as Record<string, string>
      acknowledged++
    }
    uploads.push(upload)
    // What is tried is the fault, not the speed: the more uploads, the longer the check.
    await sleep(files)
  }
  const readOnce = async (): Promise<void> => {
    const id = Object.values(uploads.findLast(({ ids }) => ids)?.ids ?? {})[0]
    if (id) await send('a content', get(`/bytes/raw/${id}`))
    await send('a list', get('/bytes/raw?organization=org&limit=5'))
    await send('MIME types', get('/bytes/mime_types?organization=org'))
    await sleep(20)
  }
  const work = async (i: number): Promise<void> => {
    while (!over) {
      if (i % 5 === 4) await readOnce()
      else await uploadOnce(i % 5 === 3 ? many : 2)
    }
  }
  const working = Array.from({ length: clients }, (_, i) => work(i))
  return {
    uploads,
    statuses,
    violations,
    until: async (status, more) => {
      const has = (): number => (status === 200 ? acknowledged : (statuses.get(status) ?? 0))
      const wanted = has() + more
      const enough = (): void => {
        if (has() < wanted)
          throw new Error(`${has()} of ${wanted} requests were answered ${status}`)
      }
      await vi.waitFor(enough, { timeout: 60_000, interval: 20 })
    },
    stop: async () => {
      over = true
      await Promise.all(working)
    },
  }
}

/** Sends an upload, for the first time or again. */
export function sendUpload(client: Client, { job, files }: SentUpload): Promise<Response> {
  const body = files.map(({ name, content, tags }) => ({
    name,
    content: Buffer.from(content).toString('base64'),
    tags,
  }))
  return client.request(`/bytes/raw?boefje_meta_id=${job}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ files: body }),
    signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
  })
}

/** The first has a content that other uploads have too, the others one of their own. */
function newFiles(count: number, equalContents: number): SentFile[] {
  return Array.from({ length: count }, (_, i) => {
    const equal = `equal ${Math.floor(Math.random() * equalContents)}`
    return { name: `${i}`, content: i === 0 ? equal : randomUUID(), tags: [`slot/${i}`] }
  })
}

function whyNoRefusal(response: Response, text: string): string | undefined {
  const after = response.headers.get('retry-after') ?? ''
  if (!/^\d+$/.test(after)) return `without Retry-After: ${text}`
  const body = parsed(text)
  const detail = typeof body === 'object' && body !== null && 'detail' in body ? body.detail : ''
  return typeof detail === 'string' && detail !== '' ? undefined : `says not why: ${text}`
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
