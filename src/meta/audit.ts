import type pg from 'pg'
import { type AuditRows, MAX_RAW_FILES } from '../domain/audit.js'
import { BytesError } from '../domain/errors.js'
import type { Uuid } from '../domain/models.js'
import { markVerified } from './mark-verified.js'
import { translated } from './sqlstate.js'
import { SINCE } from './verified-since.js'
import { changeWhole, readWhole } from './with-client.js'

const BLOB = `b.id::float8 AS id, b.organization, b.content_digest AS "contentDigest", b.address,
              b.stored_size::float8 AS "storedSize"`
const GRACE = (parameter: string): string => `now() - ${parameter} * interval '1 second'`

const COUNT =
  'SELECT count(*)::float8 AS blobs, coalesce(sum(stored_size), 0)::float8 AS bytes FROM blob'

/** OFFSET 0 makes Postgres look up each blob by itself: else it hashes all of raw_file for each page. */
const LIST = `
  SELECT ${BLOB}, b.created_at < ${GRACE('$3')}
    AND NOT EXISTS (SELECT FROM raw_file r WHERE r.blob_id = b.id OFFSET 0) AS unreferenced
  FROM blob b WHERE b.id > $1 ORDER BY b.id LIMIT $2`

const UNVERIFIED = `
  SELECT ${BLOB}, ${SINCE}::text AS since FROM blob b
  WHERE (${SINCE}, b.id) > ($1::timestamptz, $2::bigint) AND ${SINCE} < $3::timestamptz
  ORDER BY ${SINCE}, b.id LIMIT $4`

const DATED_AHEAD = `
  SELECT ${BLOB}, ${SINCE}::text AS since FROM blob b
  WHERE (${SINCE}, b.id) > (greatest($1::timestamptz, now()), $2::bigint)
  ORDER BY ${SINCE}, b.id LIMIT $3`

/** OFFSET 0 makes Postgres look up each address by itself. */
const AT = `
  SELECT found.organization, found.address FROM unnest($1::text[]) AS wanted (address)
  CROSS JOIN LATERAL (
    SELECT organization, address FROM blob
    WHERE address = wanted.address AND ($2::text IS NULL OR organization = $2)
    OFFSET 0
  ) found`

/** The foreign key lets no row go that a raw file has got in the meantime. */
const REMOVE_BLOB = `
  DELETE FROM blob b WHERE b.id = $1 AND b.created_at < ${GRACE('$2')}
    AND NOT EXISTS (SELECT FROM raw_file r WHERE r.blob_id = b.id)`

const STUCK = `
  SELECT o.id::float8 AS id, o.message_id AS "messageId", r.organization,
         extract(epoch FROM now() - o.created_at)::float8 AS "ageSeconds"
  FROM outbox o LEFT JOIN raw_file r ON r.id = o.message_id
  WHERE o.id > $1 AND o.created_at < ${GRACE('$2')}
  ORDER BY o.id LIMIT $3`

/**
 * A record is saved in one transaction, and named in the next, which ends the waiting of its hashes
 * as well: so while a hash waits from before the token, a record of it may still be named. The
 * length of a link is known without reading it: tokens are kilobytes.
 */
const UNNAMED = (prefix: string, grace: string): string => `
  t.created_at < ${GRACE(grace)}
  AND NOT EXISTS (SELECT FROM pending_hash p WHERE p.created_at <= t.created_at)
  AND NOT EXISTS (
    SELECT FROM raw_file r
    WHERE octet_length(r.hash_retrieval_link) = octet_length(${prefix}) + 36
      AND r.hash_retrieval_link = ${prefix} || e.id
  )`

const RECORDS = `
  SELECT e.id FROM evidence_record e JOIN timestamp_token t ON t.id = e.timestamp_token_id
  WHERE ($2::uuid IS NULL OR e.id > $2) AND ${UNNAMED('$1::text', '$3')}
  ORDER BY e.id LIMIT $4`

const REMOVE_RECORDS = `
  DELETE FROM evidence_record e USING timestamp_token t
  WHERE t.id = e.timestamp_token_id AND e.id = ANY($2::uuid[]) AND ${UNNAMED('$1::text', '$3')}
  RETURNING e.id`

const WITHOUT_RECORD = (grace: string): string => `
  t.created_at < ${GRACE(grace)}
  AND NOT EXISTS (SELECT FROM evidence_record e WHERE e.timestamp_token_id = t.id)`

const TOKENS = `
  SELECT t.id::float8 AS id FROM timestamp_token t
  WHERE t.id > $1 AND ${WITHOUT_RECORD('$2')} ORDER BY t.id LIMIT $3`

const REMOVE_TOKENS = `
  DELETE FROM timestamp_token t WHERE t.id = ANY($1::bigint[]) AND ${WITHOUT_RECORD('$2')}
  RETURNING t.id::float8 AS id`

/** What an audit reads and sweeps, on Postgres. */
export function createAuditRows(pool: pg.Pool): AuditRows {
  const run = <Row extends pg.QueryResultRow>(text: string, values: unknown[] = []) =>
    translated(async () => (await pool.query<Row>(text, values)).rows)
  const one = async <Row extends pg.QueryResultRow>(text: string, values: unknown[] = []) =>
    (await run<Row>(text, values))[0]
  const ids = async <Id>(text: string, values: unknown[]): Promise<Id[]> =>
    (await run<{ id: Id }>(text, values)).map(({ id }) => id)
  const idsOfWhole = async <Id>(text: string, values: unknown[]): Promise<Id[]> =>
    (await translated(() => readWhole<{ id: Id }>(pool, text, values))).map(({ id }) => id)

  return {
    now: async () => (await one<{ now: string }>('SELECT now()::text AS now'))?.now ?? '-infinity',
    countBlobs: async () =>
      (await translated(() => readWhole<{ blobs: number; bytes: number }>(pool, COUNT)))[0] ?? {
        blobs: 0,
        bytes: 0,
      },
    listBlobs: (afterId, limit, graceSeconds) => run(LIST, [afterId, limit, graceSeconds]),
    listUnverified: (after, before, limit) =>
      run(UNVERIFIED, [after?.since ?? '-infinity', after?.id ?? 0, before, limit]),
    listAhead: (after, limit) =>
      run(DATED_AHEAD, [after?.since ?? '-infinity', after?.id ?? 0, limit]),
    findBlobRow: (id) => one(`SELECT ${BLOB} FROM blob b WHERE b.id = $1`, [id]),
    rowsAt: (addresses, organization) => run(AT, [addresses, organization ?? null]),
    rawFilesOf: (blobId) =>
      ids('SELECT id FROM raw_file WHERE blob_id = $1 ORDER BY seq LIMIT $2', [
        blobId,
        MAX_RAW_FILES,
      ]),
    markVerified: (verified) => markVerified(pool, verified),
    removeBlobRow: async (id, graceSeconds) => {
      try {
        const { rowCount } = await translated(() => pool.query(REMOVE_BLOB, [id, graceSeconds]))
        return rowCount === 1
      } catch (error) {
        // A raw file has it by now.
        if (error instanceof BytesError && error.code === 'reference_missing') return false
        throw error
      }
    },
    stuckEvents: (afterId, olderThanSeconds, limit) =>
      run(STUCK, [afterId, olderThanSeconds, limit]),
    unnamedRecords: (linkPrefix, after, graceSeconds, limit) =>
      idsOfWhole(RECORDS, [linkPrefix, after ?? null, graceSeconds, limit]),
    removeUnnamedRecords: async (linkPrefix, records, graceSeconds) => {
      const values = [linkPrefix, records, graceSeconds]
      const removing = () => changeWhole<{ id: Uuid }>(pool, REMOVE_RECORDS, values)
      return (await translated(removing)).map(({ id }) => id)
    },
    unnamedTokens: (afterId, graceSeconds, limit) =>
      idsOfWhole(TOKENS, [afterId, graceSeconds, limit]),
    removeUnnamedTokens: (tokens, graceSeconds) => ids(REMOVE_TOKENS, [tokens, graceSeconds]),
  }
}
