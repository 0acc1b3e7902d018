import type { AuditFiles, AuditRows } from '../domain/audit.js'
import { BytesError } from '../domain/errors.js'
import type { Log } from '../domain/ports.js'

/** Blobs that are looked for: the first ones, which have been there for the longest time. */
const LOOKED_FOR = 20

/**
 * Tells the operator when the database knows blobs and the disk has none of those that are looked
 * for: the data directory is another one, or a volume is not mounted. The service starts all the
 * same, since uploads can heal what is lost.
 */
export async function tellOfMissingBlobs(
  rows: Pick<AuditRows, 'listBlobs'>,
  files: Pick<AuditFiles, 'sizeOf'>,
  log: Pick<Log, 'warn' | 'error'>,
): Promise<void> {
  try {
    const blobs = await rows.listBlobs(0, LOOKED_FOR, 0)
    for (const blob of blobs) if ((await files.sizeOf(blob)) !== undefined) return
    if (blobs.length === 0) return
    log.error(
      { lookedFor: blobs.length },
      'the database knows blobs, and none is in the data directory: is it the right one, and mounted? What is stored now goes here',
    )
  } catch (error) {
    if (!(error instanceof BytesError)) throw error
    log.warn({ reason: error.message }, 'whether the blobs are there cannot be seen')
  }
}
