/** A Postgres that answers, and refuses: connections, writes, or the order of concurrent changes. */
import { createHash } from 'node:crypto'
import pg from 'pg'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { auditFindings } from '../support/audit.js'
import { exampleJob, login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { sendUpload, startLoad } from '../support/load.js'
import { type PrivatePostgres, startPrivatePostgres } from '../support/private-postgres.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'
import { checkEvents, checkUploads } from '../support/uploads-check.js'

const PATIENCE = { timeout: isFull ? 600_000 : 60_000, interval: 50 }
const ROUNDS = isFull ? 10 : 1
const READ_ONLY = 'the database is read-only'
vi.setConfig({ testTimeout: isFull ? 1_800_000 : 180_000 })

let postgres: PrivatePostgres
let store: TestStore
/** One process for all faults: none of them may need another. */
let service: TestService

beforeAll(async () => {
  postgres = await startPrivatePostgres({ max_connections: '24' })
  store = await testStore()
  // Without a scrub it is idle when nothing is asked of it.
  service = await store.start({ BYTES_DB_URI: postgres.uri, BYTES_SCRUB_BYTES_PER_SECOND: '0' })
})

afterAll(async () => {
  await store?.remove()
  await postgres?.remove()
})

const untilHealthy = () =>
  vi.waitFor(async () => expect((await fetch(`${service.url}/health`)).status).toBe(200), PATIENCE)

async function expectUnhealthy(reason: string): Promise<void> {
  const answer = await fetch(`${service.url}/health`)
  expect(answer.status).toBe(503)
  expect(await answer.text()).toContain(reason)
}

/** Resolves when the service has found out for itself. */
const untilUnhealthy = (reason: string) => vi.waitFor(() => expectUnhealthy(reason), PATIENCE)

/** Changes a setting of the server for all sessions. ALTER SYSTEM works also when it is read-only. */
async function configure(change: string): Promise<void> {
  await postgres.query(`ALTER SYSTEM ${change}`)
  await postgres.query('SELECT pg_reload_conf()')
}

interface Fault {
  /** Resolves when the service has met it. */
  begin(): Promise<void>
  /** What else is true while it lasts. */
  check?(): Promise<void>
  end(): Promise<void>
}

/** Refuses requests under load for as long as it takes, and checks everything afterwards. */
async function survives(what: string, { begin, check, end }: Fault): Promise<void> {
  const tally = tallyOf('database', what)
  const load = await startLoad(service.url, { mayRefuse: true })
  const { violations } = tally
  try {
    for (; tally.tried < ROUNDS; tally.tried++) {
      await load.until(200, 5)
      try {
        await begin()
        await load.until(503, 5)
        await check?.()
      } finally {
        await end()
      }
      await untilHealthy()
      await load.until(200, 5)
    }
    await load.stop()
    violations.push(...(await checkUploads(service.url, postgres.query, load.uploads)))
    violations.push(...(await checkEvents(postgres.query, [])).violations)
  } finally {
    await load.stop()
    violations.push(...load.violations)
  }
  expect(violations).toEqual([])
  expect(service.process.exitCode).toBeNull()
}

/** Takes every connection that the server has, also those of the service. */
async function takeConnections(): Promise<{ release(): Promise<void> }> {
  const taken: pg.Client[] = []
  let full = false
  while (!full) {
    await taken[0]?.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bytes'",
    )
    const client = new pg.Client({ connectionString: postgres.uri, application_name: 'test' })
    client.on('error', () => {})
    try {
      await client.connect()
      taken.push(client)
    } catch (error) {
      if (taken[0] === undefined) throw error
      const rows = await taken[0].query(
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'bytes'",
      )
      full = rows.rows[0].n === 0
    }
  }
  return {
    release: async () => {
      await Promise.all(taken.map((client) => client.end()))
    },
  }
}

it('all connections are taken: 503 until some are free', async () => {
  let taken: Awaited<ReturnType<typeof takeConnections>> | undefined
  await survives('all connections taken', {
    begin: async () => {
      taken = await takeConnections()
      await untilUnhealthy('the database lacks resources')
    },
    end: async () => taken?.release(),
  })
})

it('all connections are taken at the start: it waits for one', async () => {
  tallyOf('database', 'starts while all connections are taken').tried = 1
  const { release } = await takeConnections()
  const refused = () => postgres.logged('too many clients') + postgres.logged('connection slots')
  const before = refused()
  const starting = store.start({ BYTES_DB_URI: postgres.uri })
  // The other process is idle: it is the new one that was refused.
  try {
    await vi.waitFor(() => expect(refused()).toBeGreaterThan(before), PATIENCE)
  } finally {
    await release()
  }
  const late = await starting
  expect(late.log()).toContain('the database does not answer yet')
  expect(await late.stop()).toBe(0)
  await untilHealthy()
})

it('the server is read-only: 503 for what writes, and reads go on', async () => {
  const client = await login(service.url)
  const stored = await client.upload(await client.job(), [{ name: 'x', content: 'x' }])
  await survives('read-only', {
    begin: async () => {
      await configure('SET default_transaction_read_only = on')
      await untilUnhealthy(READ_ONLY)
    },
    check: async () => {
      for (let i = 0; i < 20; i++) {
        expect(await (await client.request(`/bytes/raw/${stored.x}`)).text()).toBe('x')
      }
    },
    end: () => configure('RESET default_transaction_read_only'),
  })
})

it('sessions that began while it was read-only do not stay so', async () => {
  await survives('sessions left read-only', {
    begin: async () => {
      await postgres.query('ALTER DATABASE bytes SET default_transaction_read_only = on')
      await vi.waitFor(async () => {
        // Again and again, for those that were about to begin before it.
        await postgres.disconnectClients()
        await expectUnhealthy(READ_ONLY)
      }, PATIENCE)
    },
    end: async () => {
      await postgres.query('BEGIN READ WRITE; ALTER DATABASE bytes RESET ALL; COMMIT')
    },
  })
})

it('concurrent changes cannot be serialized: they succeed, or 503', async () => {
  const tally = tallyOf('database', 'serialization errors')
  await configure("SET default_transaction_isolation = 'serializable'")
  const load = await startLoad(service.url, { mayRefuse: true, clients: 5, equalContents: 1e6 })
  // Another process on the same database: the statements of one come one after the other.
  const other = await store.start({ BYTES_DB_URI: postgres.uri })
  const otherLoad = await startLoad(other.url, { mayRefuse: true })
  const { violations } = tally
  try {
    const failed = () => postgres.logged('could not serialize access')
    const before = failed()
    await vi.waitFor(() => expect(failed()).toBeGreaterThan(before + (isFull ? 100 : 5)), PATIENCE)
    await Promise.all([load.stop(), otherLoad.stop()])
    tally.tried = failed() - before
    const uploads = [...load.uploads, ...otherLoad.uploads]
    violations.push(...(await checkUploads(service.url, postgres.query, uploads)))
    violations.push(...(await checkEvents(postgres.query, [])).violations)
  } finally {
    await Promise.all([load.stop(), otherLoad.stop()])
    violations.push(...load.violations, ...otherLoad.violations)
    await configure('RESET default_transaction_isolation')
  }
  expect(violations).toEqual([])
  expect(await other.stop()).toBe(0)
})

it.each([2, 105])(
  'an upload of %d files that is ended by a deadlock is stored all the same',
  async (count) => {
    tallyOf('database', `deadlock of ${count} files`).tried = 1
    const client = await login(service.url)
    const job = exampleJob()
    expect((await client.postJson('/bytes/boefje_meta', job)).status).toBe(201)
    const files = Array.from({ length: count }, (_, i) => ({
      name: `${i}`,
      content: `deadlock ${count} ${i}`,
      tags: [`slot/${i}`],
    }))
    const digests = files
      .slice(0, 100)
      .map(({ content }) => `sha512:${createHash('sha512').update(content).digest('hex')}`)
      .sort()
    const before = postgres.logged('deadlock detected')
    const rival = new pg.Client({ connectionString: postgres.uri, application_name: 'test' })
    await rival.connect()
    const insert = (digest: string | undefined) =>
      rival.query(
        `INSERT INTO blob (organization, content_digest, size, address, stored_size, middleware)
       VALUES ('org', $1, 1, repeat('a', 128), 1, 'IDENTITY')`,
        [digest],
      )
    try {
      // The upload is the one that finds the deadlock, and is ended by it.
      await rival.query("SET deadlock_timeout = '10min'; BEGIN")
      await insert(digests.at(-1))
      const answer = sendUpload(client, { job: job.id, files, ids: undefined })
      // On this connection, because it is quick: the upload looks for a deadlock once, after a second.
      await vi.waitFor(
        async () => {
          const { rows } = await rival.query('SELECT 1 FROM pg_locks WHERE NOT granted')
          expect(rows).not.toEqual([])
        },
        { ...PATIENCE, interval: 5 },
      )
      // Goes on when the deadlock has been found.
      await insert(digests[0])
      await rival.query('ROLLBACK')
      expect((await answer).status).toBe(200)
      // The server's log comes late: one of an earlier test may be among them.
      await vi.waitFor(
        () => expect(postgres.logged('deadlock detected')).toBeGreaterThan(before),
        PATIENCE,
      )
      const upload = {
        job: job.id,
        files,
        ids: (await (await answer).json()) as Record<string, string>,
      }
      expect(await checkUploads(service.url, postgres.query, [upload])).toEqual([])
    } finally {
      await rival.end()
    }
  },
)

it('the process that has seen it all ends in an orderly way, and its store is whole', async () => {
  const tally = tallyOf('database', 'audit after all of its refusals')
  tally.tried = 1
  expect(await service.stop()).toBe(0)
  tally.violations.push(...(await auditFindings(store, postgres.uri)))
  expect(tally.violations).toEqual([])
})
