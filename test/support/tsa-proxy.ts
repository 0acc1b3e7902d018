/** A timestamp authority that misbehaves as the test wishes: a proxy in front of one that does not. */
import { once } from 'node:events'
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * - `works`: hands on queries and answers
 * - `hangs`: takes queries and never answers
 * - `holds`: takes queries and answers them when it is to behave otherwise
 * - `garbage`: answers what is no answer
 * - `other imprint`: has another imprint stamped than it was asked for
 * - `old answer`: answers what it has answered before
 * - `refuses`: does not take connections
 */
export type Mode =
  | 'works'
  | 'hangs'
  | 'holds'
  | 'garbage'
  | 'other imprint'
  | 'old answer'
  | 'refuses'

export interface AuthorityProxy {
  readonly url: string
  /** Imprints in hex that timestamps were given for, in order. */
  readonly stamped: readonly string[]
  /** Queries that have come, answered or not. */
  readonly queries: number
  /** @param after as many queries that are answered as they should be, before */
  behave(mode: Mode, after?: number): Promise<void>
  stop(): Promise<void>
}

const REPLY = { 'content-type': 'application/timestamp-reply' }
/** OCTET STRING of 64 bytes: the imprint, the only one in a query. */
const IMPRINT = Buffer.from([0x04, 0x40])

/** @param upstream URL of the real authority */
export async function startAuthorityProxy(upstream: string): Promise<AuthorityProxy> {
  const stamped: string[] = []
  let queries = 0
  let wanted: Mode = 'works'
  let proper = 0
  let server: Server | undefined
  let port = 0
  let old: Buffer | undefined
  let release: () => void = () => undefined
  let held = Promise.resolve()

  const answer = async (query: Buffer, response: ServerResponse): Promise<void> => {
    queries++
    let mode = proper > 0 ? 'works' : wanted
    if (proper > 0) proper--
    if (mode === 'hangs') return
    if (mode === 'holds') {
      await held
      if (response.destroyed) return
      mode = wanted
    }
    if (mode === 'garbage') {
      response.writeHead(200, REPLY).end(Buffer.from('what is this?'))
      return
    }
    if (mode === 'old answer') {
      if (!old) throw new Error('nothing has been answered before')
      response.writeHead(200, REPLY).end(old)
      return
    }
    const at = query.indexOf(IMPRINT) + IMPRINT.length
    const imprint = query.subarray(at, at + 64).toString('hex')
    if (mode === 'other imprint') query[at] = (query[at] ?? 0) ^ 1
    const reply = await forward(upstream, query)
    if (mode === 'works') {
      old ??= reply
      stamped.push(imprint)
    }
    response.writeHead(200, REPLY).end(reply)
  }

  const listen = async (): Promise<void> => {
    server = createServer((request, response) => {
      bodyOf(request)
        .then((query) => answer(query, response))
        // The client has gone, or the authority: the connection tells.
        .catch(() => response.destroy())
    })
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  }
  const close = async (): Promise<void> => {
    const closing = server
    server = undefined
    if (!closing) return
    const closed = once(closing, 'close')
    closing.close()
    closing.closeAllConnections()
    await closed
  }

  await listen()
  return {
    url: `http://127.0.0.1:${port}/tsr`,
    stamped,
    get queries() {
      return queries
    },
    behave: async (mode, after = 0) => {
      wanted = mode
      proper = after
      release()
      held = new Promise((resolve) => {
        release = resolve
      })
      if (mode === 'refuses') await close()
      else if (!server) await listen()
    },
    stop: close,
  }
}

async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of message) pieces.push(piece)
  return Buffer.concat(pieces)
}

async function forward(url: string, query: Buffer): Promise<Buffer> {
  const headers = {
    'content-type': 'application/timestamp-query',
    'content-length': String(query.length),
  }
  const outgoing = httpRequest(url, { method: 'POST', headers, agent: false })
  outgoing.end(query)
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
  return bodyOf(answer)
}
