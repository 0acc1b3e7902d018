/** The memory that answers share while they wait for their clients. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { RunningServer } from '../../src/api/server.js'
import { type AnswerMemory, createAnswerMemory, Holding } from '../../src/flows/answer-room.js'
import { listService } from '../support/list-service.js'
import { startTestServer } from '../support/test-server.js'

const SIZE = 1_000_000
const LONG = 600_000

let memory: AnswerMemory
beforeEach(() => {
  memory = createAnswerMemory(SIZE)
})
afterEach(() => {
  vi.useRealTimers()
})

/** Whether nobody holds so much that this is not free. */
async function isFree(characters = SIZE): Promise<boolean> {
  const release = await memory.held.take(characters, 0)
  release?.()
  return release !== undefined
}

describe('an answer', () => {
  let ended: AbortController
  let begun: boolean
  let queues: Promise<void> | undefined
  let cuts: string[]
  const holding = (signal = ended.signal) =>
    new Holding(memory, {
      signal,
      hasBegun: () => begun,
      isNext: () => queues === undefined,
      untilNext: async () => queues,
      cut: ({ message }) => cuts.push(message),
    })
  const long = async (length = LONG) => ({ length })

  beforeEach(() => {
    ended = new AbortController()
    begun = false
    queues = undefined
    cuts = []
  })

  it('that is short takes nothing', async () => {
    const other = await memory.held.take(SIZE, 0)
    expect(await holding().hold(() => long(262_144))).toEqual({ length: 262_144 })
    other?.()
    expect(await isFree()).toBe(true)
  })

  it('holds what it has read, until the next or its end', async () => {
    const one = holding()
    await one.hold(() => long())
    expect([await isFree(SIZE - LONG), await isFree(SIZE - LONG + 1)]).toEqual([true, false])
    await one.hold(() => long(SIZE - 1))
    expect([await isFree(1), await isFree(2)]).toEqual([true, false])
    await one.hold(() => long(10))
    expect(await isFree()).toBe(true)
    await one.hold(() => long(100 * SIZE))
    expect(await isFree(1)).toBe(false)
    ended.abort()
    expect(await isFree()).toBe(true)
  })

  it('holds nothing while it reads, nor when that fails', async () => {
    const one = holding()
    await one.hold(() => long())
    const fails = one.hold(async () => {
      expect(await isFree()).toBe(true)
      throw new Error('it cannot be read')
    })
    await expect(fails).rejects.toThrow('it cannot be read')
    expect(await isFree()).toBe(true)
  })

  it('takes nothing any more when it ended while it was read', async () => {
    const read = async () => {
      ended.abort()
      return long()
    }
    await expect(holding().hold(read)).rejects.toBe(ended.signal.reason)
    expect(await isFree()).toBe(true)
  })

  it('is refused when there is no room in time, and reads again when there is', async () => {
    vi.useFakeTimers()
    const other = await memory.held.take(LONG, 0)
    const read = vi.fn(long)
    const refused = expect(holding().hold(() => read())).rejects.toMatchObject({ code: 'busy' })
    await vi.advanceTimersByTimeAsync(30_001)
    await refused
    const waits = holding().hold(() => read())
    await vi.advanceTimersByTimeAsync(1000)
    expect(read).toHaveBeenCalledTimes(2)
    other?.()
    expect(await waits).toEqual({ length: LONG })
    expect(read).toHaveBeenCalledTimes(3)
    ended.abort()
    vi.useRealTimers()
    expect(await isFree()).toBe(true)
  })

  it('that has begun waits for as long as it takes, or until its client goes', async () => {
    vi.useFakeTimers()
    begun = true
    const other = await memory.held.take(LONG, 0)
    const gone = new AbortController()
    const leaves = holding(gone.signal).hold(() => long())
    const waits = holding().hold(() => long())
    await vi.advanceTimersByTimeAsync(3_600_000)
    gone.abort()
    await expect(leaves).rejects.toBe(gone.signal.reason)
    other?.()
    expect(await waits).toEqual({ length: LONG })
    ended.abort()
    vi.useRealTimers()
    expect(await isFree()).toBe(true)
  })

  it('takes nothing while it queues behind others on its connection', async () => {
    let itsTurn: () => void = () => undefined
    queues = new Promise((resolve) => {
      itsTurn = resolve
    })
    const read = vi.fn(long)
    const waits = holding().hold(() => read())
    await vi.waitFor(() => expect(read).toHaveBeenCalledTimes(1))
    await new Promise(setImmediate)
    expect(await isFree()).toBe(true)
    queues = undefined
    itsTurn()
    expect(await waits).toEqual({ length: LONG })
    expect(await isFree()).toBe(false)
    ended.abort()
  })

  it('is cut when its client takes too long while others wait, and not otherwise', async () => {
    vi.useFakeTimers()
    begun = true
    await holding().hold(() => long())
    await vi.advanceTimersByTimeAsync(3_600_000)
    expect(cuts).toEqual([])
    const other = new AbortController()
    const waits = holding(other.signal).hold(() => long())
    await vi.advanceTimersByTimeAsync(300_000)
    expect(cuts).toEqual([expect.stringContaining('too slowly')])
    ended.abort()
    expect(await waits).toEqual({ length: LONG })
    await vi.advanceTimersByTimeAsync(3_600_000)
    expect(cuts).toHaveLength(1)
    other.abort()
  })

  it('reads a part of a list when few others are read', async () => {
    let reading = 0
    let most = 0
    const read = async () => {
      most = Math.max(most, ++reading)
      await new Promise(setImmediate)
      reading -= 1
      return long(1)
    }
    await Promise.all(Array.from({ length: 50 }, () => holding().holdPart(read)))
    expect(most).toBe(8)
  })
})

describe('clients that read nothing', () => {
  let service: ReturnType<typeof listService>
  let server: RunningServer
  let clients: Socket[]

  beforeEach(async () => {
    memory = createAnswerMemory(10_000_000)
    service = listService(200, memory)
    // More than the system takes of an answer for a client that does not read.
    service.job.arguments = JSON.stringify('x'.repeat(400_000))
    clients = []
    server = await startTestServer(service.app, { log: service.log })
  })

  afterEach(async () => {
    for (const socket of clients) socket.destroy()
    await server.stop(0)
  })

  async function ask(path: string): Promise<Socket> {
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1').pause()
    clients.push(socket)
    await once(socket, 'connect')
    socket.on('error', () => undefined)
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    return socket
  }

  const LIST = '/bytes/boefje_meta?organization=o&limit=20'

  it('have what they hold given back when they go, and when they read to the end', async () => {
    const first = await ask(LIST)
    await vi.waitFor(async () => expect(await isFree(2_100_000)).toBe(false))
    first.destroy()
    await vi.waitFor(async () => expect(await isFree(10_000_000)).toBe(true))
    const second = await ask(LIST)
    await vi.waitFor(async () => expect(await isFree(2_100_000)).toBe(false))
    let received = 0
    second.on('data', (chunk: Buffer) => {
      received += chunk.length
    })
    await once(second.resume(), 'close')
    expect(received).toBeGreaterThan(8_000_000)
    await vi.waitFor(async () => expect(await isFree(10_000_000)).toBe(true))
    expect(service.errors).toEqual([])
  })

  it('let others go on when they have gone', async () => {
    const first = await ask(LIST)
    await vi.waitFor(async () => expect(await isFree(2_100_000)).toBe(false))
    const second = await ask(LIST)
    await vi.waitFor(() => expect(service.counts.slice).toBe(2))
    second.resume()
    first.destroy()
    await once(second, 'close')
    expect(second.bytesRead).toBeGreaterThan(8_000_000)
  })

  it('do not wait for answers that queue behind their own', async () => {
    // Each list is two slices, of which the memory has room for two.
    service.job.arguments = JSON.stringify('x'.repeat(40_000))
    const get = 'GET /bytes/boefje_meta?organization=o&limit=200 HTTP/1.1\r\nHost: x\r\n'
    const last = `${get}Connection: close\r\n\r\n`
    const sockets = Array.from({ length: 3 }, () =>
      connect(Number(new URL(server.url).port), '127.0.0.1'),
    )
    clients.push(...sockets)
    const closed = sockets.map((socket) => once(socket.resume(), 'close'))
    for (const socket of sockets) socket.write(`${get}\r\n`.repeat(3) + last)
    await Promise.all(closed)
    for (const { bytesRead } of sockets) expect(bytesRead).toBeGreaterThan(4 * 8_000_000)
    expect(await isFree(10_000_000)).toBe(true)
    expect(service.errors).toEqual([])
  })

  it('leave nothing taken when their list fails', async () => {
    service.job.arguments = JSON.stringify('x'.repeat(40_000))
    service.good.slices = 1
    const client = await ask('/bytes/boefje_meta?organization=o&limit=200')
    await vi.waitFor(async () => expect(await isFree(10_000_000)).toBe(false))
    expect(service.errors).toEqual([])
    await once(client.resume(), 'close')
    expect(service.errors).toHaveLength(1)
    expect(await isFree(10_000_000)).toBe(true)
  })
})
