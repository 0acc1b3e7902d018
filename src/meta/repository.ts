import type { MetaRepository } from '../domain/meta-repository.js'
import type { Database } from './client.js'
import { createCounts } from './counts.js'
import { createJobs } from './jobs.js'
import { createOutboxState } from './outbox.js'
import { createRawFiles } from './raw-files.js'
import { translated } from './sqlstate.js'
import { createUploads } from './uploads.js'

/** The meta repository on Postgres. */
export function createMetaRepository({ drizzle, pool, uploads }: Database): MetaRepository {
  return {
    ...createJobs(drizzle),
    ...createRawFiles(drizzle),
    ...createUploads(uploads),
    ...createCounts(pool),
    ...createOutboxState(pool),
    check: async () => {
      await translated(() => pool.query('SELECT 1'))
    },
  }
}
