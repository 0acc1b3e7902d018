import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import pg from 'pg'
import type { Log } from '../domain/ports.js'
import { domainError } from './sqlstate.js'

export interface Database {
  readonly pool: pg.Pool
  /** Connections for the two prepared statements of uploads, which keep one plan. */
  readonly uploads: pg.Pool
  readonly drizzle: NodePgDatabase
  close(): Promise<void>
}

/** Most connections for uploads: their statements are grouped, so that few are enough. */
const UPLOAD_CONNECTIONS = 4

/** Times are read back as text in the session's zone. */
const SESSION = '-c TimeZone=UTC -c DateStyle=ISO'

/**
 * Opens pools of connections; none is made until the first query.
 * @param uri `postgresql://user:password@host/database`
 * @param poolSize most connections at the same time, 4 or more
 */
export function openDatabase(uri: string, poolSize: number, log: Log): Database {
  const open = (max: number, options: string): pg.Pool => {
    const pool = new pg.Pool({
      connectionString: uri,
      max,
      application_name: 'bytes',
      connectionTimeoutMillis: 5_000,
      keepAlive: true,
      options,
    })
    pool.on('error', (error) => {
      log.warn({ reason: error.message }, 'an idle database connection was lost')
    })
    return pool
  }
  const forUploads = Math.min(UPLOAD_CONNECTIONS, Math.floor(poolSize / 4))
  const pool = open(poolSize - forUploads, SESSION)
  // Planning the commit takes Postgres longer than running it, and it would plan it each time.
  const uploads = open(forUploads, `${SESSION} -c plan_cache_mode=force_generic_plan`)
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
  const deadline = Date.now() + timeoutMs
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted()
    try {
      await pool.query('SELECT 1')
      return
    } catch (error) {
      const meaning = domainError(error)
      const transient =
        meaning instanceof Error && 'code' in meaning && meaning.code === 'database_unavailable'
      if (!transient || Date.now() >= deadline) throw meaning
      if (attempt === 1) log.warn({ timeoutMs }, 'the database does not answer yet: waiting for it')
    }
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
}
