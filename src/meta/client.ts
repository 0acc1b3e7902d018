import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import pg from 'pg'
import { BytesError } from '../domain/errors.js'
import type { Log } from '../domain/ports.js'
import { lostClientOptions, optionsOf, withoutOptions } from './session.js'
import { domainError } from './sqlstate.js'

export interface Database {
  readonly pool: pg.Pool
  /** Connections for the two prepared statements of uploads, which keep one plan. */
  readonly uploads: pg.Pool
  readonly drizzle: NodePgDatabase
  close(): Promise<void>
}

/** Connections for uploads: their statements are grouped, so that few are enough. */
const UPLOAD_CONNECTIONS = { least: 2, most: 4 }

/** Times are read back as text in the session's zone. */
const SESSION = '-c TimeZone=UTC -c DateStyle=ISO'
/**
 * Milliseconds, unless the URI says otherwise: ends a statement that waits for a lock or takes too
 * long, so that nobody waits for an answer for ever.
 */
const STATEMENT_TIMEOUT = '-c statement_timeout=30000'
/**
 * Planning the commit takes Postgres longer than running it, and it would plan it each time. The
 * one plan must not be one that suits the empty tables it may have been made for: it looks rows up
 * by index, always. The timeouts (in milliseconds) keep a job that someone has locked from holding
 * up the others; a lock must be waited for longer than Postgres takes to see a deadlock (1 s).
 */
const UPLOAD_SESSION = optionsOf({
  plan_cache_mode: 'force_generic_plan',
  enable_seqscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  jit: 'off',
  lock_timeout: 3_000,
  statement_timeout: 30_000,
  // A process that stood still must not commit what it had at hand long ago: see flows/sweep.ts.
  idle_session_timeout: 600_000,
})
/**
 * Longest pause inside a transaction, in milliseconds, unless the URI says otherwise. The relay
 * waits up to 10 s for the broker's confirms in it; uploads never wait, and others wait for them.
 */
const PAUSE_MS = 60_000
const UPLOAD_PAUSE_MS = 15_000
/** Longest wait for the answer to a statement, in milliseconds, for a database that is frozen. */
const QUERY_TIMEOUT_MS = 35_000

/**
 * Opens pools of connections; none is made until the first query.
 * @param uri `postgresql://user:password@host/database`
 * @param poolSize most connections at the same time, 4 or more
 */
export function openDatabase(uri: string, poolSize: number, log: Log): Database {
  const { connectionString, given } = withoutOptions(uri)
  const open = (max: number, pauseMs: number, options: string): pg.Pool => {
    const pool = new pg.Pool({
      connectionString,
      max,
      application_name: 'bytes',
      connectionTimeoutMillis: 5_000,
      query_timeout: QUERY_TIMEOUT_MS,
      keepAlive: true,
      options: `${STATEMENT_TIMEOUT} ${lostClientOptions(pauseMs)} ${given} ${options}`,
    })
    // The driver tells of a lost connection by an event as well, in between statements and even
    // before whoever asked for it has it: without a listener the event would end the process.
    pool.on('connect', (client) => {
      client.on('error', () => undefined)
    })
    pool.on('error', (error) => {
      log.warn({ reason: error.message }, 'an idle database connection was lost')
    })
    return pool
  }
  const { least, most } = UPLOAD_CONNECTIONS
  const forUploads = Math.max(least, Math.min(most, Math.floor(poolSize / 4)))
  const pool = open(poolSize - forUploads, PAUSE_MS, SESSION)
  const uploads = open(forUploads, UPLOAD_PAUSE_MS, `${SESSION} ${UPLOAD_SESSION}`)
  const close = async (): Promise<void> => {
    await Promise.all([pool.end(), uploads.end()])
  }
  return { pool, uploads, drizzle: drizzle(pool), close }
}

/**
 * Waits until the database answers.
 * @param timeoutMs after this many milliseconds it gives up
 * @param signal ends the waiting
 * @throws BytesError `database_unavailable` in the end, or at once the driver's own error for what
 *   waiting cannot cure, such as a wrong password; the signal's reason when it is aborted
 */
export async function waitForDatabase(
  pool: pg.Pool,
  timeoutMs: number,
  log: Log,
  signal?: AbortSignal,
): Promise<void> {
  // Not by the system's clock, which may be set while it waits.
  const deadline = performance.now() + timeoutMs
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted()
    try {
      await pool.query('SELECT 1')
      return
    } catch (error) {
      const meaning = domainError(error)
      const transient = meaning instanceof BytesError && meaning.code === 'database_unavailable'
      if (!transient || performance.now() >= deadline) throw meaning
      if (attempt === 1) log.warn({ timeoutMs }, 'the database does not answer yet: waiting for it')
    }
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
}
