/** Connections of the server, from both of their ends. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Hono } from 'hono'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { App } from '../../src/api/route.js'
import type { RunningServer } from '../../src/api/server.js'
import { transfer } from '../../src/api/transfer.js'
import { Traffic } from '../../src/flows/traffic.js'
import { PATIENCE } from '../support/patience.js'
import { startTestServer } from '../support/test-server.js'

let server: RunningServer
/** The server's end of the connection that the last request came on. */
let serverEnd: Socket
let traffic: Traffic
/** Lets the streams that are under way come to their end. */
let endStreams: () => void

beforeEach(async () => {
  const app = new Hono<App>()
  traffic = new Traffic(0)
  const streamed = new Promise<void>((resolve) => {
    endStreams = resolve
  })
  async function* pieces(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('answered')
    await streamed
  }
  app.get('/stream', (c) => transfer(c, pieces(), 200, {}))
  app.all('*', (c) => {
    serverEnd = c.env.incoming.socket
    return c.text('answered')
  })
  server = await startTestServer(app, { traffic })
})

afterEach(async () => {
  await server.stop(0)
})

async function open(): Promise<{ socket: Socket; answers: (count: number) => Promise<void> }> {
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
  await once(socket, 'connect')
  let received = ''
  socket.on('data', (chunk) => {
    received += chunk
  })
  return {
    socket,
    answers: async (count) => {
      while (received.split('answered').length <= count) await once(socket, 'data')
    },
  }
}

const POST = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n'
const GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'

describe('a client that was answered before the end of its body', () => {
  it('may be silent for longer than one that sends no request', async () => {
    const { socket, answers } = await open()
    socket.write(`${POST}bo`)
    await answers(1)
    // Node says so after its time for idle connections, which begins with the answer.
    serverEnd.emit('timeout')
    expect(serverEnd.destroyed).toBe(false)
    socket.write(`dy${GET}`)
    await answers(2)
    serverEnd.emit('timeout')
    await once(socket, 'close')
    expect(serverEnd.destroyed).toBe(true)
  })
})

it('sends the answer of a stop to a client that is still sending its body', async () => {
  const size = 16 * 1024 * 1024
  const { socket, answers } = await open()
  const failed = vi.fn()
  socket.on('error', failed)
  socket.write(GET)
  await answers(1)
  const stopped = server.stop(20_000)
  socket.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n`)
  await answers(2)
  await new Promise((resolve) => socket.write(Buffer.alloc(size), resolve))
  await once(socket, 'close')
  expect(failed).not.toHaveBeenCalled()
  // With the end of the body nothing holds it up.
  expect(await stopped).toBe(true)
})

it('takes a request that waits to be read when the time of its connection is over', async () => {
  const { socket, answers } = await open()
  socket.write(GET)
  await answers(1)
  // As after a moment in which the process stood still: timers come before what has arrived.
  socket.write(GET)
  serverEnd.emit('timeout')
  await answers(2)
  socket.destroy()
})

it('keeps an idle connection for as long as it is told', async () => {
  const { socket, answers } = await open()
  socket.write(GET)
  await answers(1)
  // The listener of the answer's end has set it by the time that a turn of the event loop is over.
  await new Promise(setImmediate)
  // Node takes a second more than it tells the client.
  expect(serverEnd.timeout).toBeGreaterThanOrEqual(75_000)
  socket.destroy()
})

describe('a request is under way', () => {
  const STREAM = 'GET /stream HTTP/1.1\r\nHost: x\r\n\r\n'
  const isOver = () => vi.waitFor(() => expect(traffic.isMuch).toBe(false), PATIENCE)

  it('until its answer has been sent whole', async () => {
    const { socket, answers } = await open()
    socket.write(STREAM)
    await answers(1)
    expect(traffic.isMuch).toBe(true)
    endStreams()
    await isOver()
    socket.write(GET)
    await answers(2)
    await isOver()
    socket.destroy()
  })

  it('until its connection is closed, as are those that queue behind it', async () => {
    const { socket, answers } = await open()
    socket.write(`${STREAM}${GET}${STREAM}`)
    await answers(1)
    expect(traffic.isMuch).toBe(true)
    socket.destroy()
    await isOver()
    endStreams()
  })
})
