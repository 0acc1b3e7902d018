import { randomUUID } from 'node:crypto'
import type pg from 'pg'
import type { EvidenceRecords } from '../domain/evidence-records.js'
import { translated } from './sqlstate.js'

/** The token once, and a row for each record. */
const SAVE = `
  WITH token AS (
    INSERT INTO timestamp_token (token) VALUES ($1) RETURNING id
  )
  INSERT INTO evidence_record (id, timestamp_token_id, reduced_hash_tree)
  SELECT record.id, token.id, record.tree
  FROM token CROSS JOIN unnest($2::uuid[], $3::bytea[]) AS record (id, tree)`

const FIND = `
  SELECT token.token, record.reduced_hash_tree AS tree
  FROM evidence_record record JOIN timestamp_token token ON token.id = record.timestamp_token_id
  WHERE record.id = $1`

/** The evidence records in Postgres. */
export function createEvidenceRecords(pool: pg.Pool): EvidenceRecords {
  return {
    save: async (token, reducedHashTrees) => {
      const ids = reducedHashTrees.map(() => randomUUID())
      if (ids.length === 0) return []
      await translated(() => pool.query(SAVE, [token, ids, reducedHashTrees]))
      return ids
    },
    find: (id) =>
      translated(async () => {
        const { rows } = await pool.query<{ token: Buffer; tree: Buffer }>(FIND, [id])
        const [row] = rows
        return row && { token: row.token, reducedHashTree: row.tree }
      }),
  }
}
