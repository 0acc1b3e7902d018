/** Promises 1 and 2: each system call on sockets of an upload fails once, and is once the last of the process. */
import pg from 'pg'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { eventually } from '../acceptance/helpers.js'
import { isFull } from '../support/fault-report.js'
import { type QueueReader, readQueue } from '../support/queue.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { type Sockets, socketsOf } from '../support/sockets.js'
import { skipsFor, straceProblem } from '../support/strace.js'
import { type Bench, type BenchOptions, openBench } from '../support/syscall-bench.js'
import {
  CONNECT_CALLS,
  KILL,
  type Point,
  pointsOf,
  SOCKET_CALLS,
  sampled,
} from '../support/syscall-points.js'
import { tryPoints } from '../support/syscall-report.js'
import { PLAIN_FORMS } from '../support/upload-forms.js'

/** Points of the bounded form, for each kind of socket. */
const ERRORS = 4
const KILLS = 2

const problem = await straceProblem()
if (problem !== undefined) console.warn(`no system call was made to fail: ${problem}`)

let store: TestStore
let queue: QueueReader
let database: pg.Client

beforeAll(async () => {
  if (problem !== undefined) return
  store = await testStore()
  queue = await readQueue(inject('brokerUris').syscalls)
  database = new pg.Client({ connectionString: store.databaseUri })
  await database.connect()
})

afterAll(async () => {
  await database?.end()
  await store?.remove()
  await queue?.close()
})

const forms = PLAIN_FORMS.filter(({ name }) => isFull || /JSON|resumable/.test(name))

const sockets = (service: TestService, pid: number): Promise<Sockets> =>
  socketsOf(
    pid,
    Number(new URL(service.url).port),
    Number(new URL(inject('brokerUris').syscalls).port),
  )

/** The relay is at work until the outbox is empty. */
async function published(): Promise<boolean> {
  const { rowCount } = await database.query('SELECT 1 FROM outbox LIMIT 1')
  return rowCount === 0
}

const places: readonly {
  readonly name: string
  readonly calls: Readonly<Record<string, readonly string[]>>
  readonly options: Pick<BenchOptions, 'place'> & Partial<BenchOptions>
}[] = [
  ...(['clients', 'database', 'broker'] as const).map((kind) => ({
    name: `the sockets of ${kind}`,
    calls: SOCKET_CALLS,
    options: {
      place: async (service: TestService, pid: number) => ({
        threadId: pid,
        paths: await eventually(async () => {
          const found = (await sockets(service, pid))[kind]
          return found.length > 0 && found
        }, `there are sockets of ${kind}`),
      }),
    },
  })),
  {
    name: 'new connections of clients',
    calls: CONNECT_CALLS,
    options: {
      freshConnection: true,
      // strace finds no path in accept4.
      place: async (_, pid) => ({ threadId: pid }),
      counts: ({ call }) => call === 'accept4',
    },
  },
  {
    name: 'new connections to the database',
    calls: CONNECT_CALLS,
    options: {
      place: async (service, pid) => {
        const before = new Set((await sockets(service, pid)).database)
        await database.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'bytes'`,
        )
        await eventually(async () => {
          const now = (await sockets(service, pid)).database
          return !now.some((name) => before.has(name))
        }, 'the connections to the database are gone')
        return { threadId: pid }
      },
      counts: ({ text }) => text.includes('UNIX'),
    },
  },
]

it.skipIf(skipsFor(problem)).each(places)(
  'on $name a call that fails, or is the last, loses nothing and leaves nothing half',
  async ({ name, calls, options }) => {
    expect(problem).toBeUndefined()
    const bench: Bench = await openBench({
      store,
      environment: { QUEUE_URI: inject('brokerUris').syscalls },
      arrived: () => queue.ids(),
      settled: published,
      counts: () => true,
      ...options,
    })
    try {
      const points: Point[] = []
      for (const form of forms) {
        points.push(...pointsOf(form, await bench.survey(form, Object.keys(calls)), calls))
      }
      expect(points.length).toBeGreaterThan(3)
      const errors = points.filter(({ fault }) => fault !== KILL)
      const kills = points.filter(({ fault }) => fault === KILL)
      const chosen = isFull ? points : [...sampled(errors, ERRORS), ...sampled(kills, KILLS)]
      const { hits, violations } = await tryPoints(`calls on ${name}`, chosen, () => bench)
      expect(violations).toEqual([])
      expect(hits).toBeGreaterThan(0.7 * chosen.length)
    } finally {
      await bench.close()
    }
  },
  isFull ? 3_600_000 : 300_000,
)
