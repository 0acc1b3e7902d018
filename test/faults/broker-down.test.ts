/** Promise 2: no event is lost, and a broker that is away neither fails nor hinders an upload. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, inject, it, vi } from 'vitest'
import {
  brokerHealth,
  healthOf,
  outboxIds,
  PATIENCE,
  untilBroker,
  uploadSteadily,
} from '../support/broker-health.js'
import { login } from '../support/client.js'
import { type QueueReader, readQueue } from '../support/queue.js'
import { type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'
import { startProxy, type TcpProxy } from '../support/tcp-proxy.js'

let store: TestStore

beforeEach(async () => {
  store = await testStore()
})

afterEach(() => store?.remove())

describe('a broker that cannot be reached for some seconds', () => {
  let queue: QueueReader
  let proxy: TcpProxy
  let uri: string

  beforeEach(async () => {
    const target = new URL(inject('brokerUris').broker_down)
    queue = await readQueue(target.href)
    proxy = await startProxy(target.hostname, Number(target.port))
    target.port = String(proxy.port)
    uri = target.href
  })

  afterEach(async () => {
    await proxy?.cut()
    await queue?.close()
  })

  it('fails no upload, and gets every event afterwards', async () => {
    const tally = tallyOf('broker', 'uploads while it cannot be reached')
    const service = await store.start({ QUEUE_URI: uri })
    await untilBroker(service, true)
    const uploads = uploadSteadily(service)
    await sleep(500)
    for (let outage = 0; outage < 2; outage++) {
      await proxy.cut()
      await untilBroker(service, false)
      expect(await healthOf(service)).toMatchObject({ status: 200, healthy: true })
      const { additional } =
        (await healthOf(service)).results.find((part) => part.service === 'rabbitmq') ?? {}
      expect(additional).toMatch(/degraded/)
      await sleep(1_500)
      await proxy.restore()
      await untilBroker(service, true)
      await sleep(300)
    }
    const ids = await uploads.stop()
    tally.tried = ids.length
    expect(ids.length).toBeGreaterThan(20)
    await vi.waitFor(() => {
      const arrived = new Set(queue.ids())
      expect(ids.filter((id) => !arrived.has(id))).toEqual([])
    }, PATIENCE)
    await vi.waitFor(async () => expect(await outboxIds(store)).toEqual([]), PATIENCE)
    const known = new Set(ids)
    expect(queue.ids().filter((id) => !known.has(String(id)))).toEqual([])
    expect(await service.stop()).toBe(0)
  })

  it('does not hinder the start', async () => {
    tallyOf('broker', 'starts without it').tried = 1
    await proxy.cut()
    const service = await store.start({ QUEUE_URI: uri })
    const client = await login(service.url)
    const ids = await client.upload(await client.job(), [{ name: 'x', content: 'x' }])
    expect(await healthOf(service)).toMatchObject({ status: 200, healthy: true })
    expect(await brokerHealth(service)).toBe(false)
    expect(await outboxIds(store)).toEqual([ids.x])
    await proxy.restore()
    await vi.waitFor(() => expect(queue.ids()).toEqual([ids.x]), PATIENCE)
    await vi.waitFor(async () => expect(await outboxIds(store)).toEqual([]), PATIENCE)
    expect(await service.stop()).toBe(0)
  })

  it('does not hinder the end, and the next start publishes what was left', async () => {
    tallyOf('broker', 'ends without it').tried = 1
    const first = await store.start({ QUEUE_URI: uri })
    await untilBroker(first, true)
    await proxy.cut()
    const client = await login(first.url)
    const ids = await client.upload(await client.job(), [{ name: 'x', content: 'x' }])
    expect(await first.stop()).toBe(0)
    await proxy.restore()
    const second = await store.start({ QUEUE_URI: uri })
    await vi.waitFor(() => expect(queue.ids()).toEqual([ids.x]), PATIENCE)
    expect(await second.stop()).toBe(0)
  })
})

describe('a service without QUEUE_URI', () => {
  it('keeps the events, says so once, and publishes them when it has a broker', async () => {
    const tally = tallyOf('broker', 'uploads without one')
    const queue = await readQueue(inject('brokerUris').broker_down)
    try {
      const without = await store.start()
      const client = await login(without.url)
      const ids: string[] = []
      for (let i = 0; i < 5; i++) {
        const stored = await client.upload(await client.job(), [{ name: 'x', content: `${i}` }])
        ids.push(stored.x ?? '')
        tally.tried++
      }
      await sleep(1_500)
      expect(await outboxIds(store)).toEqual(ids)
      expect(await brokerHealth(without)).toBeUndefined()
      expect(await healthOf(without)).toMatchObject({ status: 200, healthy: true })
      const warnings = without
        .log()
        .split('\n')
        .filter((line) => /"level":"(warn|error)"/.test(line))
      expect(warnings).toHaveLength(1)
      expect(warnings[0]).toContain('QUEUE_URI')
      expect(await without.stop()).toBe(0)

      await store.start({ QUEUE_URI: inject('brokerUris').broker_down })
      await vi.waitFor(() => expect(queue.ids()).toEqual(ids), PATIENCE)
      await vi.waitFor(async () => expect(await outboxIds(store)).toEqual([]), PATIENCE)
    } finally {
      await queue.close()
    }
  })
})
