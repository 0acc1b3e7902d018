/** Promise 2: no event is lost, and a broker that is down neither fails nor hinders an upload. */
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'amqplib'
import pg from 'pg'
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  inject,
  it,
  vi,
} from 'vitest'
import { login } from '../support/client.js'
import { QUEUE, type QueueReader, readQueue } from '../support/queue.js'
import { startTestRabbitMQ, type TestBroker } from '../support/rabbitmq.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { type Tally, tallyOf } from '../support/tally.js'
import { startProxy, type TcpProxy } from '../support/tcp-proxy.js'

const PATIENCE = { timeout: 40_000, interval: 50 }

let store: TestStore

beforeEach(async () => {
  store = await testStore()
})

afterEach(() => store?.remove())

/** Uploads files one after the other until told to stop; every upload must succeed. */
function uploadSteadily(service: TestService): { stop(): Promise<string[]> } {
  let stopped = false
  const uploading = (async () => {
    const client = await login(service.url)
    const ids: string[] = []
    while (!stopped) {
      const job = await client.job()
      const stored = await client.upload(job, [
        { name: 'a', content: `${job} a`, tags: ['a'] },
        { name: 'b', content: `${job} b`, tags: ['b'] },
      ])
      ids.push(...Object.values(stored))
      await sleep(20)
    }
    return ids
  })()
  // Handled in `stop`.
  uploading.catch(() => undefined)
  return {
    stop: () => {
      stopped = true
      return uploading
    },
  }
}

interface Health {
  readonly healthy: boolean
  readonly results: { service: string; healthy: boolean; additional: unknown }[]
}

async function healthOf(service: TestService): Promise<Health & { status: number }> {
  const answer = await fetch(`${service.url}/health`)
  return { status: answer.status, ...((await answer.json()) as Health) }
}

const brokerHealth = async (service: TestService): Promise<boolean | undefined> =>
  (await healthOf(service)).results.find((part) => part.service === 'rabbitmq')?.healthy

const untilBroker = (service: TestService, healthy: boolean) =>
  vi.waitFor(async () => expect(await brokerHealth(service)).toBe(healthy), PATIENCE)

async function outboxIds(): Promise<string[]> {
  const client = new pg.Client({ connectionString: store.databaseUri })
  await client.connect()
  try {
    const { rows } = await client.query('SELECT message_id FROM outbox ORDER BY id')
    return rows.map((row) => row.message_id)
  } finally {
    await client.end()
  }
}

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
    await vi.waitFor(async () => expect(await outboxIds()).toEqual([]), PATIENCE)
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
    expect(await outboxIds()).toEqual([ids.x])
    await proxy.restore()
    await vi.waitFor(() => expect(queue.ids()).toEqual([ids.x]), PATIENCE)
    await vi.waitFor(async () => expect(await outboxIds()).toEqual([]), PATIENCE)
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
      expect(await outboxIds()).toEqual(ids)
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
      await vi.waitFor(async () => expect(await outboxIds()).toEqual([]), PATIENCE)
    } finally {
      await queue.close()
    }
  })
})

describe('a broker that itself', () => {
  let broker: TestBroker

  beforeAll(async () => {
    broker = await startTestRabbitMQ()
  })

  afterAll(() => broker?.stop())

  /** Uploads while `fault` happens; every upload succeeds, and every event arrives in the end. */
  async function survives(
    tally: Tally,
    fault: (service: TestService) => Promise<void>,
  ): Promise<void> {
    const service = await store.start({ QUEUE_URI: broker.uri })
    await untilBroker(service, true)
    // Empties the queue.
    await (await readQueue(broker.uri)).close()
    const uploads = uploadSteadily(service)
    await sleep(300)
    await fault(service)
    await untilBroker(service, true)
    const ids = await uploads.stop()
    tally.tried = ids.length
    await vi.waitFor(async () => expect(await outboxIds()).toEqual([]), PATIENCE)
    // The queue is durable, so that what arrived before the fault is there as well.
    const arrived = new Set(await drainQueue(broker.uri))
    expect(ids.length).toBeGreaterThan(10)
    tally.violations.push(...ids.filter((id) => !arrived.has(id)))
    expect(tally.violations).toEqual([])
    expect(await service.stop()).toBe(0)
  }

  it('stops in an orderly way loses no event', async () => {
    await survives(
      tallyOf('broker', 'uploads while it stops in an orderly way'),
      async (service) => {
        await broker.pauseApp()
        await untilBroker(service, false)
        await sleep(1_500)
        await broker.resumeApp()
      },
    )
  })

  it('takes no messages for a while loses no event', async () => {
    await survives(tallyOf('broker', 'uploads while it takes no messages'), async (service) => {
      await broker.block()
      await untilBroker(service, false)
      await sleep(1_500)
      await broker.unblock()
    })
  })

  it('refuses an event for its size gets all the others', async () => {
    const tally = tallyOf('broker', 'uploads behind an event that is too large')
    const limit = (bytes: number) =>
      broker.evaluate(
        `application:set_env(rabbit, max_message_size, ${bytes}), ` +
          `persistent_term:put(max_message_size, ${bytes})`,
      )
    await limit(50_000)
    try {
      const client = new pg.Client({ connectionString: store.databaseUri })
      let service = await store.start()
      expect(await service.stop()).toBe(0)
      await client.connect()
      const { rows } = await client.query(
        `INSERT INTO outbox (message_id, event_id, body, headers)
         VALUES (gen_random_uuid(), 'raw_file_received', $1, '{}') RETURNING message_id`,
        [JSON.stringify('x'.repeat(60_000))],
      )
      await client.end()
      const refused = rows[0].message_id

      service = await store.start({ QUEUE_URI: broker.uri })
      const queue = await readQueue(broker.uri)
      const uploads = uploadSteadily(service)
      await sleep(5_000)
      const ids = await uploads.stop()
      tally.tried = ids.length
      expect(ids.length).toBeGreaterThan(10)
      await vi.waitFor(async () => expect(await outboxIds()).toEqual([refused]), PATIENCE)
      await vi.waitFor(() => expect(queue.ids()).toEqual(expect.arrayContaining(ids)), PATIENCE)
      const errors = service
        .log()
        .split('\n')
        .filter((line) => line.includes('"level":"error"'))
      expect(errors).toHaveLength(1)
      expect(errors[0]).toContain(refused)
      expect(errors[0]).toContain('max_message_size')
      expect(errors[0]).not.toContain('xxx')

      await limit(134_217_728)
      await vi.waitFor(async () => expect(await outboxIds()).toEqual([]), PATIENCE)
      await vi.waitFor(() => expect(queue.ids()).toContain(refused), PATIENCE)
      await queue.close()
      expect(await service.stop()).toBe(0)
    } finally {
      await limit(134_217_728)
    }
  }, 120_000)

  it('is killed and started again loses no event', async () => {
    await survives(tallyOf('broker', 'uploads while it is killed'), async (service) => {
      await broker.kill()
      await untilBroker(service, false)
      await broker.restart()
    })
  }, 90_000)
})

/** The ids of all messages that wait in the queue. */
async function drainQueue(uri: string): Promise<unknown[]> {
  const connection = await connect(uri)
  const channel = await connection.createChannel()
  const ids: unknown[] = []
  for (;;) {
    const message = await channel.get(QUEUE, { noAck: true })
    if (message === false) break
    ids.push(message.properties.messageId)
  }
  await connection.close()
  return ids
}
