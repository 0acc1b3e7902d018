import { join } from 'node:path'
import { composeDatabase } from '../compose-database.js'
import { type Release, releaseAll } from '../compose-releases.js'
import type { Log } from '../domain/ports.js'
import { findRunningPostgres, hasCluster } from '../embedded/running.js'
import type { Database } from '../meta/client.js'
import type { Settings } from '../settings.js'

/**
 * Runs `use` with the database of the settings. An embedded one may be that of a service which
 * runs; otherwise it is started for this alone.
 * @param signal ends the waiting for a database that does not answer
 * @throws Error when there is no embedded database; BytesError `database_unavailable`
 */
export async function withDatabase<T>(
  settings: Settings,
  log: Log,
  use: (database: Database) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const releases: Release[] = []
  try {
    const dbUri = settings.dbUri ?? (await runningUri(settings.dataDir, releases))
    const found = dbUri === undefined ? settings : { ...settings, dbUri }
    return await use(await composeDatabase(found, log, releases, () => undefined, signal))
  } finally {
    await releaseAll(releases, log)
  }
}

async function runningUri(dataDir: string, releases: Release[]): Promise<string | undefined> {
  const directory = join(dataDir, 'postgres')
  if (!(await hasCluster(directory))) {
    throw new Error(`there is no database in ${dataDir}: set BYTES_DB_URI or BYTES_DATA_DIR`)
  }
  const running = await findRunningPostgres(directory)
  if (running) releases.push(running.release)
  return running?.uri
}
