/** The background scrub that the settings ask for. */
import type pg from 'pg'
import type { Log } from './domain/ports.js'
import { type Scrub, startScrub } from './flows/scrub.js'
import type { Traffic } from './flows/traffic.js'
import { createAuditRows } from './meta/audit.js'
import { createScrubRows } from './meta/scrub.js'
import { createAuditFiles } from './raw/audit-files.js'
import type { Settings } from './settings.js'

/** @returns undefined when the settings turn it off */
export function composeScrub(
  { dataDir, scrubBytesPerSecond }: Settings,
  pool: pg.Pool,
  traffic: Traffic,
  log: Log,
  countBlobError: (code: string) => void,
): Scrub | undefined {
  if (scrubBytesPerSecond === 0) return undefined
  return startScrub({
    rows: { ...createAuditRows(pool), ...createScrubRows(pool) },
    files: createAuditFiles(dataDir),
    bytesPerSecond: scrubBytesPerSecond,
    busy: () => traffic.isMuch,
    log,
    countBlobError,
  })
}
