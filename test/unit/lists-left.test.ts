/** Clients that go away while a list is read or sent: nothing is read for nobody. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { RunningServer } from '../../src/api/server.js'
import { listService } from '../support/list-service.js'
import { startTestServer } from '../support/test-server.js'

const ROWS = 2000

let service: ReturnType<typeof listService>
let server: RunningServer
let client: Socket

beforeEach(async () => {
  service = listService(ROWS)
  server = await startTestServer(service.app, { log: service.log })
  client = connect(Number(new URL(server.url).port), '127.0.0.1')
  await once(client, 'connect')
})

afterEach(async () => {
  client.destroy()
  await server.stop(0)
})

const ask = (path: string) => client.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)

/** Lets the client go, and waits until the service has seen it and would have gone on. */
async function leave(counted: () => number): Promise<number> {
  client.destroy()
  const before = counted()
  await sleep(400)
  return counted() - before
}

describe('a client that goes away', () => {
  it('before contents are sent leaves no more than one to be opened', async () => {
    service.delays.get = 10
    ask(`/bytes/raws?limit=${ROWS}`)
    await vi.waitFor(() => expect(service.counts.get).toBeGreaterThan(0), { interval: 1 })
    const slices = service.counts.slice
    // What was under way when the connection ended, and what came before that was noticed.
    expect(await leave(() => service.counts.get)).toBeLessThan(5)
    expect(service.counts.slice - slices).toBeLessThanOrEqual(1)
    expect(service.statuses).toEqual([400])
    expect(service.errors).toEqual([])
  })

  it.each([
    ['raw files', '/bytes/raw'],
    ['jobs', '/bytes/boefje_meta'],
    ['normalizer metas', '/bytes/normalizer_meta'],
  ])('while %s are read ahead ends that', async (_, path) => {
    service.delays.slice = 30
    ask(`${path}?organization=o&limit=${ROWS}`)
    await vi.waitFor(() => expect(service.counts.slice).toBeGreaterThan(1), { interval: 1 })
    expect(await leave(() => service.counts.slice)).toBeLessThanOrEqual(2)
    expect(service.statuses).toEqual([400])
    expect(service.errors).toEqual([])
  })

  it('while a list is sent ends its reading, which is no error', async () => {
    service.delays.slice = 30
    service.job.arguments = JSON.stringify('x'.repeat(100_000))
    client.resume()
    ask(`/bytes/raw?limit=${ROWS}`)
    await vi.waitFor(() => expect(client.bytesRead).toBeGreaterThan(30_000_000), 30_000)
    expect(await leave(() => service.counts.slice)).toBeLessThanOrEqual(2)
    expect(service.statuses).toEqual([200])
    expect(service.errors).toEqual([])
  })
})
