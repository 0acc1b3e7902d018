/** What a connection that is lost without a word had locked is free again, and nobody waits for hours. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { MetaRepository } from '../../src/domain/meta-repository.js'
import type { EventManager } from '../../src/domain/ports.js'
import { type Relay, startRelay } from '../../src/flows/relay.js'
import { type Database, openDatabase } from '../../src/meta/client.js'
import { createOutbox } from '../../src/meta/outbox.js'
import { createMetaRepository } from '../../src/meta/repository.js'
import { domainError } from '../../src/meta/sqlstate.js'
import { withClient } from '../../src/meta/with-client.js'
import { testDatabase } from '../support/database.js'
import { silentLog } from '../support/postgres.js'
import { type PostgresProxy, postgresProxy } from '../support/proxy.js'
import { boefjeMeta, newRawFile, storedFiles } from '../support/rows.js'

const PATIENCE = { timeout: 30_000, interval: 20 }
/** In place of a minute. */
const PAUSE_MS = 2_000

let direct: Awaited<ReturnType<typeof testDatabase>>
let meta: MetaRepository
let proxy: PostgresProxy
/** Through the proxy. */
let lost: Database
const ending: (() => Promise<unknown>)[] = []

beforeEach(async () => {
  direct = await testDatabase()
  meta = createMetaRepository(direct)
  proxy = await postgresProxy(direct.uri)
  await proxy.open()
  const options = encodeURIComponent(`-c idle_in_transaction_session_timeout=${PAUSE_MS}`)
  lost = openDatabase(`${proxy.uri('x')}&options=${options}`, 4, silentLog)
})

afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end()
  await proxy?.close()
  await lost?.close()
  await direct?.close()
})

/** Sessions of this database in a state, with what they wait for. */
const sessions = async (state: string): Promise<(string | null)[]> => {
  const { rows } = await direct.pool.query(
    `SELECT wait_event_type AS wait FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = $1`,
    [state],
  )
  return rows.map(({ wait }) => wait)
}

function relayOf({ pool }: Database, publish: EventManager['publish']): Relay {
  const events = { connected: true, publish, close: async () => undefined }
  const outbox = createOutbox(pool)
  const relay = startRelay({ outbox, events, log: silentLog, count: () => undefined })
  ending.push(() => relay.stop())
  return relay
}

describe('a connection that is lost without a word inside a transaction', () => {
  it('keeps no event back, and its relay goes on afterwards', async () => {
    const { ids } = await storedFiles(meta, [['a'], ['b'], ['c']])
    const [ours, theirs]: [string[], string[]] = [[], []]
    let confirm: () => void = () => undefined
    const held = new Promise<void>((resolve) => {
      confirm = resolve
    })
    ending.push(async () => confirm())
    relayOf(lost, async (events) => {
      theirs.push(...events.map(({ messageId }) => messageId))
      await held
      return events.map(() => true)
    })
    await vi.waitFor(() => expect(theirs).toEqual(ids), PATIENCE)
    proxy.freeze()

    const other = relayOf(direct, async (events) => {
      ours.push(...events.map(({ messageId }) => messageId))
      return events.map(() => true)
    })
    await vi.waitFor(() => expect(ours).toEqual(ids), PATIENCE)
    await vi.waitFor(async () => expect((await meta.outboxState()).depth).toBe(0), PATIENCE)
    await other.stop()

    proxy.thaw()
    confirm()
    const { ids: more } = await storedFiles(meta, [['d']])
    await vi.waitFor(() => expect(theirs).toEqual([...ids, ...more]), PATIENCE)
  })

  it('holds up no upload of the same contents for longer', async () => {
    const job = boefjeMeta()
    await meta.insertBoefjeMeta(job)
    // So many that they are committed in two parts of one transaction.
    const files = Array.from({ length: 150 }, (_, n) => newRawFile(job, [`${n}`], `content ${n}`))
    let outcome: unknown
    await withClient(direct.pool, async (client) => {
      // Its last part waits for this content, so that it is known where it is.
      await client.query('BEGIN')
      await client.query(
        `INSERT INTO blob (organization, content_digest, size, address, stored_size, middleware)
         VALUES ($1, $2, 1, 'x', 1, 'IDENTITY')`,
        [job.organization, files.at(-1)?.blob.contentDigest],
      )
      const upload = createMetaRepository(lost).commitUpload(files)
      ending.push(async () => upload.catch(() => undefined))
      upload.catch((error: unknown) => {
        outcome = error
      })
      await vi.waitFor(async () => expect(await sessions('active')).toContain('Lock'), PATIENCE)
      proxy.freeze()
      await client.query('ROLLBACK')
    })
    await vi.waitFor(async () => {
      expect(await sessions('idle in transaction')).toHaveLength(1)
    }, PATIENCE)

    const other = boefjeMeta()
    await meta.insertBoefjeMeta(other)
    const again = newRawFile(other, ['again'], 'content 0')
    // A lock is waited for 3 s: a machine that is busy may need another try.
    await vi.waitFor(() => meta.commitUpload([again]), PATIENCE)
    proxy.thaw()
    await vi.waitFor(() => {
      expect(outcome).toMatchObject({ code: 'database_unavailable' })
    }, PATIENCE)
    const { rows } = await direct.pool.query('SELECT id FROM raw_file')
    expect(rows).toEqual([{ id: again.id }])
  })

  it('ends nobody else, and is told as a database that is away', async () => {
    const unhandled: unknown[] = []
    const note = (error: unknown): void => void unhandled.push(error)
    process.on('uncaughtException', note)
    try {
      const using = withClient(lost.uploads, async (client) => {
        await client.query('BEGIN')
        await sleep(PAUSE_MS + 500)
        await client.query('SELECT 1')
      })
      const failure = await using.catch((error: unknown) => domainError(error))
      expect(failure).toMatchObject({ code: 'database_unavailable' })
      expect((await lost.uploads.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
    } finally {
      process.off('uncaughtException', note)
    }
    expect(unhandled).toEqual([])
  })
})

describe('the server', () => {
  // What a session shows of itself is 0 on a Unix socket.
  const SETTINGS = `SELECT name, reset_val AS value FROM pg_settings
    WHERE name LIKE 'tcp_%' OR name = 'idle_in_transaction_session_timeout' ORDER BY name`
  const KEEPALIVES = {
    tcp_keepalives_count: '3',
    tcp_keepalives_idle: '30',
    tcp_keepalives_interval: '10',
    tcp_user_timeout: '60000',
  }
  const settingsOf = (rows: { name: string; value: string }[]) =>
    Object.fromEntries(rows.map(({ name, value }) => [name, value]))

  it.each([
    ['pool', '60000'],
    ['uploads', '15000'],
  ] as const)('looks for the clients of %s that are gone', async (name, pause) => {
    const { rows } = await direct[name].query(SETTINGS)
    expect(settingsOf(rows)).toEqual({ idle_in_transaction_session_timeout: pause, ...KEEPALIVES })
  })

  it.each(['pool', 'uploads'] as const)('heeds what the URI says for %s', async (name) => {
    const { rows } = await lost[name].query(SETTINGS)
    expect(settingsOf(rows).idle_in_transaction_session_timeout).toBe(String(PAUSE_MS))
  })
})
