import { randomUUID } from 'node:crypto'
import type pg from 'pg'
import type { PendingHashes } from '../domain/pending-hashes.js'
import { translated } from './sqlstate.js'

const UNCLAIMED =
  "claimed_until IS NULL OR claimed_until <= now() OR claimed_until > now() + interval '1 day'"

/**
 * `due` looks before anything is locked: waiting for a batch to fill must not write to its rows.
 * It is asked again of those that are locked, as others may have taken some meanwhile; a row that
 * was claimed between the look and the lock is not `ready` any more. The hash is looked up for each
 * row by itself, so that no plan reads the whole of `raw_file`. The clock may have been set back: no
 * claim lasts for a day, and what was created in the future has waited long enough.
 */
const CLAIM = `
  WITH due AS (
    SELECT count(*) >= $2 OR
      min(created_at) NOT BETWEEN clock_timestamp() - $4 * interval '1 ms' AND clock_timestamp() AS yes
    FROM (
      SELECT created_at FROM pending_hash
      WHERE ${UNCLAIMED}
      ORDER BY id LIMIT $2
    ) waiting
  ), ready AS (
    SELECT id, created_at FROM pending_hash
    WHERE (${UNCLAIMED}) AND (SELECT yes FROM due)
    ORDER BY id LIMIT $2
    FOR UPDATE SKIP LOCKED
  )
  UPDATE pending_hash p
  SET claim_id = $1, claimed_until = clock_timestamp() + $3 * interval '1 ms'
  WHERE p.id = ANY(ARRAY(SELECT id FROM ready)) AND (
    SELECT count(*) >= $2 OR
      min(created_at) NOT BETWEEN clock_timestamp() - $4 * interval '1 ms' AND clock_timestamp()
    FROM ready
  )
  RETURNING p.id, p.raw_file_id, (SELECT secure_hash FROM raw_file WHERE id = p.raw_file_id)`

/**
 * One statement, hence one transaction. The provider is looked for first, because an insert that
 * meets a conflict would use up a number of its small sequence. Whoever holds the claim by now, the
 * files have a link and wait no longer. Rows that somebody has locked, such as those of a job that is
 * being deleted, are passed over: they would hold up all the others. They wait on.
 */
const COMPLETE = `
  WITH known AS (
    SELECT id FROM signing_provider WHERE url = $1
  ), added AS (
    INSERT INTO signing_provider (url)
    SELECT $1 WHERE $1 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM known)
    ON CONFLICT (url) DO UPDATE SET url = excluded.url
    RETURNING id
  ), given AS (
    SELECT * FROM unnest($2::uuid[], $3::text[]) AS t (raw_file_id, link)
  ), free AS (
    SELECT p.id, r.id AS raw_file_id
    FROM pending_hash p JOIN raw_file r ON r.id = p.raw_file_id
    WHERE p.raw_file_id = ANY($2::uuid[])
    FOR NO KEY UPDATE SKIP LOCKED
  ), linked AS (
    UPDATE raw_file r
    SET hash_retrieval_link = g.link,
        signing_provider_id = (SELECT id FROM known UNION ALL SELECT id FROM added)
    FROM given g
    WHERE r.id = g.raw_file_id AND r.id IN (SELECT raw_file_id FROM free)
      AND r.hash_retrieval_link IS NULL
  )
  DELETE FROM pending_hash
  WHERE raw_file_id = ANY($2::uuid[]) AND id IN (SELECT id FROM free)`

/** As above, it waits for nobody. */
const RELEASE = `
  UPDATE pending_hash SET claim_id = NULL, claimed_until = NULL
  WHERE id = ANY(ARRAY(
    SELECT id FROM pending_hash WHERE claim_id = $1 FOR NO KEY UPDATE SKIP LOCKED
  ))`

const IS_PENDING = 'SELECT EXISTS (SELECT 1 FROM pending_hash WHERE raw_file_id = $1) AS pending'

const STATE = `
  SELECT count(*) AS pending, extract(epoch FROM now() - min(created_at)) AS age FROM pending_hash`

interface ClaimedRow {
  readonly id: string
  readonly raw_file_id: string
  readonly secure_hash: string | null
}

/** The pending hashes on Postgres. */
export function createPendingHashes(pool: pg.Pool): PendingHashes {
  const run = <Row extends pg.QueryResultRow>(text: string, values: unknown[] = []) =>
    translated(async () => (await pool.query<Row>(text, values)).rows)
  return {
    claim: async ({ limit, leaseMs, waitMs }) => {
      const id = randomUUID()
      const rows = await run<ClaimedRow>(CLAIM, [id, limit, leaseMs, waitMs])
      if (rows.length === 0) return undefined
      // bigint comes as text, and RETURNING knows no order.
      rows.sort((a, b) => Number(BigInt(a.id) - BigInt(b.id)))
      // The column may be null; a commit never leaves such a file pending.
      const hashes = rows.flatMap(({ raw_file_id: rawFileId, secure_hash: secureHash }) =>
        secureHash === null ? [] : [{ rawFileId, secureHash }],
      )
      return { id, hashes }
    },
    complete: async (_claim, signingProviderUrl, links) => {
      if (links.size === 0) return
      await run(COMPLETE, [signingProviderUrl, [...links.keys()], [...links.values()]])
    },
    release: async (claim) => {
      await run(RELEASE, [claim.id])
    },
    isPending: async (rawFileId) => {
      const [row] = await run<{ pending: boolean }>(IS_PENDING, [rawFileId])
      return row?.pending ?? false
    },
    pendingState: async () => {
      const [row] = await run<{ pending: string; age: string | null }>(STATE)
      const age = Number(row?.age ?? 0)
      return { pending: Number(row?.pending ?? 0), oldestAgeSeconds: Math.max(0, age) }
    },
  }
}
