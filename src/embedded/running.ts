import { lstat, realpath } from 'node:fs/promises'
import { clusterPath } from './directory.js'
import { socketPath } from './lock.js'
import { connectionString, database, query, socketDirectory } from './postgres.js'

/** True when an embedded Postgres has been made in this data directory. @throws Error when that cannot be seen */
export async function hasCluster(dataDir: string): Promise<boolean> {
  try {
    await lstat(clusterPath(dataDir))
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false
    throw error
  }
}

/**
 * Finds the embedded Postgres that another process runs in this data directory.
 * @returns its connection string, good until `release`, which leaves the server alone; undefined
 *   when none runs, or this user may not reach it
 */
export async function findRunningPostgres(
  dataDir: string,
): Promise<{ uri: string; release(): Promise<void> } | undefined> {
  const sockets = await socketPath(socketDirectory(await realpath(dataDir)))
  const uri = connectionString(sockets.path, database)
  if ((await query(uri, 'SELECT 1')) === null) return { uri, release: sockets.remove }
  await sockets.remove()
  return undefined
}
