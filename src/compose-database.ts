/** The database that the settings ask for. */
import { join } from 'node:path'
import type { Release } from './compose-releases.js'
import type { Log } from './domain/ports.js'
import { startEmbeddedPostgres } from './embedded/postgres.js'
import { type Database, openDatabase, waitForDatabase } from './meta/client.js'
import { applyMigrations } from './meta/migrator.js'
import { makeDirectories } from './raw/durable.js'
import type { Settings } from './settings.js'

/**
 * Opens the database of the settings, or starts the embedded one, and brings it up to date.
 * @throws BytesError `database_unavailable`, or the error of a failed migration
 */
export async function composeDatabase(
  settings: Settings,
  log: Log,
  releases: Release[],
  onFailed: () => void,
  signal?: AbortSignal,
): Promise<Database> {
  const uri = settings.dbUri ?? (await composeEmbedded(settings, log, releases, onFailed))
  const database = openDatabase(uri, settings.dbPoolSize, log)
  releases.push(() => database.close())
  await waitForDatabase(database.pool, settings.dbConnectTimeoutSeconds * 1000, log, signal)
  if (settings.migrateOnStart) await applyMigrations(uri)
  return database
}

async function composeEmbedded(
  settings: Settings,
  log: Log,
  releases: Release[],
  onFailed: () => void,
): Promise<string> {
  // Postgres may run as another user, who has to get through to its own directory.
  await makeDirectories(settings.dataDir, settings.folderPermission | 0o111)
  const dataDir = join(settings.dataDir, 'postgres')
  const embedded = await startEmbeddedPostgres({ dataDir, log })
  releases.push(() => embedded.stop())
  void embedded.exited.then(({ expected }) => {
    if (!expected) onFailed()
  })
  return embedded.uri
}
