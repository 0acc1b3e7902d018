import { BytesError } from '../domain/errors.js'
import type { MetaRepository } from '../domain/meta-repository.js'
import type { Database } from './client.js'
import { createCounts } from './counts.js'
import { createJobs } from './jobs.js'
import { createMimeTypes } from './mime-types.js'
import { createOutboxState } from './outbox.js'
import { createRawFiles } from './raw-files.js'
import { translated } from './sqlstate.js'
import { createUploads } from './uploads.js'
import { withClient } from './with-client.js'

/** The table that an upload needs and that came last. */
const CHECK = `
  SELECT pg_is_in_recovery() AS standby, current_setting('transaction_read_only')::bool AS "readOnly",
         to_regclass('pending_hash') IS NOT NULL AS migrated`

/** The meta repository on Postgres. */
export function createMetaRepository({ drizzle, pool, uploads }: Database): MetaRepository {
  return {
    ...createJobs(drizzle),
    ...createRawFiles(drizzle),
    ...createMimeTypes(drizzle),
    ...createUploads(uploads),
    ...createCounts(pool),
    ...createOutboxState(pool),
    // A connection that is found wanting is closed: its session stays read-only when the server is so
    // no more, and the next check would find it again.
    check: () =>
      translated(() =>
        withClient(pool, async (client) => {
          const { rows } =
            await client.query<Record<'standby' | 'readOnly' | 'migrated', boolean>>(CHECK)
          const { standby = false, readOnly = false, migrated = false } = rows[0] ?? {}
          if (standby)
            throw new BytesError('database_unavailable', 'the database is a read-only standby')
          if (readOnly) throw new BytesError('database_unavailable', 'the database is read-only')
          if (!migrated)
            throw new BytesError(
              'database_unavailable',
              'the database lacks a migration: run `bytes migrate`',
            )
        }),
      ),
  }
}
