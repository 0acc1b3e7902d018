/** Promises 1 and 2: each system call on sockets of an upload fails once, and is once the last of the process. */
import pg from 'pg'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { eventually } from '../acceptance/helpers.js'
import { auditFindings } from '../support/audit.js'
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
import { startProxy, type TcpProxy } from '../support/tcp-proxy.js'
import { PLAIN_FORMS } from '../support/upload-forms.js'

/** Points of the bounded form, for each kind of socket, if it has no other numbers. */
const MOST = { errors: 4, kills: 2 }

const problem = await straceProblem()
if (problem !== undefined) console.warn(`no system call was made to fail: ${problem}`)

let store: TestStore
let queue: QueueReader
/** In front of the broker: it can be away. */
let proxy: TcpProxy
let database: pg.Client

beforeAll(async () => {
  if (problem !== undefined) return
  store = await testStore()
  const { href, hostname, port } = new URL(inject('brokerUris').syscalls)
  queue = await readQueue(href)
  proxy = await startProxy(hostname, Number(port))
  database = new pg.Client({ connectionString: store.databaseUri })
  await database.connect()
})

afterAll(async () => {
  await database?.end()
  await store?.remove()
  await queue?.close()
  await proxy?.cut()
})

const forms = PLAIN_FORMS.filter(({ name }) => isFull || /JSON|resumable/.test(name))

const sockets = (service: TestService, pid: number): Promise<Sockets> =>
  socketsOf(pid, Number(new URL(service.url).port), proxy.port)

function brokerUri(): string {
  const uri = new URL(inject('brokerUris').syscalls)
  uri.port = String(proxy.port)
  return uri.href
}

/** The relay is at work until the outbox is empty. */
async function published(): Promise<boolean> {
  const { rowCount } = await database.query('SELECT 1 FROM outbox LIMIT 1')
  return rowCount === 0
}

const places: readonly {
  readonly name: string
  readonly calls: Readonly<Record<string, readonly string[]>>
  readonly most?: typeof MOST
  readonly options: Pick<BenchOptions, 'place'> & Partial<BenchOptions>
}[] = [
  ...(['clients', 'database', 'broker'] as const).map((kind) => ({
    name: `the sockets of ${kind}`,
    calls: SOCKET_CALLS,
    options: {
      mayLose: kind === 'clients',
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
      mayLose: true,
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
  {
    name: 'new connections to the broker',
    calls: CONNECT_CALLS,
    // It connects again after a pause that grows.
    most: { errors: 2, kills: 1 },
    options: {
      place: async (service, pid) => {
        await proxy.cut()
        const gone = async () => (await sockets(service, pid)).broker.length === 0
        await eventually(gone, 'the connection to the broker is gone')
        return { threadId: pid, attached: () => proxy.restore() }
      },
      // The first: how often it tries until the broker is there again depends on the moment.
      counts: ({ call, text, when }) => call !== 'accept4' && text.includes('INET') && when === 1,
    },
  },
]

it.skipIf(skipsFor(problem)).each(places)(
  'on $name a call that fails, or is the last, loses nothing and leaves nothing half',
  async ({ name, calls, most = MOST, options }) => {
    expect(problem).toBeUndefined()
    const bench: Bench = await openBench({
      store,
      environment: { QUEUE_URI: brokerUri() },
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
      const chosen = isFull
        ? points
        : [...sampled(errors, most.errors), ...sampled(kills, most.kills)]
      const { hits, missed, violations } = await tryPoints(`calls on ${name}`, chosen, () => bench)
      expect(violations).toEqual([])
      expect(await auditFindings(store)).toEqual([])
      // How many calls a connection makes depends on the moment; few points are no good sample.
      expect(hits, missed.join('; ')).toBeGreaterThan((isFull ? 0.7 : 0.3) * chosen.length)
    } finally {
      await bench.close()
    }
  },
  isFull ? 3_600_000 : 300_000,
)
