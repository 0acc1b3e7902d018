/** PostgreSQL as Debian packages it, with the programs that the embedded one ships without. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const VERSIONS = '/usr/lib/postgresql'
const PROGRAMS = ['initdb', 'postgres', 'pg_dump', 'pg_restore']

/**
 * The directory of the newest server that has its `pg_dump` beside it; undefined when there is none
 * (the Debian package `postgresql`), or no `rsync`.
 */
export function backupTools(): string | undefined {
  if (spawnSync('rsync', ['--version']).status !== 0 || !existsSync(VERSIONS)) return undefined
  return readdirSync(VERSIONS)
    .filter((version) => Number(version) >= 14)
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => join(VERSIONS, version, 'bin'))
    .find((bin) => PROGRAMS.every((program) => existsSync(join(bin, program))))
}
