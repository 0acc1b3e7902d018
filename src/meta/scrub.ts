import type pg from 'pg'
import type { BlobRow } from '../domain/audit.js'
import type { ScrubRows } from '../domain/scrub.js'
import { markVerified } from './mark-verified.js'
import { repeated } from './repeated.js'
import { translated } from './sqlstate.js'
import { SINCE } from './verified-since.js'

/**
 * Later dates are those of a clock that was ahead. With a margin, as `now()` is when a transaction
 * began: what others have committed since is dated later.
 */
const AHEAD = "now() + interval '1 minute'"
/** A claim lasts an hour, and twice the time that the reading of so many bytes takes. */
const CLAIMED_FOR = (bytes: string): string =>
  `interval '1 hour' + ${bytes}::float8 / $4::float8 * interval '2 seconds'`
/** No claim lasts for a day longer than ours would: that one was made when the clock was ahead. */
const UNCLAIMED = `(
  verify_claimed_until IS NULL OR verify_claimed_until < now() OR
  verify_claimed_until > now() + interval '1 day' + ${CLAIMED_FOR('greatest($3::float8, stored_size)')}
)`

/**
 * SKIP LOCKED and the claim share the blobs among instances: no transaction stays open while a blob
 * is read. What is dated in the future, by a clock that was ahead, comes first: nobody knows how old
 * that is, and once it was read its date is right. Two branches, as each is a range of the index.
 */
const CLAIM = `
  WITH ahead AS (
    SELECT 1 AS turn, ${SINCE} AS since, id, stored_size FROM blob
    WHERE ${SINCE} > ${AHEAD} AND ${UNCLAIMED}
    ORDER BY ${SINCE}, id LIMIT $2
    FOR NO KEY UPDATE SKIP LOCKED
  ), old AS (
    SELECT 2 AS turn, ${SINCE} AS since, id, stored_size FROM blob
    WHERE ${SINCE} < now() - $1 * interval '1 second' AND ${UNCLAIMED}
    ORDER BY ${SINCE}, id LIMIT $2
    FOR NO KEY UPDATE SKIP LOCKED
  ), due AS (
    SELECT * FROM ahead UNION ALL SELECT * FROM old ORDER BY turn, since, id LIMIT $2
  ), fitting AS (
    SELECT id, sum(stored_size) OVER (ORDER BY id) AS through, stored_size FROM due
  )
  UPDATE blob b
  SET verify_claimed_until = now() + ${CLAIMED_FOR('fitting.through')}
  FROM fitting
  WHERE b.id = fitting.id AND (fitting.through <= $3 OR fitting.through = fitting.stored_size)
  RETURNING b.id::float8 AS id, b.organization, b.content_digest AS "contentDigest", b.address,
            b.stored_size::float8 AS "storedSize"`

const POSTPONE = `
  UPDATE blob SET verify_claimed_until = clock_timestamp() + $2 * interval '1 second'
  WHERE id = ANY($1::bigint[])`

const OLDEST = `
  SELECT extract(epoch FROM now() - min(${SINCE}))::float8 AS age FROM blob`

/** What a scrub reads next, on Postgres. */
export function createScrubRows(pool: pg.Pool): ScrubRows {
  const run = <Row extends pg.QueryResultRow>(text: string, values: unknown[] = []) =>
    translated(async () => (await pool.query<Row>(text, values)).rows)
  return {
    claim: ({ minAgeSeconds, limit, maxBytes, bytesPerSecond }) =>
      run<BlobRow>(CLAIM, [minAgeSeconds, limit, maxBytes, bytesPerSecond]),
    verified: (ids) => markVerified(pool, ids),
    postpone: async (ids, seconds) => {
      if (ids.length > 0) await repeated(() => pool.query(POSTPONE, [ids, seconds]))
    },
    oldestUnverifiedSeconds: async () => {
      const [row] = await run<{ age: number | null }>(OLDEST)
      return Math.max(0, row?.age ?? 0)
    },
  }
}
