import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { applyMigrations, migrationSql } from '../../src/meta/migrator.js'
import { createDatabase, dropDatabase } from '../support/postgres.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const names: string[] = []

async function emptyDatabase(): Promise<string> {
  const name = `test_${randomBytes(8).toString('hex')}`
  names.push(name)
  return createDatabase(inject('postgresUri'), name)
}

async function query(uri: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: uri })
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

const TABLES = `
  SELECT table_name || '.' || column_name || ' ' || data_type AS it FROM information_schema.columns
  WHERE table_schema = 'public'
  UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1`
const APPLIED = 'SELECT count(*)::int AS n FROM drizzle.__drizzle_migrations'

const journal = JSON.parse(readFileSync(join(ROOT, 'migrations/meta/_journal.json'), 'utf8'))
const entries: { idx: number; tag: string }[] = journal.entries

afterEach(async () => {
  for (const name of names.splice(0)) await dropDatabase(inject('postgresUri'), name)
})

describe('applyMigrations', () => {
  it('can run five times at once on an empty database', async () => {
    for (let round = 0; round < 5; round++) {
      const uri = await emptyDatabase()
      await Promise.all(Array.from({ length: 5 }, () => applyMigrations(uri)))
      expect(await query(uri, APPLIED)).toEqual([{ n: entries.length }])
    }
  })

  it('is ended by the server when it is lost: others wait for it', async () => {
    const uri = await emptyDatabase()
    await query(
      uri,
      `CREATE TABLE seen AS SELECT name, reset_val FROM pg_settings LIMIT 0;
       CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
         INSERT INTO seen SELECT name, reset_val FROM pg_settings WHERE name IN
           ('tcp_keepalives_idle', 'tcp_user_timeout', 'idle_in_transaction_session_timeout', 'work_mem');
       END $$;
       CREATE EVENT TRIGGER noting ON ddl_command_start EXECUTE FUNCTION note();`,
    )
    const given = new URL(uri)
    given.searchParams.set('options', '-c work_mem=1MB')
    await applyMigrations(given.href)
    expect(await query(uri, 'SELECT DISTINCT name, reset_val FROM seen ORDER BY name')).toEqual([
      { name: 'idle_in_transaction_session_timeout', reset_val: '60000' },
      { name: 'tcp_keepalives_idle', reset_val: '30' },
      { name: 'tcp_user_timeout', reset_val: '60000' },
      { name: 'work_mem', reset_val: '1024' },
    ])
  })

  it('changes nothing the second time, and keeps what is stored', async () => {
    const uri = await emptyDatabase()
    await applyMigrations(uri)
    const before = await query(uri, TABLES)
    await query(uri, `INSERT INTO signing_provider (url) VALUES ('https://tsa.example')`)
    await applyMigrations(uri)
    expect(await query(uri, TABLES)).toEqual(before)
    expect(await query(uri, 'SELECT url FROM signing_provider')).toHaveLength(1)
    expect(await query(uri, APPLIED)).toEqual([{ n: entries.length }])
  })

  it('does all or nothing when a statement fails, and leaves no lock', async () => {
    const uri = await emptyDatabase()
    await query(uri, 'CREATE VIEW raw_file AS SELECT 1')
    await expect(applyMigrations(uri)).rejects.toThrow()
    const tables = `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`
    expect(await query(uri, tables)).toEqual([{ table_name: 'raw_file' }])
    expect(await query(uri, `SELECT 1 FROM pg_locks WHERE locktype = 'advisory'`)).toEqual([])
    await query(uri, 'DROP VIEW raw_file')
    await applyMigrations(uri)
  })

  it('says that the database cannot be reached', async () => {
    const uri = 'postgresql://x@127.0.0.1:1/x'
    await expect(applyMigrations(uri)).rejects.toMatchObject({ code: 'database_unavailable' })
  })

  it('says what the database says otherwise, such as that there is none', async () => {
    const uri = new URL(inject('postgresUri'))
    uri.pathname = '/never_made'
    await expect(applyMigrations(uri.href)).rejects.toMatchObject({ code: '3D000' })
  })
})

describe('migrationSql', () => {
  it('makes the same tables as the migrator', async () => {
    const [a, b] = [await emptyDatabase(), await emptyDatabase()]
    await applyMigrations(a)
    await query(b, await migrationSql())
    const tables = await query(a, TABLES)
    expect(tables.length).toBeGreaterThan(40)
    expect(await query(b, TABLES)).toEqual(tables)
  })

  it('gives the migrations after one, up to another', async () => {
    const last = entries.at(-1)
    const whole = await migrationSql()
    expect(whole).not.toContain('statement-breakpoint')
    for (const { tag } of entries) expect(whole).toContain(`-- ${tag}\n`)
    expect(await migrationSql(undefined, last?.tag)).toBe(whole)
    expect(await migrationSql(undefined, String(last?.idx))).toBe(whole)
    expect(await migrationSql(last?.tag)).toBe('')
    expect(await migrationSql(String(last?.idx), last?.tag)).toBe('')
    const first = await migrationSql(undefined, '0')
    expect(first).toContain('CREATE TABLE "raw_file"')
    expect(whole.startsWith(first.trimEnd())).toBe(true)
  })

  it('names what there is when asked for what there is not', async () => {
    const known = `0 (${entries[0]?.tag})`
    for (const [from, to] of [['9999'], [undefined, 'x"'], ['-1'], ['']]) {
      await expect(migrationSql(from, to)).rejects.toThrow(known)
    }
    await expect(migrationSql(undefined, 'x"')).rejects.toThrow('there is no migration "x\\""')
  })
})

describe('scripts/check-migrations.sh', () => {
  it('passes for the schema as it is, and fails when a migration is missing', async () => {
    const copy = await mkdtemp(join(tmpdir(), 'bytes-test-migrations-'))
    try {
      for (const name of ['src', 'migrations', 'scripts', 'package.json', 'tsconfig.json']) {
        await cp(join(ROOT, name), join(copy, name), { recursive: true })
      }
      await symlink(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
      const check = () =>
        spawnSync('sh', ['scripts/check-migrations.sh'], { cwd: copy, encoding: 'utf8' })
      expect(check()).toMatchObject({ status: 0 })
      const schema = join(copy, 'src/meta/schema.ts')
      const text = readFileSync(schema, 'utf8')
      writeFileSync(schema, text.replace("url: varchar('url'", "more: text('more'),\n$&"))
      const drifted = check()
      expect(drifted.status).not.toBe(0)
      expect(drifted.stderr).toContain('without a migration')
    } finally {
      await rm(copy, { recursive: true, force: true })
    }
  })
})
