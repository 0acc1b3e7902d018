/** What follows the answer that ends a connection is no request (RFC 9112, section 9.6). */
import { once } from 'node:events'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { Hono } from 'hono'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { streamBody } from '../../src/api/body-stream.js'
import type { App } from '../../src/api/route.js'
import type { RunningServer } from '../../src/api/server.js'
import { Traffic } from '../../src/flows/traffic.js'
import { PATIENCE } from '../support/patience.js'
import { startTestServer } from '../support/test-server.js'

const HEADERS_MS = 200

let server: RunningServer
let traffic: Traffic
/** Paths of the requests that reached the application. */
let executed: string[]
/** Lets requests to `/slow` be answered. */
let go: () => void

beforeEach(async () => {
  const app = new Hono<App>()
  executed = []
  const gone = new Promise<void>((resolve) => {
    go = resolve
  })
  app.use(async (c, next) => {
    executed.push(c.req.path)
    await next()
  })
  app.all('/refused', async (c) => {
    // As after a look at the database.
    await new Promise(setImmediate)
    return c.text('refused', 401)
  })
  app.all('/slow', async (c) => {
    await gone
    return c.text('slow')
  })
  app.all('/body', async (c) => {
    await new Promise(setImmediate)
    let text = ''
    const limits = { bytes: 100, setBy: 'a test', idleMs: 10_000 }
    for await (const piece of streamBody(c.env.incoming, limits)) text += piece
    return c.text(text)
  })
  app.all('/stream', (c) => {
    const pieces = Readable.from([Buffer.from('a '), Buffer.from('stream')])
    return c.body(Readable.toWeb(pieces) as ReadableStream)
  })
  app.all('*', (c) => c.text('answered'))
  traffic = new Traffic(0)
  server = await startTestServer(app, { headersMs: HEADERS_MS, traffic })
})

afterEach(async () => {
  await server.stop(0)
})

/** A client that does not end the connection because the server does. */
async function open() {
  const port = Number(new URL(server.url).port)
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  await once(socket, 'connect')
  let received = ''
  socket.on('data', (chunk) => {
    received += chunk
  })
  // A reset is an end, too.
  socket.on('error', () => undefined)
  // Only what it sends shows whether the other end is there still.
  let timer: NodeJS.Timeout | undefined
  socket.once('end', () => {
    timer = setInterval(() => socket.write('\r\n'), 100)
  })
  const closed = new Promise<string>((resolve) => {
    socket.on('close', () => {
      clearInterval(timer)
      resolve(received)
    })
  })
  const receives = (text: string | RegExp) =>
    vi.waitFor(() => expect(received).toMatch(text), PATIENCE)
  return { socket, receives, closed }
}

const statuses = (received: string) =>
  [...received.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)
const request = (path: string, lines = '', body = '') =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\n${lines}Content-Length: ${body.length}\r\n\r\n${body}`
const EXPECTS = 'Expect: 100-continue\r\n'

it('does not run a request whose head is complete after its 408', async () => {
  const { socket, receives, closed } = await open()
  socket.write('GET /late HTTP/1.1\r\nHost: x\r\n')
  await receives('HTTP/1.1 408 ')
  socket.write('\r\n')
  expect(statuses(await closed)).toEqual(['408'])
  expect(executed).toEqual([])
})

it('lets a client go that goes on after what cannot be read', async () => {
  const { socket, receives, closed } = await open()
  socket.write('NONSENSE\r\n\r\n')
  await receives('HTTP/1.1 400 ')
  expect(statuses(await closed)).toEqual(['400'])
})

it.each([false, true])(
  'does not run what is behind a request that was refused while it waited for leave; at once: %s',
  async (atOnce) => {
    const { socket, receives, closed } = await open()
    const first = request('/refused', EXPECTS, 'body')
    const rest = request('/hidden').repeat(20) + request('/hidden', EXPECTS, 'body')
    const warned = vi.spyOn(process, 'emitWarning')
    if (atOnce) socket.write(first + rest)
    else {
      socket.write(first.slice(0, -2))
      await receives('refused')
      socket.write(`dy${rest}`)
    }
    const received = await closed
    expect(statuses(received)).toEqual(['401'])
    expect(received).toMatch(/\r\nconnection: close\r\n/i)
    expect(executed).toEqual(['/refused'])
    await vi.waitFor(() => expect(traffic.isMuch).toBe(false), PATIENCE)
    expect(warned).not.toHaveBeenCalled()
    warned.mockRestore()
  },
)

it('runs what is behind a request that waited for leave and had it', async () => {
  const { socket, closed } = await open()
  socket.write(
    request('/body', EXPECTS, 'body') + request('/b') + request('/c', 'Connection: close\r\n'),
  )
  expect(statuses(await closed)).toEqual(['100', '200', '200', '200'])
  expect(executed).toEqual(['/body', '/b', '/c'])
})

it.each([
  ['what cannot be read', '', '@@', 20],
  ['a head that does not end', '', 'GET /late HTTP/1.1\r\n', 1],
  ['something behind a request that ends the connection', 'Connection: close\r\n', 'x', 20],
])('answers all whole requests before %s', async (_, lines, rest, pieces) => {
  const { socket, closed } = await open()
  const warned = vi.spyOn(process, 'emitWarning')
  socket.write(request('/slow') + request('/b', lines) + rest)
  await vi.waitFor(() => expect(executed).toEqual(['/slow', '/b']), PATIENCE)
  for (let i = 1; i < pieces; i++) {
    socket.write('@')
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  // A head is looked at each second.
  await new Promise((resolve) => setTimeout(resolve, pieces === 1 ? 2500 : 100))
  go()
  expect(statuses(await closed)).toEqual(['200', '200'])
  expect(executed).toEqual(['/slow', '/b'])
  expect(warned).not.toHaveBeenCalled()
  warned.mockRestore()
})

it('runs nothing behind an answer in HTTP/1.0 that has no length', async () => {
  const { socket, closed } = await open()
  const old = (path: string) =>
    `POST ${path} HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n`
  socket.write(old('/a') + old('/stream') + old('/hidden'))
  const received = await closed
  expect(statuses(received)).toEqual(['200', '200'])
  expect(received).toMatch(/stream$/)
  expect(executed).toEqual(['/a', '/stream'])
})

it('does not run what is behind the last request that a stop answers', async () => {
  const { socket, closed } = await open()
  socket.write(request('/slow').repeat(2))
  await vi.waitFor(() => expect(executed).toEqual(['/slow', '/slow']), PATIENCE)
  const stopped = server.stop(20_000)
  socket.write(request('/third'))
  await new Promise((resolve) => setTimeout(resolve, 50))
  go()
  const received = await closed
  // Those that had begun are answered both; only the last one tells of the end.
  expect(statuses(received)).toEqual(['200', '200'])
  expect(received.match(/connection: close/gi)?.length).toBe(1)
  expect(executed).toEqual(['/slow', '/slow'])
  expect(await stopped).toBe(true)
})

it('does not read an endless body behind an unknown expectation for ever', async () => {
  const { socket, receives, closed } = await open()
  socket.write(
    'POST / HTTP/1.1\r\nHost: x\r\nExpect: wonders\r\nTransfer-Encoding: chunked\r\n\r\n',
  )
  await receives('HTTP/1.1 417 ')
  let over = false
  const received = closed.finally(() => {
    over = true
  })
  const piece = Buffer.from(`100000\r\n${'x'.repeat(0x100000)}\r\n`)
  const deadline = Date.now() + 30_000
  while (!over && Date.now() < deadline) {
    await new Promise<void>((resolve) => socket.write(piece, () => setImmediate(resolve)))
  }
  socket.destroy()
  expect(over).toBe(true)
  expect(statuses(await received)).toEqual(['417'])
})

it('ends the connection after an unknown expectation while it stops', async () => {
  const { socket, closed } = await open()
  const stopped = server.stop(20_000)
  socket.write(request('/', 'Expect: wonders\r\n'))
  const received = await closed
  expect(statuses(received)).toEqual(['417'])
  expect(received).toMatch(/\r\nconnection: close\r\n/i)
  expect(await stopped).toBe(true)
})
