/** A Postgres whose processes are ended or stand still while requests come: 200 or 503, nothing between. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, inject, it, vi } from 'vitest'
import { auditFindings } from '../support/audit.js'
import { isFull } from '../support/fault-report.js'
import { type Load, startLoad } from '../support/load.js'
import { type PrivatePostgres, startPrivatePostgres } from '../support/private-postgres.js'
import { type QueueReader, readQueue } from '../support/queue.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'
import { checkEvents, checkUploads } from '../support/uploads-check.js'

const PATIENCE = { timeout: 60_000, interval: 50 }

let postgres: PrivatePostgres
let store: TestStore
let queue: QueueReader
/** One process for all faults: none of them may need another. */
let service: TestService

beforeAll(async () => {
  postgres = await startPrivatePostgres()
  store = await testStore()
  queue = await readQueue(inject('brokerUris').postgres)
  service = await store.start({
    BYTES_DB_URI: postgres.uri,
    QUEUE_URI: inject('brokerUris').postgres,
  })
})

afterAll(async () => {
  await store?.remove()
  await postgres?.remove()
  await queue?.close()
})

interface Fault {
  readonly name: string
  /** How often it happens: in `make test`, and in full. */
  readonly rounds: readonly [bounded: number, full: number]
  /** Breaks the database and mends it. */
  readonly happen: (load: Load) => Promise<void>
}

const FAULTS: readonly Fault[] = [
  {
    name: 'stopped and started',
    // database-gone.test.ts has it in `make test`.
    rounds: [0, 10],
    happen: async (load) => {
      await postgres.stop()
      await load.until(503, 10)
      await postgres.start()
    },
  },
  {
    name: 'restarted at once',
    rounds: [0, 20],
    happen: async () => {
      await postgres.stop()
      await postgres.start()
    },
  },
  {
    name: 'killed -9',
    rounds: [2, 20],
    happen: async () => {
      await postgres.kill()
      await postgres.start()
    },
  },
  {
    name: 'one of its processes killed -9',
    rounds: [2, 20],
    happen: () => postgres.killBackend(),
  },
  {
    name: 'all connections ended',
    rounds: [3, 50],
    happen: () => postgres.disconnectClients(),
  },
  {
    name: 'frozen for 5 s',
    rounds: [1, 5],
    happen: async () => {
      await postgres.freeze()
      await sleep(5_000)
      postgres.thaw()
    },
  },
  {
    name: 'frozen for 60 s',
    rounds: [0, 1],
    happen: async (load) => {
      await postgres.freeze()
      try {
        await load.until(503, 1)
        await sleep(60_000)
      } finally {
        postgres.thaw()
      }
    },
  },
]

it.each(FAULTS.filter(({ rounds }) => isFull || rounds[0] > 0))(
  'Postgres $name: uploads succeed or are answered 503, and all goes on by itself',
  async ({ name, rounds, happen }) => {
    const tally = tallyOf('database', name)
    const load = await startLoad(service.url, { mayRefuse: true })
    const { violations } = tally
    try {
      await load.until(200, 5)
      for (; tally.tried < rounds[isFull ? 1 : 0]; tally.tried++) {
        await happen(load)
        await load.until(200, 5)
      }
      await load.stop()
      violations.push(...(await checkUploads(service.url, postgres.query, load.uploads)))
      await vi.waitFor(async () => {
        expect(await postgres.query('SELECT count(*)::int AS n FROM outbox')).toEqual([{ n: 0 }])
        expect((await checkEvents(postgres.query, arrived())).violations).toEqual([])
      }, PATIENCE)
    } finally {
      await load.stop()
      violations.push(...load.violations)
    }
    expect(violations).toEqual([])
    expect(service.process.exitCode).toBeNull()
  },
  isFull ? 1_800_000 : 300_000,
)

const arrived = () =>
  queue.messages.map(({ content, properties }) => ({
    messageId: properties.messageId,
    body: content.toString(),
  }))

it('the process that has seen it all ends in an orderly way, and its store is whole', async () => {
  const tally = tallyOf('database', 'audit after the ends and freezes')
  tally.tried = 1
  expect(await service.stop()).toBe(0)
  tally.violations.push(...(await auditFindings(store, postgres.uri)))
  expect(tally.violations).toEqual([])
})
