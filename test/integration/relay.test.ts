import { setTimeout as sleep } from 'node:timers/promises'
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
import type { MetaRepository, Outbox } from '../../src/domain/meta-repository.js'
import type { EventManager, OutgoingEvent } from '../../src/domain/ports.js'
import { createRabbitMQEventManager } from '../../src/events/rabbitmq.js'
import { type Relay, startRelay } from '../../src/flows/relay.js'
import { createOutbox } from '../../src/meta/outbox.js'
import { createMetaRepository } from '../../src/meta/repository.js'
import { testDatabase } from '../support/database.js'
import { PATIENCE } from '../support/patience.js'
import { silentLog } from '../support/postgres.js'
import { type QueueReader, readQueue } from '../support/queue.js'
import { storedFiles } from '../support/rows.js'
import { startProxy } from '../support/tcp-proxy.js'

let database: Awaited<ReturnType<typeof testDatabase>>
let meta: MetaRepository
let queue: QueueReader | undefined
const ending: (() => Promise<unknown> | unknown)[] = []

beforeAll(async () => {
  database = await testDatabase()
  meta = createMetaRepository(database)
})

afterAll(() => database?.close())

beforeEach(async () => {
  await database.pool.query('DELETE FROM outbox')
})

afterEach(async () => {
  vi.useRealTimers()
  for (const end of ending.splice(0).reverse()) await end()
  await queue?.close()
  queue = undefined
})

/** Commits files in uploads of 50; resolves to their ids in order. */
async function commit(files: number): Promise<string[]> {
  const ids: string[] = []
  while (ids.length < files) {
    const size = Math.min(50, files - ids.length)
    const stored = await storedFiles(
      meta,
      Array.from({ length: size }, (_, i) => [`type/${i}`]),
    )
    ids.push(...stored.ids)
  }
  return ids
}

function relayOf(
  events: EventManager,
  outbox: Outbox = createOutbox(database.pool),
): Relay & { counted: Record<'published' | 'failed', number> } {
  const counted = { published: 0, failed: 0 }
  const relay = startRelay({
    outbox,
    events,
    log: silentLog,
    count: (outcome, n) => {
      counted[outcome] += n
    },
  })
  ending.push(() => relay.stop())
  return { ...relay, counted }
}

/** Relay on the real broker. */
function brokerRelay(uri = inject('brokerUris').relay) {
  let relay: ReturnType<typeof relayOf> | undefined
  const manager = createRabbitMQEventManager({
    uri,
    log: silentLog,
    onConnected: () => relay?.wake(),
  })
  ending.push(() => manager.close())
  relay = relayOf(manager)
  return relay
}

type Publish = (events: readonly OutgoingEvent[]) => Promise<boolean[]>

/** An event manager in memory; `publish` decides on each batch. */
function fakeManager(publish: Publish = async (events) => events.map(() => true)) {
  const batches: string[][] = []
  const manager = {
    connected: true,
    batches,
    publish: (events: readonly OutgoingEvent[]) => {
      batches.push(events.map((event) => event.messageId))
      return publish(events)
    },
    close: async () => {},
  }
  return manager
}

const depth = async (): Promise<number> => (await meta.outboxState()).depth
const emptied = () => vi.waitFor(async () => expect(await depth()).toBe(0), PATIENCE)

describe('on the broker', () => {
  it('every event arrives once, in order', async () => {
    queue = await readQueue(inject('brokerUris').relay)
    const ids = await commit(450)
    const relay = brokerRelay()
    await emptied()
    const more = await commit(3)
    relay.wake()
    await emptied()
    await vi.waitFor(() => expect(queue?.messages.length).toBe(453), PATIENCE)
    await sleep(200)
    expect(queue.ids()).toEqual([...ids, ...more])
    expect(relay.counted).toEqual({ published: 453, failed: 0 })
  })

  it('a message is what was committed', async () => {
    queue = await readQueue(inject('brokerUris').relay)
    const { rows } = await database.pool.query(
      `INSERT INTO outbox (message_id, event_id, body, headers, created_at)
       VALUES (gen_random_uuid(), 'raw_file_received', '{"n":1.10}', '{"size":7,"a":"b"}', '2026-01-01 00:00:01.9+00')
       RETURNING message_id`,
    )
    brokerRelay()
    await vi.waitFor(() => expect(queue?.messages.length).toBe(1), PATIENCE)
    const [message] = queue.messages
    expect(message?.content.toString()).toBe('{"n":1.10}')
    expect(message?.properties).toMatchObject({
      messageId: rows[0].message_id,
      type: 'raw_file_received',
      timestamp: Date.UTC(2026, 0, 1) / 1000 + 1,
      headers: { size: 7, a: 'b' },
      deliveryMode: 2,
      contentType: 'application/json',
    })
  })

  it('an event of a clock that was far ahead arrives with its time', async () => {
    queue = await readQueue(inject('brokerUris').relay)
    await database.pool.query(
      `INSERT INTO outbox (message_id, event_id, body, headers, created_at)
       VALUES (gen_random_uuid(), 'raw_file_received', '{}', '{}', '2106-03-01 00:00:00+00')`,
    )
    brokerRelay()
    await vi.waitFor(() => expect(queue?.messages.length).toBe(1), PATIENCE)
    expect(queue.messages[0]?.properties.timestamp).toBe(Date.UTC(2106, 2, 1) / 1000)
    await emptied()
  })

  it('two relays share the work, and publish nothing twice', async () => {
    queue = await readQueue(inject('brokerUris').relay)
    const ids = await commit(2_000)
    const relays = [brokerRelay(), brokerRelay()]
    await emptied()
    await vi.waitFor(() => expect(queue?.messages.length).toBe(2_000), PATIENCE)
    await sleep(200)
    expect(queue.ids().toSorted()).toEqual(ids.toSorted())
    const [a = 0, b = 0] = relays.map((relay) => relay.counted.published)
    expect(a + b).toBe(2_000)
  })

  it('events wait while it cannot be reached, and arrive afterwards', async () => {
    const target = new URL(inject('brokerUris').relay)
    queue = await readQueue(target.href)
    const proxy = await startProxy(target.hostname, Number(target.port))
    ending.push(() => proxy.cut())
    await proxy.cut()

    const uri = new URL(target)
    uri.port = String(proxy.port)
    const relay = brokerRelay(uri.href)
    const ids = await commit(60)
    relay.wake()
    await sleep(1_500)
    expect(await depth()).toBe(60)
    expect(relay.counted).toEqual({ published: 0, failed: 0 })

    await proxy.restore()
    await vi.waitFor(() => expect(queue?.ids()).toEqual(ids), PATIENCE)
    await emptied()
  })

  it('a restart of the database in between loses nothing', async () => {
    queue = await readQueue(inject('brokerUris').relay)
    const relay = brokerRelay()
    const ids = await commit(5)
    await emptied()
    const name = new URL(database.uri).pathname.slice(1)
    const terminate =
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()'
    for (let round = 0; round < 5; round++) {
      ids.push(...(await vi.waitFor(() => commit(3), PATIENCE)))
      relay.wake()
      await database.pool.query(terminate, [name]).catch(() => undefined)
    }
    ids.push(...(await vi.waitFor(() => commit(3), PATIENCE)))
    await emptied()
    await vi.waitFor(() => {
      for (const id of ids) expect(queue?.ids()).toContain(id)
    }, PATIENCE)
  })
})

describe('the row of an event', () => {
  it('stays when the database goes away while its event is published', async () => {
    const name = new URL(database.uri).pathname.slice(1)
    const [id] = await commit(1)
    let hanging = true
    let answer: () => void = () => {}
    const manager = fakeManager(async (events) => {
      if (hanging) {
        await new Promise<void>((resolve) => {
          answer = resolve
        })
      }
      return events.map(() => true)
    })
    relayOf(manager)
    await vi.waitFor(() => expect(manager.batches).toHaveLength(1), PATIENCE)
    await database.pool.query(
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()',
      [name],
    )
    await sleep(200)
    hanging = false
    answer()
    await emptied()
    expect(manager.batches).toEqual([[id], [id]])
  })

  it('goes when the broker has confirmed it, and not before', async () => {
    let confirm: (answer: boolean[]) => void = () => {}
    const manager = fakeManager(
      () =>
        new Promise((resolve) => {
          confirm = resolve
        }),
    )
    const [id] = await commit(1)
    relayOf(manager)
    await vi.waitFor(() => expect(manager.batches).toEqual([[id]]), PATIENCE)
    await sleep(300)
    expect(await depth()).toBe(1)
    expect(manager.batches).toHaveLength(1)
    confirm([true])
    await emptied()
  })

  it('stays when the broker does not confirm it; the others of the batch go', async () => {
    const ids = await commit(4)
    let refusing = true
    const manager = fakeManager(async (events) =>
      events.map((event) => !refusing || event.messageId !== ids[2]),
    )
    const relay = relayOf(manager)
    await vi.waitFor(() => expect(manager.batches.length).toBeGreaterThan(2), PATIENCE)
    const { rows } = await database.pool.query('SELECT message_id FROM outbox')
    expect(rows).toEqual([{ message_id: ids[2] }])
    refusing = false
    await emptied()
    expect(manager.batches[0]).toEqual(ids)
    expect(new Set(manager.batches.slice(1).flat())).toEqual(new Set([ids[2]]))
    await vi.waitFor(() => expect(relay.counted.published).toBe(4), PATIENCE)
    // In the first batch it was tried twice: with the others and by itself.
    expect(relay.counted.failed).toBe(manager.batches.length - 2)
  })

  it('is in memory with others only while all of them are small enough', async () => {
    const MIB = 1024 * 1024
    // The length in characters is half of that.
    await database.pool.query(
      `INSERT INTO outbox (message_id, event_id, body, headers)
       SELECT gen_random_uuid(), 'raw_file_received',
              repeat('é', CASE n WHEN 3 THEN 9 ELSE 1 END * $1::int), '{}'
       FROM generate_series(1, 20) n ORDER BY n`,
      [MIB],
    )
    const { rows } = await database.pool.query('SELECT message_id FROM outbox ORDER BY id')
    const sizes: number[] = []
    const manager = fakeManager(async (events) => {
      sizes.push(events.reduce((sum, { body }) => sum + Buffer.byteLength(body), 0) / MIB)
      return events.map(() => true)
    })
    const relay = relayOf(manager)
    await emptied()
    expect(sizes).toEqual([4, 18, 16, 16, 2])
    expect(manager.batches.flat()).toEqual(rows.map((row) => row.message_id))
    await vi.waitFor(() => expect(relay.counted).toEqual({ published: 20, failed: 0 }), PATIENCE)
  })

  it('stays when it is large and the broker refuses it; the others go', async () => {
    await database.pool.query(
      `INSERT INTO outbox (message_id, event_id, body, headers)
       SELECT gen_random_uuid(), 'raw_file_received', repeat('x', 6000000), '{}'
       FROM generate_series(1, 3) n`,
    )
    const manager = fakeManager(async (events) => {
      if (events.some(({ body }) => body.length === 6_000_000)) throw new Error('too large')
      return events.map(() => true)
    })
    relayOf(manager)
    await commit(30)
    await vi.waitFor(async () => expect(await depth()).toBe(3), PATIENCE)
  })

  it('stays when publishing throws', async () => {
    const ids = await commit(2)
    let failing = true
    const manager = fakeManager(async (events) => {
      if (failing) throw new Error('the connection broke')
      return events.map(() => true)
    })
    const relay = relayOf(manager)
    await vi.waitFor(() => expect(manager.batches.length).toBeGreaterThan(1), PATIENCE)
    expect(await depth()).toBe(2)
    expect(relay.counted.failed).toBeGreaterThanOrEqual(2)
    failing = false
    await emptied()
    expect(manager.batches[0]).toEqual(ids)
    expect(new Set(manager.batches.flat())).toEqual(new Set(ids))
  })

  it('stays when the answer is too short', async () => {
    await commit(2)
    let short = true
    const manager = fakeManager(async (events) => (short ? [] : events.map(() => true)))
    relayOf(manager)
    await vi.waitFor(() => expect(manager.batches.length).toBeGreaterThan(1), PATIENCE)
    expect(await depth()).toBe(2)
    short = false
    await emptied()
  })

  it.each<[string, (manager: ReturnType<typeof fakeManager>) => Promise<boolean[]>]>([
    ['confirms nothing', async () => []],
    [
      'throws',
      async () => {
        throw new Error('the channel was closed')
      },
    ],
    [
      'loses the connection',
      async (manager) => {
        manager.connected = false
        setTimeout(() => {
          manager.connected = true
        }, 50)
        return []
      },
    ],
  ])('stays for a batch with it that %s, but the others go', async (_, refuse) => {
    const ids = await commit(450)
    const refused = new Set([ids[0], ids[7], ids[203]])
    let refusing = true
    const manager = fakeManager(async (events) =>
      refusing && events.some(({ messageId }) => refused.has(messageId))
        ? refuse(manager)
        : events.map(() => true),
    )
    const relay = relayOf(manager)
    await vi.waitFor(async () => expect(await depth()).toBe(3), PATIENCE)
    // What comes later does not wait either, and is not tried one by one.
    const more = await commit(20)
    relay.wake()
    await vi.waitFor(async () => expect(await depth()).toBe(3), PATIENCE)
    expect(manager.batches).toContainEqual(expect.arrayContaining(more.slice(0, 5)))
    const { rows } = await database.pool.query('SELECT message_id FROM outbox')
    expect(new Set(rows.map((row) => row.message_id))).toEqual(refused)

    // They are tried again, but rarely.
    const attempts = manager.batches.length
    await sleep(3_000)
    expect(manager.batches.length - attempts).toBeLessThan(6)
    refusing = false
    await emptied()
    await vi.waitFor(() => expect(relay.counted.published).toBe(470), PATIENCE)
  })

  it('is counted as failed when publishing throws', async () => {
    await commit(5)
    const manager = fakeManager(async () => {
      manager.connected = false
      throw new Error('the connection broke')
    })
    const relay = relayOf(manager)
    await vi.waitFor(() => expect(relay.counted).toEqual({ published: 0, failed: 5 }), PATIENCE)
  })

  it('is left alone while there is no connection', async () => {
    await commit(1)
    const manager = fakeManager()
    manager.connected = false
    const relay = relayOf(manager)
    relay.wake()
    await sleep(300)
    expect(manager.batches).toEqual([])
    expect(await depth()).toBe(1)
    manager.connected = true
    relay.wake()
    await emptied()
  })

  it('goes without anybody waking the relay: another instance may have left it', async () => {
    const manager = fakeManager()
    relayOf(manager)
    await sleep(200)
    const [id] = await commit(1)
    await emptied()
    expect(manager.batches).toEqual([[id]])
  })
})

/** Time stands still: only what is not waited for happens. */
describe('without the passing of time', () => {
  const turns = async (): Promise<void> => {
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
  }
  function fakeOutbox() {
    const outbox = {
      waiting: 0,
      drains: 0,
      failing: false,
      drain: async (limit: number) => {
        outbox.drains++
        if (outbox.failing) throw new Error('the database is gone')
        const claimed = Math.min(limit, outbox.waiting)
        outbox.waiting -= claimed
        return { claimed, published: claimed }
      },
    }
    return outbox
  }

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  })

  /** How long a wake waits for more to publish. */
  const linger = async (): Promise<void> => {
    await vi.advanceTimersByTimeAsync(25)
    await turns()
  }

  it('waking publishes without waiting for the next look', async () => {
    const outbox = fakeOutbox()
    const relay = relayOf(fakeManager(), outbox)
    await turns()
    expect(outbox.drains).toBe(1)
    outbox.waiting = 3
    await turns()
    expect(outbox.waiting).toBe(3)
    relay.wake()
    await linger()
    expect(outbox).toMatchObject({ waiting: 0, drains: 2 })
  })

  it('waking during a batch makes another one', async () => {
    const outbox = fakeOutbox()
    const { drain } = outbox
    let relay: Relay | undefined
    outbox.drain = async (limit) => {
      const result = await drain(limit)
      if (outbox.drains === 1) {
        outbox.waiting = 1
        relay?.wake()
      }
      return result
    }
    relay = relayOf(fakeManager(), outbox)
    await turns()
    await linger()
    expect(outbox).toMatchObject({ waiting: 0, drains: 2 })
  })

  it('waking again does not end the wait for more', async () => {
    const outbox = fakeOutbox()
    const relay = relayOf(fakeManager(), outbox)
    await turns()
    outbox.waiting = 1
    for (let i = 0; i < 20; i++) {
      relay.wake()
      await turns()
    }
    await vi.advanceTimersByTimeAsync(24)
    await turns()
    expect(outbox).toMatchObject({ waiting: 1, drains: 1 })
    await vi.advanceTimersByTimeAsync(1)
    await turns()
    expect(outbox).toMatchObject({ waiting: 0, drains: 2 })
  })

  it('stopping ends the wait for more', async () => {
    const outbox = fakeOutbox()
    const relay = relayOf(fakeManager(), outbox)
    await turns()
    relay.wake()
    await turns()
    await relay.stop()
    expect(outbox.drains).toBe(1)
  })

  it('a long backlog is published batch after batch', async () => {
    const outbox = fakeOutbox()
    outbox.waiting = 1_050
    relayOf(fakeManager(), outbox)
    await turns()
    expect(outbox).toMatchObject({ waiting: 0, drains: 6 })
  })

  it('waking after a failure does not make it try without a pause', async () => {
    const outbox = fakeOutbox()
    outbox.failing = true
    const relay = relayOf(fakeManager(), outbox)
    await turns()
    for (let i = 0; i < 20; i++) {
      relay.wake()
      await turns()
    }
    expect(outbox.drains).toBe(1)
    outbox.failing = false
    outbox.waiting = 1
    await vi.advanceTimersByTimeAsync(10_000)
    await turns()
    expect(outbox.waiting).toBe(0)
    outbox.waiting = 1
    relay.wake()
    await linger()
    expect(outbox.waiting).toBe(0)
  })

  it('the new connection is used at once after an outage', async () => {
    const outbox = fakeOutbox()
    outbox.waiting = 1
    const manager = fakeManager()
    manager.connected = false
    const relay = relayOf(manager, outbox)
    await turns()
    await vi.advanceTimersByTimeAsync(60_000)
    expect(outbox.drains).toBe(0)
    manager.connected = true
    relay.wake()
    await turns()
    expect(outbox.waiting).toBe(0)
  })

  it.each([
    ['idle', {}, {}],
    ['after a failure', { failing: true }, {}],
    ['without a connection', {}, { connected: false }],
  ])('it can be stopped: %s', async (_, state, manager) => {
    const outbox = Object.assign(fakeOutbox(), state)
    const relay = relayOf(Object.assign(fakeManager(), manager), outbox)
    await turns()
    await relay.stop()
    const { drains } = outbox
    relay.wake()
    await vi.advanceTimersByTimeAsync(60_000)
    expect(outbox.drains).toBe(drains)
  })

  it('stopping waits for the batch in hand', async () => {
    let finish: () => void = () => {}
    const outbox = fakeOutbox()
    outbox.drain = () =>
      new Promise((resolve) => {
        finish = () => resolve({ claimed: 1, published: 1 })
      })
    const relay = relayOf(fakeManager(), outbox)
    let stopped = false
    const stopping = relay.stop().then(() => {
      stopped = true
    })
    await turns()
    expect(stopped).toBe(false)
    finish()
    await stopping
    expect(relay.counted.published).toBe(1)
  })
})
