/** What several acceptance tests need. It talks HTTP and SQL, and knows nothing of the source. */
import { spawn } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { type IncomingHttpHeaders, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join, relative } from 'node:path'
import pg from 'pg'
import type { Client } from '../support/client.js'
import { SECRET, type TestStore } from '../support/service.js'

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  readonly text: string
}

export interface Sent {
  readonly method?: string
  /** Goes on the wire as it is. */
  readonly path: string
  readonly headers?: Record<string, string>
  readonly body?: string | Uint8Array
  /** Send the body without a Content-Length. */
  readonly chunked?: boolean
}

/** Most milliseconds in which nothing comes. */
const ANSWER_MS = 60_000

/** One request on a connection of its own, with no headers but these. */
export function send(url: string, sent: Sent): Promise<Answer> {
  const { hostname, port } = new URL(url)
  const { method = 'GET', path, headers = {}, body, chunked = false } = sent
  const length =
    body === undefined || chunked ? {} : { 'content-length': String(Buffer.byteLength(body)) }
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        hostname,
        port,
        method,
        path,
        headers: { ...length, ...headers },
        agent: false,
        timeout: ANSWER_MS,
      },
      (incoming) => {
        const chunks: Buffer[] = []
        incoming.on('data', (chunk) => chunks.push(chunk))
        incoming.on('error', reject)
        incoming.on('end', () => {
          const whole = Buffer.concat(chunks)
          const { statusCode = 0 } = incoming
          resolve({
            status: statusCode,
            headers: incoming.headers,
            body: whole,
            text: whole.toString('utf8'),
          })
        })
      },
    )
    outgoing.on('error', reject)
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')))
    if (chunked && body !== undefined) outgoing.write(body)
    outgoing.end(chunked ? undefined : body)
  })
}

/** A TCP connection whose bytes the test writes itself. */
export interface Wire {
  readonly socket: Socket
  write(text: string): void
  /** Everything received once it matches. */
  received(pattern: RegExp): Promise<string>
  /** Resolves to everything received when the other side has ended the connection. */
  ended: Promise<string>
}

export async function openWire(url: string): Promise<Wire> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  let text = ''
  const watchers = new Set<() => void>()
  const changed = (): void => {
    for (const watch of [...watchers]) watch()
  }
  let over = false
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
    changed()
  })
  const ended = new Promise<string>((resolve) => {
    const end = (): void => {
      over = true
      changed()
      resolve(text)
    }
    socket.on('end', end)
    socket.on('close', end)
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  // A reset is told by `ended`.
  socket.on('error', () => undefined)
  return {
    socket,
    write: (data) => void socket.write(data),
    received: (pattern) =>
      new Promise((resolve, reject) => {
        const watch = (): void => {
          if (pattern.test(text)) resolve(text)
          else if (over) reject(new Error(`the connection ended after ${JSON.stringify(text)}`))
          else return
          watchers.delete(watch)
        }
        watchers.add(watch)
        watch()
      }),
    ended,
  }
}

/** Regular files below a directory, relative to it. */
export async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .sort()
}

export async function query<Row extends pg.QueryResultRow = Record<string, unknown>>(
  uri: string,
  statement: string,
  values: unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: uri })
  await client.connect()
  try {
    return (await client.query<Row>(statement, values)).rows
  } finally {
    await client.end()
  }
}

const TABLES = [
  'boefje_meta',
  'raw_file',
  'normalizer_meta',
  'blob',
  'outbox',
  'signing_provider',
  'pending_hash',
]

/** Rows of each table. */
export async function rowCounts(uri: string): Promise<Record<string, number>> {
  const counts = TABLES.map((table) => `(SELECT count(*)::int FROM ${table}) AS ${table}`)
  const [row] = await query<Record<string, number>>(uri, `SELECT ${counts.join(', ')}`)
  return { ...row }
}

/** Everything that a request could have left behind. */
export async function stateOf(store: TestStore, client: Client) {
  const page = await (await client.request('/metrics')).text()
  return {
    files: await filesBelow(store.dataDir),
    rows: await rowCounts(store.databaseUri),
    metrics: page
      .split('\n')
      .filter((line) => /^bytes_(database|stored|deduplicated|outbox_events)/.test(line)),
  }
}

/** The value of a sample on a metrics page; undefined when there is none. */
export function sample(page: string, name: string): number | undefined {
  const line = page.split('\n').find((found) => found.startsWith(`${name} `))
  return line === undefined ? undefined : Number(line.slice(name.length + 1))
}

/** A JSON Web Token. */
export function jwt(
  claims: Record<string, unknown>,
  { secret = SECRET, alg = 'HS256', hash = 'sha256' } = {},
): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${part({ alg, typ: 'JWT' })}.${part(claims)}`
  if (alg === 'none') return `${signed}.`
  return `${signed}.${createHmac(hash, secret).update(signed).digest('base64url')}`
}

export const nowSeconds = (): number => Math.floor(Date.now() / 1000)

/** Waits until `/health` is 200: a disk or a database that others keep busy may be late. */
export const untilHealthy = (client: {
  request(path: string): Promise<{ readonly status: number }>
}): Promise<unknown> =>
  eventually(async () => (await client.request('/health')).status === 200, 'it is healthy')

export const untilHealthyAt = (url: string): Promise<unknown> =>
  untilHealthy({ request: (path) => send(url, { path }) })

/** Waits until it gives something else than undefined or false. */
export async function eventually<T>(
  attempt: () => Promise<T | undefined | false> | T | undefined | false,
  what: string,
): Promise<T> {
  const deadline = Date.now() + 90_000
  for (;;) {
    const result = await attempt()
    if (result !== undefined && result !== false) return result
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

export const base64 = (content: string | Uint8Array): string =>
  Buffer.from(content).toString('base64')

/** The lines of a log in which something went wrong that should not. */
export const errorsLogged = (log: string): string[] =>
  log.split('\n').filter((line) => line.includes('"level":"error"') || /^(?!\{|$)/.test(line))

/**
 * What promtool finds fault with on a metrics page, a line each, in order.
 * @returns undefined where it is not installed
 * @throws Error when the page cannot be read at all
 */
export async function promtool(page: string): Promise<string[] | undefined> {
  const child = spawn('promtool', ['check', 'metrics'], { stdio: ['pipe', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk
    })
  }
  child.stdin.on('error', () => undefined)
  const missing = await Promise.race([
    once(child, 'spawn').then(() => false),
    once(child, 'error').then(() => true),
  ]).catch(() => true)
  if (missing) {
    console.warn('promtool is not installed: the metrics page was not checked with it')
    return undefined
  }
  const closed = once(child, 'close')
  child.stdin.end(page)
  const [code] = await closed
  // 3: it has complaints.
  if (code !== 0 && code !== 3) throw new Error(`promtool ended with ${code}: ${output}`)
  return output
    .split('\n')
    .filter((line) => line !== '')
    .sort()
}
