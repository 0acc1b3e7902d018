#!/usr/bin/env node
import { type Command, complain, UsageError } from './cli/command.js'
import { SettingsError } from './environment.js'

/** sysexits.h */
const EX_USAGE = 64
const EX_CONFIG = 78
/** What a shell tells of a program that ended by SIGPIPE. */
const BROKEN_PIPE = 141

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
  audit: [
    'compare the database and the disk, and sweep what nothing refers to',
    async () => (await import('./cli/audit.js')).command,
  ],
  put: ['store files', async () => (await import('./cli/put.js')).command],
  get: ['write the content of a raw file', async () => (await import('./cli/get.js')).command],
  evidence: [
    'write the evidence bundle of a raw file',
    async () => (await import('./cli/evidence.js')).command,
  ],
  verify: [
    'check a raw file, an evidence bundle or all that is stored',
    async () => (await import('./cli/verify.js')).command,
  ],
}

const USAGE = `Usage: bytes [command]

${Object.entries(COMMANDS)
  .map(([name, [about]]) => `  ${name.padEnd(10)}${about}`)
  .join('\n')}
  help      tell of a command
  --help, --version

bytes help COMMAND or bytes COMMAND --help tells of one. Settings come from environment variables:
see the README.
`

async function main(argv: string[]): Promise<number> {
  const [first, ...rest] = argv
  if (first === '--help' || first === '-h') return print(USAGE)
  if (first === '--version') return print(`${(await import('./version.js')).VERSION}\n`)
  if (first === 'help') return help(rest[0])
  const [name, args] = first?.startsWith('-') ? ['serve', argv] : [first ?? 'serve', rest]
  const command = await load(name)
  if (command === undefined) return usageError(`unknown command ${name}`)
  const options = args.slice(0, args.includes('--') ? args.indexOf('--') : undefined)
  if (options.some((arg) => arg === '--help' || arg === '-h')) return print(command.usage)
  try {
    return await command.run(args)
  } catch (error) {
    if (!isUsageError(error)) throw error
    // Node adds how to write a file name that begins with a dash.
    const text = error.message.replace(/\. To specify a positional .*$/s, '').replaceAll('\n', ' ')
    return usageError(text, name === 'serve' ? undefined : name)
  }
}

async function load(name: string): Promise<Command | undefined> {
  return Object.hasOwn(COMMANDS, name) ? COMMANDS[name]?.[1]() : undefined
}

async function help(topic: string | undefined): Promise<number> {
  if (topic === undefined || topic.startsWith('-')) return print(USAGE)
  const command = await load(topic)
  return command === undefined ? usageError(`unknown command ${topic}`) : print(command.usage)
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

function usageError(text: string, command?: string): number {
  complain(text)
  process.stderr.write(`Try: bytes ${command === undefined ? '' : `${command} `}--help\n`)
  return EX_USAGE
}

function tell(error: unknown): number {
  const lines = (error instanceof Error ? error.message : String(error)).split('\n')
  // Only the problems of settings have a line each.
  if (error instanceof SettingsError) complain(...lines)
  else complain(lines.join(' '))
  return error instanceof SettingsError ? EX_CONFIG : 1
}

/** The exit code after the standard output failed. */
let broken: number | undefined
// Without a listener the process would end in the middle of its work.
process.stdout.on('error', (error) => {
  // Whoever read the output has had enough of it.
  const isPipe = 'code' in error && error.code === 'EPIPE'
  broken ??= isPipe ? BROKEN_PIPE : tell(`the standard output cannot be written: ${error.message}`)
  process.exitCode = broken
})
main(process.argv.slice(2))
  .catch((error: unknown) => broken ?? tell(error))
  .then((code) => {
    process.exitCode ??= code
  })
