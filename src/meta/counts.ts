import type pg from 'pg'
import type { MetaRepository } from '../domain/meta-repository.js'
import { translated } from './sqlstate.js'
import { readWhole } from './with-client.js'

const BY_ORGANIZATION = `
  WITH files AS (
    SELECT organization, blob_id, count(*) AS files FROM raw_file GROUP BY organization, blob_id
  )
  SELECT f.organization, sum(f.files) AS files, sum(b.stored_size) AS stored,
         sum(b.size * (f.files - 1)) AS saved
  FROM files f JOIN blob b ON b.id = f.blob_id
  GROUP BY f.organization ORDER BY f.organization`

/** The part of the meta repository that counts for the metrics. */
export function createCounts(pool: pg.Pool): Pick<MetaRepository, 'countByOrganization'> {
  return {
    countByOrganization: () =>
      translated(async () => {
        const rows = await readWhole<Record<'organization' | 'files' | 'stored' | 'saved', string>>(
          pool,
          BY_ORGANIZATION,
        )
        return rows.map((row) => ({
          organization: row.organization,
          rawFiles: Number(row.files),
          storedBytes: Number(row.stored),
          savedBytes: Number(row.saved),
        }))
      }),
  }
}
