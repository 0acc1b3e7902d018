import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { Log } from '../../src/domain/ports.js'
import { startEmbeddedPostgres } from '../../src/embedded/postgres.js'

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }

/** Options of the launcher for the server that `BYTES_TEST_POSTGRES_BIN` names, if any. */
export function testBinaries(): { binDir?: string } {
  const binDir = process.env.BYTES_TEST_POSTGRES_BIN
  return binDir ? { binDir } : {}
}

/**
 * Starts a throwaway cluster. `BYTES_TEST_POSTGRES_BIN` names the directory of another server's
 * `initdb` and `postgres` (14 to 18) to test with.
 * @param binDir such a directory, for this server alone
 * @returns `uri` of an administrator's connection; `stop` ends the server and removes its data
 */
export async function startTestPostgres(
  binDir?: string,
): Promise<{ uri: string; stop(): Promise<void> }> {
  const dataDir = await mkdtemp(join(tmpdir(), 'bytes-test-pg-'))
  const remove = async (real: string): Promise<void> => {
    for (const path of new Set([dataDir, real])) await rm(path, { recursive: true, force: true })
  }
  try {
    const server = await startEmbeddedPostgres({
      dataDir,
      log: silentLog,
      settings: {
        max_connections: '200',
        // Nothing here has to survive a power failure.
        fsync: 'off',
        full_page_writes: 'off',
      },
      ...(binDir === undefined ? testBinaries() : { binDir }),
    })
    return {
      uri: server.uri,
      stop: async () => {
        await server.stop()
        await remove(server.dataDir)
      },
    }
  } catch (error) {
    await remove(dataDir)
    throw error
  }
}

/** Creates a database, as a copy of `template` when given; resolves to its connection string. */
export async function createDatabase(
  adminUri: string,
  name: string,
  template?: string,
): Promise<string> {
  const { escapeIdentifier } = pg
  const copy = template === undefined ? '' : ` TEMPLATE ${escapeIdentifier(template)}`
  await execute(adminUri, `CREATE DATABASE ${escapeIdentifier(name)}${copy}`)
  const uri = new URL(adminUri)
  uri.pathname = `/${encodeURIComponent(name)}`
  return uri.href
}

/** Drops a database and disconnects whoever is connected to it. */
export async function dropDatabase(adminUri: string, name: string): Promise<void> {
  await execute(adminUri, `DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`)
}

async function execute(uri: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: uri })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}
