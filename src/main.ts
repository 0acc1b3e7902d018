#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { migrate } from './cli/migrate.js'
import { serve } from './cli/serve.js'
import { VERSION } from './compose.js'
import { migrationSql } from './meta/migrator.js'
import { SettingsError } from './settings.js'

/** sysexits.h */
const EX_USAGE = 64
const EX_CONFIG = 78

const USAGE = `Usage: bytes [command]

  serve                        start the service (default)
  migrate                      apply missing migrations to the database and exit
  sql [--from REV] [--to REV]  print the SQL of the migrations after REV, up to REV
  --help, --version

Settings come from environment variables: see the README.
`

async function main(argv: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: {
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean' },
      from: { type: 'string' },
      to: { type: 'string' },
    },
  })
  const [command = 'serve', ...surplus] = positionals
  if (values.help) return print(USAGE)
  if (values.version) return print(`${VERSION}\n`)
  if (surplus.length > 0) return usageError(`unexpected argument ${surplus[0]}`)
  if (command === 'serve') return serve()
  if (command === 'migrate') return migrate()
  if (command === 'sql') return print(await migrationSql(values.from, values.to))
  return usageError(`unknown command ${command}`)
}

function print(text: string): number {
  process.stdout.write(text)
  return 0
}

function usageError(text: string): number {
  process.stderr.write(`bytes: ${text}\n\n${USAGE}`)
  return EX_USAGE
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code
  },
  (error: unknown) => {
    const text = error instanceof Error ? error.message : String(error)
    process.stderr.write(`bytes: ${text}\n`)
    const usage =
      error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')
    process.exitCode = error instanceof SettingsError ? EX_CONFIG : usage ? EX_USAGE : 1
  },
)
