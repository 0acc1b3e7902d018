/** No statement waits for ever, and a connection that is lost ends no process. */
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest'
import type { Database } from '../../src/meta/client.js'
import { createMetaRepository } from '../../src/meta/repository.js'
import { domainError } from '../../src/meta/sqlstate.js'
import { readWhole, withClient } from '../../src/meta/with-client.js'
import { testDatabase } from '../support/database.js'

let database: Awaited<ReturnType<typeof testDatabase>>

beforeAll(async () => {
  database = await testDatabase()
})

afterAll(() => database?.close())

afterEach(() => {
  vi.useRealTimers()
})

const pools = ['pool', 'uploads'] as const satisfies readonly (keyof Database)[]

it.each(pools)('a statement on %s is ended by the database after 30 s', async (name) => {
  const { rows } = await database[name].query('SHOW statement_timeout')
  expect(rows).toEqual([{ statement_timeout: '30s' }])
})

it.each(pools)(
  'a statement on %s of a database that is silent is given up after 35 s',
  async (name) => {
    const pool = database[name]
    const { rows } = await pool.query('SELECT pg_backend_pid() AS pid')
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    let failure: unknown
    const running = pool.query('SELECT pg_sleep(20)').catch((error: unknown) => {
      failure = domainError(error)
    })
    await vi.advanceTimersByTimeAsync(34_000)
    expect(failure).toBeUndefined()
    await vi.advanceTimersByTimeAsync(2_000)
    await running
    vi.useRealTimers()
    expect(failure).toMatchObject({ name: 'BytesError', code: 'database_unavailable' })
    await database.pool.query('SELECT pg_terminate_backend($1)', [rows[0].pid])
  },
)

it('a statement that reads whole tables has ten minutes, and the next on its connection has not', async () => {
  const rows = await readWhole(
    database.pool,
    "SELECT current_setting('statement_timeout') AS timeout, pg_backend_pid() AS pid",
  )
  expect(rows).toMatchObject([{ timeout: '10min' }])
  const next = await database.pool.query(
    "SELECT current_setting('statement_timeout') AS timeout, pg_backend_pid() AS pid",
  )
  expect(next.rows).toEqual([{ timeout: '30s', pid: rows[0]?.pid }])
})

it('a connection that is lost between or during statements fails only who uses it', async () => {
  const unhandled: unknown[] = []
  const note = (error: unknown): void => void unhandled.push(error)
  process.on('uncaughtException', note)
  try {
    for (const statement of [undefined, 'SELECT pg_sleep(20)']) {
      const using = withClient(database.uploads, async (client) => {
        const { rows } = await client.query('SELECT pg_backend_pid() AS pid')
        const running = statement === undefined ? undefined : client.query(statement)
        await Promise.all([
          running,
          database.pool.query('SELECT pg_terminate_backend($1, 5000)', [rows[0].pid]),
        ])
        await new Promise((resolve) => setTimeout(resolve, 100))
        await client.query('SELECT 1')
      })
      expect(domainError(await using.catch((error: unknown) => error))).toMatchObject({
        code: 'database_unavailable',
      })
      expect((await database.uploads.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
  } finally {
    process.off('uncaughtException', note)
  }
  expect(unhandled).toEqual([])
})

it('a database that takes no changes is not healthy', async () => {
  const meta = createMetaRepository(database)
  await meta.check()
  const name = new URL(database.uri).pathname.slice(1)
  await database.pool.query(`ALTER DATABASE ${name} SET default_transaction_read_only = on`)
  try {
    const sessions = Array.from({ length: 12 }, () =>
      database.pool.query('SET default_transaction_read_only = on; SELECT pg_sleep(0.05)'),
    )
    await Promise.all(sessions)
    await expect(meta.check()).rejects.toMatchObject({
      code: 'database_unavailable',
      message: 'the database is read-only',
    })
  } finally {
    await withClient(database.pool, async (client) => {
      await client.query('SET default_transaction_read_only = off')
      await client.query(`ALTER DATABASE ${name} RESET default_transaction_read_only`)
    })
  }
})
