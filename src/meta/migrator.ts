import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { drizzle } from 'drizzle-orm/node-postgres'
import { migrate } from 'drizzle-orm/node-postgres/migrator'
import pg from 'pg'
import { lostClientOptions, withoutOptions } from './session.js'
import { translated } from './sqlstate.js'

const PACKAGE = createRequire(import.meta.url).resolve('bytes/package.json')
const FOLDER = join(dirname(PACKAGE), 'migrations')
/** Any constant will do, as long as every instance takes the same ("bytes" in ASCII). */
const LOCK_KEY = '422777283955'
/** Longest pause between two statements of the migrations, which lock tables, in milliseconds. */
const PAUSE_MS = 60_000

/**
 * Applies the migrations that are missing, under a session advisory lock: of several instances
 * that start at once one migrates and the others wait.
 * @throws BytesError `database_unavailable`, or the database's own error when a migration fails
 */
export async function applyMigrations(uri: string): Promise<void> {
  const { connectionString, given } = withoutOptions(uri)
  const client = new pg.Client({
    connectionString,
    application_name: 'bytes-migrate',
    options: `${lostClientOptions(PAUSE_MS)} ${given}`,
  })
  // The failed query rejects as well; without a listener the event would end the process.
  client.on('error', () => undefined)
  await translated(async () => {
    await client.connect()
    try {
      await client.query('SELECT pg_advisory_lock($1)', [LOCK_KEY])
      await migrate(drizzle(client), { migrationsFolder: FOLDER })
    } finally {
      await client.end()
    }
  })
}

interface Journal {
  readonly entries: readonly { readonly idx: number; readonly tag: string }[]
}

/**
 * SQL of the migrations after `from` up to and including `to`.
 * @param from number or tag of a migration; undefined starts before the first
 * @param to number or tag of a migration; undefined ends with the last
 * @throws RangeError when there is no such migration, or `to` comes before `from`
 */
export async function migrationSql(from?: string, to?: string): Promise<string> {
  const journal: Journal = JSON.parse(await readFile(`${FOLDER}/meta/_journal.json`, 'utf8'))
  const position = (name: string): number => {
    const index = journal.entries.findIndex((e) => e.tag === name || String(e.idx) === name)
    if (index >= 0) return index
    const known = journal.entries.map((e) => `${e.idx} (${e.tag})`).join(', ')
    throw new RangeError(`there is no migration ${JSON.stringify(name)}; there are: ${known}`)
  }
  const first = from === undefined ? 0 : position(from) + 1
  const last = to === undefined ? journal.entries.length - 1 : position(to)
  if (last < first - 1) throw new RangeError(`migration ${to} comes before ${from}`)
  const parts = journal.entries.slice(first, last + 1).map(async (entry) => {
    const text = await readFile(`${FOLDER}/${entry.tag}.sql`, 'utf8')
    return `-- ${entry.tag}\n${text.replaceAll('--> statement-breakpoint', '').trimEnd()}\n`
  })
  return (await Promise.all(parts)).join('\n')
}
