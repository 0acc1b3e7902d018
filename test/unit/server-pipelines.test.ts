/** Many requests at once on one connection (RFC 9112, section 9.3.2). */
import { once } from 'node:events'
import { connect } from 'node:net'
import { Hono } from 'hono'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { streamBody } from '../../src/api/body-stream.js'
import type { App } from '../../src/api/route.js'
import type { RunningServer } from '../../src/api/server.js'
import { transfer } from '../../src/api/transfer.js'
import { Traffic } from '../../src/flows/traffic.js'
import { startTestServer } from '../support/test-server.js'

const HEADERS_MS = 200
const IDLE_MS = 300

let server: RunningServer
let traffic: Traffic
/** Paths of the requests that reached the application. */
let executed: string[]
/** Requests to `/slow` that wait for their answer, in order. */
let slow: (() => void)[]
let isOpen: boolean
/** Lets the answers to `/large` come to their end. */
let endLarge: () => void

beforeEach(async () => {
  const app = new Hono<App>()
  executed = []
  slow = []
  isOpen = false
  app.use(async (c, next) => {
    executed.push(c.req.path)
    await next()
  })
  app.all('/slow/*', async (c) => {
    if (!isOpen) await new Promise<void>((resolve) => slow.push(resolve))
    return c.text(c.req.path)
  })
  app.all('/body/*', async (c) => {
    let size = 0
    const limits = { bytes: 1e9, setBy: 'a test', idleMs: 10_000 }
    for await (const piece of streamBody(c.env.incoming, limits)) size += piece.length
    return c.text(`${c.req.path}:${size}`)
  })
  const large = new Promise<void>((resolve) => {
    endLarge = resolve
  })
  app.all('/large/*', (c) => {
    async function* pieces(): AsyncGenerator<Uint8Array> {
      yield Buffer.from(c.req.path)
      await large
    }
    return transfer(c, pieces(), 200, { 'content-length': String(c.req.path.length) })
  })
  app.all('/close/*', async (c) => {
    await new Promise<void>((resolve) => slow.push(resolve))
    return c.text(c.req.path, 200, { connection: 'close' })
  })
  app.all('*', (c) => c.text(c.req.path))
  traffic = new Traffic(0)
  server = await startTestServer(app, { headersMs: HEADERS_MS, idleMs: IDLE_MS, traffic })
})

afterEach(async () => {
  await server.stop(0)
})

/** Answers all requests to `/slow`. */
function open(): void {
  isOpen = true
  for (const answer of slow.splice(0)) answer()
}

/** A client, and the paths that it has been answered so far. */
async function client() {
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
  await once(socket, 'connect')
  let received = ''
  socket.on('data', (chunk) => {
    received += chunk
  })
  socket.on('error', () => undefined)
  const answered = () =>
    [...received.matchAll(/\r\n\r\n(\/[a-z]+\/[\d:]+)/g)].map(([, path]) => path)
  const closed = once(socket, 'close').then(() => answered())
  const answers = (count: number) =>
    vi.waitFor(() => expect(answered().length).toBeGreaterThanOrEqual(count), {
      timeout: 60_000,
      interval: 5,
    })
  return { socket, answered, answers, closed, received: () => received }
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`
const old = (path: string) => `GET ${path} HTTP/1.0\r\nConnection:keep-alive\r\n\r\n`
const post = (path: string, body: string, lines = '') =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\n${lines}Content-Length: ${body.length}\r\n\r\n${body}`
/** Paths of so many requests. */
const paths = (count: number, kind = 'a') =>
  Array.from({ length: count }, (_, i) => `/${kind}/${i}`)
const until = (check: () => void) => vi.waitFor(check, { timeout: 60_000, interval: 2 })
const idle = () => until(() => expect(traffic.isMuch).toBe(false))
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

describe('requests in HTTP/1.0, which are answered one by one', () => {
  it('by the thousand are answered in order, and hold up no other connection', async () => {
    const all = paths(5000)
    const flood = await client()
    const other = await client()
    flood.socket.write(all.map(old).join(''))
    await until(() => expect(executed.length).toBeGreaterThan(0))
    other.socket.write(get('/other/1'))
    await until(() => expect(executed.includes('/other/1')).toBe(true))
    // It takes a few turns of the event loop, and so do a few of the others.
    expect(executed.indexOf('/other/1')).toBeLessThan(1000)
    await other.answers(1)
    await flood.answers(5000)
    expect(flood.answered()).toEqual(all)
    await idle()
    flood.socket.destroy()
    other.socket.destroy()
  })

  it('are not read without an end while they wait', async () => {
    const flood = await client()
    flood.socket.write(old('/slow/0'))
    const piece = paths(1000).map(old).join('')
    for (let i = 0; i < 600; i++) flood.socket.write(piece)
    // Of the 26 MB, what the buffers of both ends do not hold is left.
    await pause(500)
    expect(flood.socket.writableLength).toBeGreaterThan(1e6)
    flood.socket.destroy()
    open()
    // That it is gone shows when it is answered.
    await idle()
    await pause(20)
    expect(executed.length).toBeLessThan(100)
  })

  it('are answered when what follows cannot be read', async () => {
    const { socket, closed } = await client()
    socket.write(`${['/slow/0', '/a/1', '/a/2'].map(old).join('')}@@`)
    await until(() => expect(slow.length).toBe(1))
    await pause(50)
    open()
    expect(await closed).toEqual(['/slow/0', '/a/1', '/a/2'])
  })

  it('may have bodies', async () => {
    const { socket, answered, answers } = await client()
    const size = 4 * 1024 * 1024
    const body = 'x'.repeat(size)
    socket.write(old('/slow/0') + post('/body/1', 'abc') + post('/body/2', body) + old('/a/3'))
    await until(() => expect(slow.length).toBe(1))
    await pause(50)
    expect(executed).toEqual(['/slow/0'])
    open()
    await answers(4)
    expect(answered()).toEqual(['/slow/0', '/body/1:3', `/body/2:${size}`, '/a/3'])
    socket.destroy()
  })

  it('wait for longer than a client may be silent, or take for a head', async () => {
    const { socket, answered, answers } = await client()
    const all = ['/slow/0', ...paths(5000)]
    // Some head is cut in two where the reading stops.
    socket.write(all.map(old).join(''))
    await until(() => expect(slow.length).toBe(1))
    await pause(Math.max(4 * IDLE_MS, 2500))
    open()
    await answers(5001)
    expect(answered()).toEqual(all)
    socket.destroy()
  })

  it.each([true, false])(
    'do not make a head late that is not read; it comes: %s',
    async (comes) => {
      const { socket, answers, closed } = await client()
      const all = ['/slow/0', ...paths(150)]
      socket.write(`${all.map(old).join('')}GET /late/0 HTTP/1.0\r\n`)
      await until(() => expect(slow.length).toBe(1))
      // A head is looked at each second.
      await pause(2500)
      if (comes) socket.write('Connection:keep-alive\r\n\r\n')
      open()
      if (comes) {
        await answers(152)
        socket.destroy()
      }
      // Once it is read, it has as much time as any.
      expect(await closed).toEqual(comes ? [...all, '/late/0'] : all)
    },
  )
})

it('does not run a request whose head comes whole when it has been too late', async () => {
  const { socket, closed } = await client()
  socket.write(`${get('/slow/0')}GET /late/0 HTTP/1.1\r\nHost: x\r\n`)
  await until(() => expect(slow.length).toBe(1))
  await pause(2500)
  socket.write('\r\n')
  await pause(50)
  open()
  expect(await closed).toEqual(['/slow/0'])
  expect(executed).toEqual(['/slow/0'])
})

describe('requests in HTTP/1.1', () => {
  const begun = (count: number) => until(() => expect(executed.length).toBe(count))

  it('run four at a time, and are answered in order', async () => {
    const { socket, answered, answers } = await client()
    const all = paths(40, 'slow')
    socket.write(all.map(get).join(''))
    for (let done = 0; done < 40; done++) {
      await until(() => expect(executed.length).toBe(Math.min(done + 4, 40)))
      await pause(2)
      expect(slow.length).toBe(Math.min(4, 40 - done))
      slow.shift()?.()
      await answers(done + 1)
    }
    expect(executed).toEqual(all)
    expect(answered()).toEqual(all)
    await idle()
    socket.destroy()
  })

  it('do not run for answers that nobody takes', async () => {
    const { socket, answers } = await client()
    const all = paths(40, 'large')
    socket.pause()
    socket.write(all.map(get).join(''))
    await begun(4)
    await pause(100)
    expect(executed.length).toBe(4)
    endLarge()
    socket.resume()
    await answers(40)
    expect(executed).toEqual(all)
    socket.destroy()
  })

  it('run when others have ended in another order', async () => {
    const { socket, answered, answers } = await client()
    const all = paths(6, 'slow')
    socket.write(all.map(get).join(''))
    await begun(4)
    for (const answer of slow.splice(0).reverse()) answer()
    await begun(6)
    open()
    await answers(6)
    expect(answered()).toEqual(all)
    socket.destroy()
  })

  it.each([2, 6])('may have bodies; behind so many: %i', async (before) => {
    const { socket, answered, answers } = await client()
    const size = 4 * 1024 * 1024
    const first = paths(before, 'slow')
    const rest = post('/body/1', 'abc') + post('/body/2', 'x'.repeat(size))
    socket.write(first.map(get).join('') + rest + get('/a/3'))
    await begun(4)
    // For longer than a client may be silent.
    await pause(2 * IDLE_MS)
    open()
    await answers(before + 3)
    expect(answered()).toEqual([...first, '/body/1:3', `/body/2:${size}`, '/a/3'])
    socket.destroy()
  })

  it('get leave to send a body when their answer is next', async () => {
    const { socket, answered, answers, received } = await client()
    socket.write(get('/slow/0') + post('/body/1', 'abc', 'Expect: 100-continue\r\n') + get('/a/2'))
    await begun(1)
    await pause(50)
    expect(executed).toEqual(['/slow/0'])
    open()
    await answers(3)
    expect(answered()).toEqual(['/slow/0', '/body/1:3', '/a/2'])
    expect(
      received()
        .match(/HTTP\/1.1 \d+/g)
        ?.map((line) => line.slice(9)),
    ).toEqual(['200', '100', '200', '200'])
    socket.destroy()
  })

  it('are not executed when their connection is closed while they wait', async () => {
    const { socket } = await client()
    socket.write(paths(40, 'slow').map(get).join(''))
    await begun(4)
    socket.destroy()
    await idle()
    open()
    await pause(50)
    expect(executed.length).toBe(4)
  })

  it('are not executed when an answer before them ends the connection', async () => {
    const { socket, closed } = await client()
    socket.write(get('/close/0') + paths(40).map(get).join(''))
    await begun(4)
    slow.shift()?.()
    expect(await closed).toEqual(['/close/0'])
    expect(executed.length).toBe(4)
    await idle()
  })

  it('are not executed when they wait at a stop', async () => {
    const { socket, closed, received } = await client()
    socket.write(paths(40, 'slow').map(get).join(''))
    await begun(4)
    const stopped = server.stop(20_000)
    await pause(20)
    open()
    expect(await closed).toEqual(paths(4, 'slow'))
    expect(received().match(/connection: close/gi)?.length).toBe(1)
    expect(executed.length).toBe(4)
    expect(await stopped).toBe(true)
    await idle()
  })

  it('end with the next one at a stop that finds the head of every answer sent', async () => {
    const { socket, closed, received } = await client()
    socket.write(paths(40, 'large').map(get).join(''))
    await begun(4)
    // So far as the first of them has come, the others have their heads too.
    await until(() => expect(received()).toContain('/large/0'))
    await pause(20)
    const stopped = server.stop(20_000)
    await pause(20)
    endLarge()
    expect(await closed).toEqual(paths(5, 'large'))
    expect(received().match(/connection: close/gi)?.length).toBe(1)
    expect(executed.length).toBe(5)
    expect(await stopped).toBe(true)
    await idle()
  })

  it('are answered when what follows cannot be read', async () => {
    const { socket, closed } = await client()
    socket.write(`${paths(8, 'slow').map(get).join('')}@@`)
    await begun(4)
    await pause(50)
    open()
    expect(await closed).toEqual(paths(8, 'slow'))
  })

  it('are answered up to one whose body cannot be read', async () => {
    const { socket, closed } = await client()
    const chunked = 'POST /body/9 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n@@'
    socket.write(paths(8, 'slow').map(get).join('') + chunked)
    await begun(4)
    await pause(50)
    open()
    expect(await closed).toEqual(paths(8, 'slow'))
    expect(executed).not.toContain('/body/9')
  })
})
