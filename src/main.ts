#!/usr/bin/env node
import { type Command, UsageError } from './cli/command.js'
import { SettingsError } from './environment.js'

/** sysexits.h */
const EX_USAGE = 64
const EX_CONFIG = 78

/** A command's code is loaded when it is called. */
const COMMANDS: Readonly<Record<string, readonly [about: string, load: () => Promise<Command>]>> = {
  serve: ['start the service (default)', async () => (await import('./cli/serve.js')).command],
  migrate: [
    'apply missing migrations to the database and exit',
    async () => (await import('./cli/migrate.js')).command,
  ],
  sql: ['print the SQL of the migrations', async () => (await import('./cli/sql.js')).command],
  keys: [
    'make, rotate and count the keys of encrypted files',
    async () => (await import('./cli/keys.js')).command,
  ],
  put: ['store files', async () => (await import('./cli/put.js')).command],
  get: ['write the content of a raw file', async () => (await import('./cli/get.js')).command],
  verify: [
    'compute the digests of a raw file anew',
    async () => (await import('./cli/verify.js')).command,
  ],
}

const USAGE = `Usage: bytes [command]

${Object.entries(COMMANDS)
  .map(([name, [about]]) => `  ${name.padEnd(10)}${about}`)
  .join('\n')}
  --help, --version

bytes COMMAND --help tells of one. Settings come from environment variables: see the README.
`

async function main(argv: string[]): Promise<number> {
  const [first, ...rest] = argv
  if (first === '--help' || first === '-h') return print(USAGE)
  if (first === '--version') return print(`${(await import('./compose.js')).VERSION}\n`)
  const [name, args] = first?.startsWith('-') ? ['serve', argv] : [first ?? 'serve', rest]
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name]?.[1] : undefined
  if (load === undefined) return usageError(`unknown command ${name}`, USAGE)
  const command = await load()
  const options = args.slice(0, args.includes('--') ? args.indexOf('--') : undefined)
  if (options.some((arg) => arg === '--help' || arg === '-h')) return print(command.usage)
  try {
    return await command.run(args)
  } catch (error) {
    if (!isUsageError(error)) throw error
    return usageError(error.message, command.usage)
  }
}

function print(text: string): number {
  process.stdout.write(text)
  return 0
}

function isUsageError(error: unknown): error is Error {
  if (!(error instanceof Error)) return false
  const code = 'code' in error ? String(error.code) : ''
  return error instanceof UsageError || code.startsWith('ERR_PARSE_ARGS')
}

function usageError(text: string, usage: string): number {
  process.stderr.write(`bytes: ${text}\n\n${usage}`)
  return EX_USAGE
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code
  },
  (error: unknown) => {
    process.stderr.write(`bytes: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = error instanceof SettingsError ? EX_CONFIG : 1
  },
)
