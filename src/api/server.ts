import { randomUUID } from 'node:crypto'
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises'
import { getRequestListener, RequestError } from '@hono/node-server'
import type { Hono } from 'hono'
import type { Log } from '../domain/ports.js'
import { awaitsLeave, isUndecided } from './expectation.js'
import { Linger } from './linger.js'
import { OpenAnswers } from './open-answers.js'
import type { App } from './route.js'

export interface RunningServer {
  /** Where it listens, such as `http://127.0.0.1:8002`. */
  readonly url: string
  /**
   * Accepts no more connections and waits for the requests in flight. Answers from then on close
   * their connection, so that busy clients go elsewhere.
   * @param timeoutMs then their connections are cut
   * @returns false when some had to be cut
   */
  stop(timeoutMs: number): Promise<boolean>
}

/**
 * Time that busy clients have after the beginning of a stop to be told that their connection is
 * over, and how often connections that have become idle are looked for after that.
 */
const IDLE_MS = 100

export interface ServerOptions {
  readonly host: string
  /** TCP port; 0 takes a free one. */
  readonly port: number
  /** Longest time to send the head of a request, in milliseconds. */
  readonly headersMs: number
  /** Longest time in milliseconds in which a client takes nothing of an answer. */
  readonly idleMs: number
  /**
   * How long an idle connection is kept, in milliseconds: longer than clients and proxies keep theirs,
   * so that none sends a request on one that is just being closed here.
   */
  readonly keepAliveMs: number
  /** Told of the requests that do not reach the app. */
  readonly log: Log
  /** Told when a request begins, and when its answer has been sent or its connection closed. */
  readonly traffic: { begin(): void; end(): void }
}

/** How often slow heads are looked for. */
const CHECKING_MS = 1000
/** Time to take the answer to what could not be read. */
const REFUSED_MS = 1000

/** @throws the error of `listen`, such as EADDRINUSE */
export async function startServer(app: Hono<App>, options: ServerOptions): Promise<RunningServer> {
  const { host, port, headersMs, idleMs, keepAliveMs, log, traffic } = options
  const listener = getRequestListener(app.fetch, {
    autoCleanupIncoming: false,
    // For requests of HTTP/1.0, which need no Host.
    hostname: 'localhost',
    errorHandler: (error) => refuseMisdirected(error, log),
  })
  const answers = new OpenAnswers()
  let stopping = false
  const timeouts = {
    headersTimeout: headersMs,
    // A large body takes its time; whoever reads it watches for clients that fall silent.
    requestTimeout: 0,
    keepAliveTimeout: keepAliveMs,
    connectionsCheckingInterval: CHECKING_MS,
  }
  /** Connections on which nothing that follows is a request (RFC 9112, section 9.6). */
  const over = new WeakSet<Socket>()
  /** Those that end after an answer, as something unreadable came behind its request. */
  const ending = new WeakSet<Socket>()
  const linger = new Linger((socket) => over.add(socket))
  const closeAfter = (response: ServerResponse): void => {
    response.setHeader('connection', 'close')
    over.add(response.req.socket)
  }
  const take = (request: IncomingMessage, response: ServerResponse, answer: () => void): void => {
    const { socket } = request
    const before = answers.last(socket)
    // Whether this is a request is known when the one before it has been answered: of HTTP/1.0 an
    // answer may turn out to be without a length, and to end with the connection.
    if (before && (isUndecided(before.req) || before.req.httpVersion === '1.0')) {
      before.setMaxListeners(0)
      before.once('close', () => take(request, response, answer))
      return
    }
    const ended = before?.headersSent === true && !before.shouldKeepAlive
    if (ended || over.has(socket) || socket.destroyed) return
    if (stopping) closeAfter(response)
    answers.add(response)
    traffic.begin()
    response.once('close', () => traffic.end())
    linger.after(request, response)
    answer()
  }
  const refuse = (response: ServerResponse, status: number, reason: string): void => {
    const { headers, body } = refusal(status, reason, log)
    response.writeHead(status, headers).end(body)
  }
  const handle = (request: IncomingMessage, response: ServerResponse): void =>
    take(request, response, () => {
      const fault = faultOf(request)
      if (fault !== undefined) {
        closeAfter(response)
        refuse(response, 400, fault)
      } else void listener(request, response)
    })
  // Node's own answer to a missing Host would be an empty one.
  const server = createServer({ requireHostHeader: false, ...timeouts }, handle)
  // Without a listener Node tells every client to go on, before anything of the request is checked.
  server.on('checkContinue', (request, response) => {
    awaitsLeave(request, response)
    handle(request, response)
  })
  server.setTimeout(idleMs, (socket: Socket) => {
    // Node has set its own time for an idle connection; reading the rest of a body has another.
    if (linger.on(socket)) return
    // It is we who keep the client waiting: nothing of an answer is left for it to take.
    if (answers.current(socket) && socket.writableLength === 0) socket.setTimeout(idleMs)
    else destroyUnlessRead(socket)
  })
  server.on('clientError', (error, socket: Socket) => {
    // Node tells of each piece that follows.
    if (ending.has(socket)) return
    const whole = answers.lastWhole(socket)
    if (whole) {
      // What follows whole requests must not keep their answers from them.
      ending.add(socket)
      endAfter(whole, socket)
      return
    }
    // No second answer after one that has been sent, or into one that has begun.
    if (answers.current(socket)?.headersSent || linger.on(socket)) socket.destroy()
    else {
      over.add(socket)
      refuseUnreadable(error, socket, log)
    }
  })
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) =>
    take(request, response, () => refuse(response, 417, 'unknown expectation')),
  )
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
  // For want of memory or descriptors, say. Without a listener it would end the process.
  server.on('error', (error) => {
    log.warn({ reason: error.message }, 'a connection could not be accepted')
  })
  return {
    url: urlOf(server),
    stop: (timeoutMs) => {
      stopping = true
      for (const response of answers.lasts()) {
        if (!response.headersSent) closeAfter(response)
      }
      return stop(server, timeoutMs)
    },
  }
}

/** Why a request that Node could parse is refused unread; undefined when there is no reason. */
function faultOf({ httpVersion, headers, rawHeaders }: IncomingMessage): string | undefined {
  const isOld = httpVersion === '1.0'
  // HTTP/1.0 knows none: a proxy may have seen another end of the body (RFC 9112, section 6.1).
  if (isOld && headers['transfer-encoding'] !== undefined) return 'chunks in HTTP/1.0'
  // RFC 9112, section 3.2. A proxy may have taken another of several.
  if (!isOld && !headers.host) return 'no Host'
  const isHost = (name: string, i: number) => i % 2 === 0 && name.toLowerCase() === 'host'
  return rawHeaders.filter(isHost).length > 1 ? 'more than one Host' : undefined
}

/**
 * Ends a connection whose time is over, unless something of it was there to be read: after a moment
 * in which the process stood still, timers come before what has arrived.
 */
function destroyUnlessRead(socket: Socket): void {
  const { bytesRead } = socket
  onceRead().then(() => {
    if (socket.bytesRead === bytesRead) socket.destroy()
  })
}

/** Resolves when everything that has come on any connection by now has been looked at. */
async function onceRead(): Promise<void> {
  await immediate()
  await immediate()
}

function urlOf(server: Server): string {
  // A server that listens on a TCP port has such an address.
  const { address, family, port } = server.address() as AddressInfo
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

async function stop(server: Server, timeoutMs: number): Promise<boolean> {
  // To close a connection at once may hit a request that is on its way.
  await sleep(Math.min(IDLE_MS, timeoutMs))
  // After a standstill there may be requests that have come and were not looked at so far.
  await onceRead()
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  // Those whose answer had begun by now stay open after it.
  const idle = setInterval(() => {
    onceRead().then(() => server.closeIdleConnections())
  }, IDLE_MS)
  let cut = false
  const timer = setTimeout(() => {
    cut = true
    server.closeAllConnections()
  }, timeoutMs)
  await closed
  clearTimeout(timer)
  clearInterval(idle)
  return !cut
}

/** The answer to a request that does not reach the app, after a line in the log. */
function refusal(status: number, reason: string, log: Log) {
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
function refuseMisdirected(error: unknown, log: Log): Response {
  const expected = error instanceof RequestError
  if (!expected) log.error({ err: error }, 'a request failed before it reached the app')
  const reason = expected ? error.message : 'see the log'
  const { status, headers, body } = refusal(expected ? 400 : 500, reason, log)
  return new Response(body, { status, headers })
}

/** Closes a connection after an answer that is under way. */
function endAfter(response: ServerResponse, socket: Socket): void {
  if (!response.headersSent) response.setHeader('connection', 'close')
  response.once('finish', () => socket.destroySoon())
}

/** Status and reason for an error of Node's parser. */
function whyUnreadable(code: string): [status: number, reason: string] {
  if (code === 'HPE_HEADER_OVERFLOW') return [431, 'the head of the request is too long']
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return [408, 'the head of the request took too long']
  return [400, `the request cannot be read (${code})`]
}

/** What Node cannot parse gets a JSON answer like everything else. */
function refuseUnreadable(error: Error & { code?: string }, socket: Socket, log: Log): void {
  // It has its answer, and goes on.
  if (socket.writableEnded && error.code !== 'ECONNRESET') return
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const { status, headers, body } = refusal(...whyUnreadable(error.code ?? ''), log)
  const lines = Object.entries({ ...headers, connection: 'close' })
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines}\r\n${body}`)
  setTimeout(() => socket.destroy(), REFUSED_MS).unref()
}
