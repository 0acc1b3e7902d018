import { BytesError } from '../domain/errors.js'
import type { MetaRepository } from '../domain/meta-repository.js'
import type { Log } from '../domain/ports.js'

/**
 * Tells the operator when the database takes no uploads, because it is read-only or lacks a
 * migration, say. The service starts all the same: somebody else may be about to mend it.
 */
export async function tellOfUnfitDatabase(
  meta: Pick<MetaRepository, 'check'>,
  log: Pick<Log, 'error'>,
): Promise<void> {
  try {
    await meta.check()
  } catch (error) {
    if (!(error instanceof BytesError)) throw error
    log.error({ reason: error.message }, 'the database cannot be used as it is')
  }
}
