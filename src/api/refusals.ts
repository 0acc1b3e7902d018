/** Answers to requests that do not reach the app. */
import { randomUUID } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { RequestError } from '@hono/node-server'
import type { Log } from '../domain/ports.js'

/** Time to take the answer to what could not be read. */
const REFUSED_MS = 1000
/** Node's code for a head that took too long. */
export const LATE_HEAD = 'ERR_HTTP_REQUEST_TIMEOUT'

/** The answer to a request that does not reach the app, after a line in the log. */
export function refusal(status: number, reason: string, log: Log) {
  const requestId = randomUUID()
  log.info({ requestId, status, reason }, 'a request was refused unread')
  const body = JSON.stringify({ detail: `${STATUS_CODES[status]}: ${reason}` })
  const headers = {
    'content-type': 'application/json',
    'content-length': String(body.length),
    'x-request-id': requestId,
    'x-content-type-options': 'nosniff',
  }
  return { status, headers, body }
}

/** What has no URL, such as a path with a backslash, does not reach the app. */
export function refuseMisdirected(error: unknown, log: Log): Response {
  const expected = error instanceof RequestError
  if (!expected) log.error({ err: error }, 'a request failed before it reached the app')
  const reason = expected ? error.message : 'see the log'
  const { status, headers, body } = refusal(expected ? 400 : 500, reason, log)
  return new Response(body, { status, headers })
}

/** Status and reason for an error of Node's parser. */
function whyUnreadable(code: string): [status: number, reason: string] {
  if (code === 'HPE_HEADER_OVERFLOW') return [431, 'the head of the request is too long']
  if (code === LATE_HEAD) return [408, 'the head of the request took too long']
  return [400, `the request cannot be read (${code})`]
}

/** What Node cannot parse gets a JSON answer like everything else. */
export function refuseUnreadable(error: Error & { code?: string }, socket: Socket, log: Log): void {
  // It has its answer, and goes on.
  if (socket.writableEnded && error.code !== 'ECONNRESET') return
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  refuseOn(socket, ...whyUnreadable(error.code ?? ''), log)
}

/** Refuses a tunnel, of which Node hands over the bare connection. */
export function refuseTunnel(socket: Duplex, log: Log): void {
  // Node listens no more.
  socket.on('error', () => undefined)
  socket.resume()
  refuseOn(socket, 400, 'this is no proxy (CONNECT)', log)
}

/** Answers on a connection that has no other answer under way, and ends it. */
function refuseOn(socket: Duplex, wanted: number, reason: string, log: Log): void {
  const { status, headers, body } = refusal(wanted, reason, log)
  const lines = Object.entries({ ...headers, connection: 'close' })
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines}\r\n${body}`)
  setTimeout(() => socket.destroy(), REFUSED_MS).unref()
}
