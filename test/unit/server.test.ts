/** Connections of the server, from both of their ends. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Hono } from 'hono'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { App } from '../../src/api/route.js'
import { type RunningServer, startServer } from '../../src/api/server.js'

let server: RunningServer
/** The server's end of the connection that the last request came on. */
let serverEnd: Socket

beforeEach(async () => {
  const app = new Hono<App>()
  app.all('*', (c) => {
    serverEnd = c.env.incoming.socket
    return c.text('answered')
  })
  const ignore = () => undefined
  const log = { debug: ignore, info: ignore, warn: ignore, error: ignore }
  server = await startServer(app, {
    host: '127.0.0.1',
    port: 0,
    headersMs: 20_000,
    idleMs: 60_000,
    log,
  })
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
    expect(serverEnd.destroyed).toBe(true)
    await once(socket, 'close')
  })
})

it('keeps an idle connection for longer than proxies do', async () => {
  const { socket, answers } = await open()
  socket.write(GET)
  await answers(1)
  // The listener of the answer's end has set it by the time that a turn of the event loop is over.
  await new Promise(setImmediate)
  expect(serverEnd.timeout).toBeGreaterThan(60_000)
  socket.destroy()
})
