import type pg from 'pg'
import type { BlobKey, BlobKeys } from '../domain/blob-keys.js'
import { repeated } from './repeated.js'
import { translated } from './sqlstate.js'
import { readWhole } from './with-client.js'

interface BlobKeyRow {
  readonly id: string
  readonly key_id: string
  readonly sealed_key: Buffer
}

/** Without those whose key was destroyed. */
const COUNT = `
  SELECT key_id, count(*) AS blobs FROM blob
  WHERE sealed_key IS NOT NULL OR key_id IS NULL
  GROUP BY key_id`

/** Two ranges of ix_blob_key_id, so that the key id that is left out is not read over. */
const LIST = `
  (SELECT id, key_id, sealed_key FROM blob
   WHERE key_id < $1 AND (key_id, id) > ($2, $3::bigint) AND sealed_key IS NOT NULL
   ORDER BY key_id, id LIMIT $4)
  UNION ALL
  (SELECT id, key_id, sealed_key FROM blob
   WHERE key_id > $1 AND (key_id, id) > ($2, $3::bigint) AND sealed_key IS NOT NULL
   ORDER BY key_id, id LIMIT $4)
  ORDER BY key_id, id LIMIT $4`

const REPLACE = `
  UPDATE blob SET key_id = new.to_id, sealed_key = new.to_key
  FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::text[], $5::bytea[])
       AS new (id, from_id, from_key, to_id, to_key)
  WHERE blob.id = new.id AND blob.key_id = new.from_id AND blob.sealed_key = new.from_key`

/** The sealed keys in Postgres. */
export function createBlobKeys(pool: pg.Pool): BlobKeys {
  return {
    countByKey: () =>
      translated(async () => {
        const rows = await readWhole<{ key_id: string | null; blobs: string }>(pool, COUNT)
        return new Map(rows.map((row) => [row.key_id, Number(row.blobs)]))
      }),
    listSealedKeys: (keyId, after, limit) =>
      translated(async () => {
        const values = [keyId, after?.sealedKey.keyId ?? '', after?.blobId ?? 0, limit]
        const { rows } = await pool.query<BlobKeyRow>(LIST, values)
        return rows.map(toBlobKey)
      }),
    replaceSealedKeys: async (keys) => {
      const values = [
        keys.map(({ blobId }) => blobId),
        keys.map(({ from }) => from.keyId),
        keys.map(({ from }) => from.sealed),
        keys.map(({ to }) => to.keyId),
        keys.map(({ to }) => to.sealed),
      ]
      const { rowCount } = await repeated(() => pool.query(REPLACE, values))
      return rowCount ?? 0
    },
  }
}

function toBlobKey(row: BlobKeyRow): BlobKey {
  return { blobId: Number(row.id), sealedKey: { keyId: row.key_id, sealed: row.sealed_key } }
}
