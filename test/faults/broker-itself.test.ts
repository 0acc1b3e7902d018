/** Promise 2: no event is lost by a broker that stops, dies, is full or refuses. */
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'amqplib'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { query } from '../acceptance/helpers.js'
import { outboxIds, PATIENCE, untilBroker, uploadSteadily } from '../support/broker-health.js'
import { QUEUE, readQueue } from '../support/queue.js'
import { startTestRabbitMQ, type TestBroker } from '../support/rabbitmq.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { type Tally, tallyOf } from '../support/tally.js'

let store: TestStore

beforeEach(async () => {
  store = await testStore()
})

afterEach(() => store?.remove())

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
    await vi.waitFor(() => expect(uploads.ids.length).toBeGreaterThan(10), PATIENCE)
    const ids = await uploads.stop()
    tally.tried = ids.length
    await vi.waitFor(async () => expect(await outboxIds(store)).toEqual([]), PATIENCE)
    // The queue is durable, so that what arrived before the fault is there as well.
    const arrived = new Set(await drainQueue(broker.uri))
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
      let service = await store.start()
      expect(await service.stop()).toBe(0)
      const [row] = await query(
        store.databaseUri,
        `INSERT INTO outbox (message_id, event_id, body, headers)
         VALUES (gen_random_uuid(), 'raw_file_received', $1, '{}') RETURNING message_id`,
        [JSON.stringify('x'.repeat(60_000))],
      )
      const refused = row?.message_id

      service = await store.start({ QUEUE_URI: broker.uri })
      const queue = await readQueue(broker.uri)
      const uploads = uploadSteadily(service)
      await sleep(5_000)
      await vi.waitFor(() => expect(uploads.ids.length).toBeGreaterThan(10), PATIENCE)
      const ids = await uploads.stop()
      tally.tried = ids.length
      await vi.waitFor(async () => expect(await outboxIds(store)).toEqual([refused]), PATIENCE)
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
      await vi.waitFor(async () => expect(await outboxIds(store)).toEqual([]), PATIENCE)
      await vi.waitFor(() => expect(queue.ids()).toContain(refused), PATIENCE)
      await queue.close()
      expect(await service.stop()).toBe(0)
    } finally {
      await limit(134_217_728)
    }
  })

  it('is killed and started again loses no event', async () => {
    await survives(tallyOf('broker', 'uploads while it is killed'), async (service) => {
      await broker.kill()
      await untilBroker(service, false)
      await broker.restart()
    })
  })
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
