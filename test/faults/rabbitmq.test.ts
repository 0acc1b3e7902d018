/** A RabbitMQ that misbehaves under load: uploads go on, and every event arrives at least once. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Channel, connect } from 'amqplib'
import pg from 'pg'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { isFull } from '../support/fault-report.js'
import { startLoad } from '../support/load.js'
import { QUEUE } from '../support/queue.js'
import { startTestRabbitMQ, type TestBroker } from '../support/rabbitmq.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'
import { startProxy, type TcpProxy } from '../support/tcp-proxy.js'
import { type ArrivedEvent, checkEvents, checkUploads } from '../support/uploads-check.js'

const PATIENCE = { timeout: 60_000, interval: 50 }
const DECLARATION = { durable: true, exclusive: false, autoDelete: false }

let broker: TestBroker
let proxy: TcpProxy
let store: TestStore
/** One process for all faults: none of them may need another. */
let service: TestService
const arrived: ArrivedEvent[] = []
/** Events that were in a queue, or on their way to it, when it was deleted; and earlier ones. */
const goneWithQueue = new Set<unknown>()
let database: pg.Client

beforeAll(async () => {
  broker = await startTestRabbitMQ()
  proxy = await startProxy('127.0.0.1', broker.port)
  store = await testStore()
  database = new pg.Client({ connectionString: store.databaseUri })
  await database.connect()
  const uri = new URL(broker.uri)
  uri.port = String(proxy.port)
  service = await store.start({ QUEUE_URI: uri.href })
})

afterAll(async () => {
  await database?.end()
  await store?.remove()
  await proxy?.cut()
  await broker?.stop()
})

const query = async (text: string) => (await database.query(text)).rows

interface Fault {
  readonly name: string
  /** How often it happens: in `make test`, and in full. */
  readonly rounds: readonly [bounded: number, full: number]
  /** Breaks the broker, sees that the service suffers where that can be seen, and mends it. */
  readonly happen: () => Promise<void>
}

const FAULTS: readonly Fault[] = [
  {
    name: 'has its queue deleted',
    rounds: [2, 50],
    happen: async () => {
      await deleteQueue()
      await vi.waitFor(async () => expect(await withChannel(queueExists)).toBe(true), PATIENCE)
    },
  },
  {
    name: 'has a queue with other arguments',
    rounds: [1, 10],
    happen: async () => {
      // The service would declare its own first.
      await proxy.cut()
      await untilConnected(false)
      await deleteQueue({ maxLength: 1_000_000 })
      await proxy.restore()
      const before = await outboxDepth()
      await vi.waitFor(async () => expect(await outboxDepth()).toBeGreaterThan(before), PATIENCE)
      // Nothing comes meanwhile: the service has no connection.
      await withChannel(async (channel) => {
        await drain(channel)
        await channel.deleteQueue(QUEUE, { ifEmpty: true })
      })
      await untilConnected(true)
    },
  },
  {
    name: 'closes the channel',
    rounds: [2, 50],
    happen: async () => {
      await broker.evaluate('[exit(Channel, kill) || Channel <- rabbit_channel:list()], ok')
      await untilConnected(true)
    },
  },
  {
    name: 'closes the connection',
    rounds: [0, 50],
    happen: async () => {
      await closeConnections()
      await untilConnected(true)
    },
  },
  {
    name: 'closes the channel at each message, for want of a permission',
    rounds: [0, 5],
    happen: async () => {
      await permitPublishing(false)
      await closeConnections()
      const before = await outboxDepth()
      await vi.waitFor(
        async () => expect(await outboxDepth()).toBeGreaterThan(before + 100),
        PATIENCE,
      )
      await permitPublishing(true)
      await emptied()
    },
  },
  {
    name: 'stands still',
    // integration/rabbitmq.test.ts has it in `make test`.
    rounds: [0, 5],
    happen: async () => {
      await broker.freeze()
      try {
        await untilConnected(false)
      } finally {
        broker.thaw()
      }
      await untilConnected(true)
    },
  },
  {
    name: 'raises its memory alarm',
    // broker-down.test.ts has it in `make test`.
    rounds: [0, 20],
    happen: async () => {
      await broker.block()
      await untilConnected(false)
      await broker.unblock()
      await untilConnected(true)
    },
  },
  {
    name: 'is there and away each second',
    rounds: [2, 60],
    happen: async () => {
      await sleep(500)
      await proxy.cut()
      await sleep(500)
      await proxy.restore()
    },
  },
]

it.each(FAULTS.filter(({ rounds }) => isFull || rounds[0] > 0))(
  'a broker that $name hinders no upload and loses no event',
  async ({ name, rounds, happen }) => {
    const tally = tallyOf('broker', name)
    const load = await startLoad(service.url, { mayRefuse: false })
    const { violations } = tally
    try {
      await untilConnected(true)
      for (; tally.tried < rounds[isFull ? 1 : 0]; tally.tried++) {
        await load.until(200, 5)
        await happen()
      }
      await load.until(200, 5)
      await load.stop()
      await emptied()
      await withChannel(drain)
      violations.push(...(await checkUploads(service.url, query, load.uploads)))
      const events = await checkEvents(query, arrived, goneWithQueue)
      violations.push(...events.violations)
    } finally {
      await load.stop()
      violations.push(...load.violations)
    }
    expect(violations).toEqual([])
    expect(service.process.exitCode).toBeNull()
  },
  isFull ? 1_800_000 : 300_000,
)

it('the process that has seen it all ends in an orderly way', async () => {
  expect(await service.stop()).toBe(0)
})

/** After a refusal events go one by one at first, each of which waits for the broker's disk. */
const emptied = () =>
  vi.waitFor(async () => expect(await outboxDepth()).toBe(0), { ...PATIENCE, timeout: 240_000 })

async function outboxDepth(): Promise<number> {
  const [row] = await query('SELECT count(*)::int AS depth FROM outbox')
  return row?.depth
}

const untilConnected = (wanted: boolean) =>
  vi.waitFor(async () => {
    const answer = await fetch(`${service.url}/health`)
    const { results } = (await answer.json()) as {
      results: { service: string; healthy: boolean }[]
    }
    // Without the broker, uploads are taken all the same.
    expect(answer.status).toBe(200)
    expect(results.find((part) => part.service === 'rabbitmq')?.healthy).toBe(wanted)
  }, PATIENCE)

async function closeConnections(): Promise<void> {
  await broker.evaluate(
    '[rabbit_networking:close_connection(C, "by the test") || C <- rabbit_networking:connections()], ok',
  )
}

async function permitPublishing(may: boolean): Promise<void> {
  const write = may ? '.*' : ''
  const set = `rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"/">>, <<".*">>, <<"${write}">>, <<".*">>, <<"tests">>)`
  expect(await broker.evaluate(set)).toBe('ok')
}

/** On a connection past the proxy, which is closed afterwards. */
async function withChannel<T>(use: (channel: Channel) => Promise<T>): Promise<T> {
  const connection = await connect(broker.uri)
  connection.on('error', () => {})
  try {
    const channel = await connection.createChannel()
    channel.on('error', () => {})
    return await use(channel)
  } finally {
    await connection.close().catch(() => undefined)
  }
}

/** Takes everything that is in the queue. */
async function drain(channel: Channel): Promise<void> {
  for (;;) {
    const message = await channel.get(QUEUE, { noAck: true })
    if (message === false) return
    const { content, properties } = message
    arrived.push({ messageId: properties.messageId, body: content.toString() })
  }
}

async function queueExists(channel: Channel): Promise<boolean> {
  return channel.checkQueue(QUEUE).then(
    () => true,
    () => false,
  )
}

/**
 * Deletes the queue under load, and declares another one at once, if wanted. What the broker has
 * confirmed is its own, and goes with the queue: what was in it, and what was on its way to it. All
 * else must arrive, namely what waits in the outbox at the end of the deletion and is not being
 * published at that moment, and what comes later.
 */
async function deleteQueue(other?: { maxLength: number }): Promise<void> {
  await withChannel(async (channel) => {
    await drain(channel)
    await channel.deleteQueue(QUEUE)
    const gone = await query(
      `WITH waiting AS MATERIALIZED (SELECT message_id FROM outbox FOR UPDATE SKIP LOCKED)
       SELECT id FROM raw_file WHERE id NOT IN (SELECT message_id FROM waiting)`,
    )
    for (const { id } of gone) goneWithQueue.add(id)
    if (other) await channel.assertQueue(QUEUE, { ...DECLARATION, ...other })
  })
}
