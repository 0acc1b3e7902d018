import { basename } from 'node:path'
import { parseArgs } from 'node:util'
import { BytesClientError } from '../client/client.js'
import { escaped, printable } from '../client/text.js'
import { instantNow } from '../domain/instant.js'
import { type Command, complain, UsageError } from './command.js'
import { CONNECTION_HELP, type Connection, withClient } from './connect.js'
import { checkOptions, unreadable } from './inputs.js'

const USAGE = `Usage: bytes put FILE... --organization NAME [options]
       bytes put FILE --job ID [options]

Stores files, and prints a line for each: the id of the raw file, and its name. FILE - is the
standard input. A job is made for each file, unless --job names one: a job has one raw file for each
set of MIME types. When one of the files cannot be read, all of these are told, and nothing is
stored. An upload that fails or is interrupted leaves no file behind.

  --organization NAME  organization of the jobs that are made, up to 32 characters without /
  --job ID             store the file for this job
  --tag TYPE           MIME type of the files, up to 64 characters; may be repeated
  --name NAME          name of the one file (default: that of FILE, or stdin)
  --json               print a JSON object a line: id, name, job, size, digest

${CONNECTION_HELP}`

interface Options {
  readonly organization: string | undefined
  readonly job: string | undefined
  readonly tags: readonly string[]
  readonly name: string | undefined
  readonly json: boolean
}

function parse(args: string[]): { files: string[]; options: Options } {
  const { values, positionals: files } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      organization: { type: 'string' },
      job: { type: 'string' },
      tag: { type: 'string', multiple: true, default: [] },
      name: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  })
  const { organization, job, tag: tags, name, json } = values
  if (files.length === 0) throw new UsageError('name the files to store')
  if ((organization === undefined) === (job === undefined)) {
    throw new UsageError('give either --organization or --job')
  }
  if (files.length > 1 && (job !== undefined || name !== undefined)) {
    throw new UsageError(`${job === undefined ? '--name' : '--job'} is for one file`)
  }
  if (files.filter((file) => file === '-').length > 1) {
    throw new UsageError('the standard input can be stored once')
  }
  const options = { organization, job, tags, name, json }
  checkOptions(options)
  return { files, options }
}

/** Failures of one file, after which the others are tried. */
const OF_ONE_FILE: readonly string[] = ['source_failed', 'too_large', 'content_differs']

/** `bytes put`: stores files. */
export const command: Command = {
  usage: USAGE,
  async run(args) {
    const { files, options } = parse(args)
    const problems = await unreadable(files.filter((file) => file !== '-'))
    for (const problem of problems) complain(problem)
    if (problems.length > 0) return 1
    return withClient(async (connection) => {
      const { client, signal, explain } = connection
      if (options.job !== undefined) {
        // Told before a long file is sent for nothing.
        await client.getJob(options.job, { signal })
      }
      let failed = 0
      for (const file of files) {
        try {
          process.stdout.write(await put(connection, file, options))
        } catch (error) {
          if (!(error instanceof BytesClientError)) throw error
          const why = named(file, error, explain(error))
          if (!OF_ONE_FILE.includes(error.code)) throw why
          complain(why.message)
          failed++
        }
      }
      return failed > 0 ? 1 : 0
    })
  },
}

/** @returns the line that tells of the raw file */
async function put(
  { client, signal, progress }: Connection,
  file: string,
  { organization = '', job, tags, name, json }: Options,
): Promise<string> {
  const shown = name ?? (file === '-' ? 'stdin' : basename(file))
  const line = progress(shown)
  try {
    const now = instantNow()
    const made = { organization, started_at: now, ended_at: now, boefje: { id: 'manual' } }
    const jobId = job ?? (await client.createJob(made, { signal })).id
    const { id, size, digest } = await client.upload({
      jobId,
      source: file === '-' ? process.stdin : file,
      name: shown,
      tags,
      onProgress: ({ sent, total }) => line.update(sent, total),
      signal,
    })
    if (json) return `${escaped(JSON.stringify({ id, name: shown, job: jobId, size, digest }))}\n`
    return `${id}  ${printable(shown)}\n`
  } finally {
    line.finish()
  }
}

/** The failure with the name of the file, unless the message has it already. */
function named(file: string, error: BytesClientError, explained: unknown): Error {
  const found = explained instanceof Error ? explained : error
  const hasName = error.code === 'source_failed' && file !== '-'
  if (hasName || found.name === 'SettingsError') return found
  return new Error(`${file === '-' ? 'stdin' : file}: ${found.message}`, { cause: found })
}
