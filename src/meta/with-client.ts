import type pg from 'pg'

/** Longest that a statement which reads whole tables may run, in milliseconds. */
const WHOLE_TABLE_MS = 600_000
/** What the answer may take beyond that, for a database that is frozen. */
const ANSWER_MS = 5_000

/**
 * Runs `use` with a connection of the pool, for what takes several statements. The connection is
 * closed when `use` fails, or when it was lost meanwhile: that ends its transaction too, whatever
 * state it is in.
 * @param pool of `openDatabase`: on another, a connection that is lost would end the process
 * @throws what `use` throws, and what the driver throws when there is no connection
 */
export async function withClient<T>(
  pool: pg.Pool,
  use: (client: pg.PoolClient) => Promise<T>,
): Promise<T> {
  const client = await pool.connect()
  let broken: Error | undefined
  try {
    return await use(client)
  } catch (error) {
    broken = error instanceof Error ? error : new Error(String(error))
    throw error
  } finally {
    // The pool keeps none that was lost, whether or not it is told.
    client.release(broken)
  }
}

/**
 * Runs a statement that reads whole tables, for which the sessions' own limit is too short.
 * @throws what the driver throws, after ten minutes at the latest
 */
export function readWhole<Row extends pg.QueryResultRow>(
  pool: pg.Pool,
  text: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  return withTime(pool, 'READ ONLY', text, values)
}

/** As `readWhole`, for a statement that changes rows as well. */
export function changeWhole<Row extends pg.QueryResultRow>(
  pool: pg.Pool,
  text: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  return withTime(pool, 'READ WRITE', text, values)
}

function withTime<Row extends pg.QueryResultRow>(
  pool: pg.Pool,
  mode: 'READ ONLY' | 'READ WRITE',
  text: string,
  values: readonly unknown[],
): Promise<Row[]> {
  return withClient(pool, async (client) => {
    await client.query(`BEGIN ${mode}; SET LOCAL statement_timeout = ${WHOLE_TABLE_MS}`)
    const limited = { text, values: [...values], query_timeout: WHOLE_TABLE_MS + ANSWER_MS }
    const { rows } = await client.query<Row>(limited)
    await client.query('COMMIT')
    return rows
  })
}
