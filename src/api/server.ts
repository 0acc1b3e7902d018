import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises'
import { getRequestListener } from '@hono/node-server'
import type { Hono } from 'hono'
import type { Log } from '../domain/ports.js'
import { awaitsLeave, isUndecided } from './expectation.js'
import { Linger } from './linger.js'
import { OpenAnswers } from './open-answers.js'
import { QueueOfRequests } from './queue-of-requests.js'
import {
  LATE_HEAD,
  refusal,
  refuseMisdirected,
  refuseTunnel,
  refuseUnreadable,
} from './refusals.js'
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

/** Requests of one connection that run at a time, or whose answer has not been taken whole. */
const MAX_RUNNING = 4
/** How often slow heads are looked for. */
const CHECKING_MS = 1000

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
  /** The last request of each. */
  const latest = new WeakMap<Socket, IncomingMessage>()
  const linger = new Linger((socket) => over.add(socket))
  const closeAfter = (response: ServerResponse): void => {
    response.setHeader('connection', 'close')
    over.add(response.req.socket)
  }
  const mayBegin = ({ req }: ServerResponse): boolean => {
    const { socket } = req
    const before = answers.last(socket)
    const ended = before?.headersSent === true && !before.shouldKeepAlive
    if (ended || over.has(socket) || socket.destroyed) return false
    if (!before) return true
    // Whether this is a request is known when the one before it has been answered: of HTTP/1.0 an
    // answer may turn out to be without a length, and to end with the connection.
    if (isUndecided(before.req) || before.req.httpVersion === '1.0') return false
    // The leave to send its body would queue behind the answers before it.
    return !isUndecided(req) && answers.count(socket) < MAX_RUNNING
  }
  const queue = new QueueOfRequests(mayBegin)
  const take = (request: IncomingMessage, response: ServerResponse, answer: () => void): void => {
    const { socket } = request
    // It came too late: the connection ends after one before it.
    if (ending.has(socket)) return
    latest.set(socket, request)
    queue.add(response, () => {
      if (stopping) closeAfter(response)
      answers.add(response)
      traffic.begin()
      response.once('close', () => {
        traffic.end()
        queue.goOn(socket)
      })
      linger.after(request, response)
      answer()
    })
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
    const isOurs = answers.current(socket) !== undefined || queue.waits(socket)
    if (isOurs && socket.writableLength === 0) socket.setTimeout(idleMs)
    else destroyUnlessRead(socket)
  })
  /** Node does not look again at a head that was late as the connection was not read. */
  const watchHead = (error: Error, socket: Socket, wasHeld: boolean): void => {
    const last = latest.get(socket)
    const lookAgain = (): void => {
      if (latest.get(socket) !== last || socket.destroyed) return
      if (wasHeld) watchHead(error, socket, queue.holds(socket))
      else server.emit('clientError', error, socket)
    }
    setTimeout(lookAgain, headersMs).unref()
  }
  server.on('clientError', (error: Error & { code?: string }, socket: Socket) => {
    // Node tells of each piece that follows.
    if (ending.has(socket)) return
    if (error.code === LATE_HEAD && queue.holds(socket)) {
      watchHead(error, socket, true)
      return
    }
    const whole = queue.lastWhole(socket) ?? answers.lastWhole(socket)
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
  server.on('connect', ({ socket }, connection) => {
    // No answer of its own into or behind others.
    if (answers.current(socket) || queue.waits(socket) || ending.has(socket)) connection.destroy()
    else refuseTunnel(connection, log)
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

/** Closes a connection after an answer that is under way. */
function endAfter(response: ServerResponse, socket: Socket): void {
  if (!response.headersSent) response.setHeader('connection', 'close')
  response.once('finish', () => socket.destroySoon())
}
