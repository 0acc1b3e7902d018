import { basename } from 'node:path'
import { parseArgs } from 'node:util'
import { type BytesClient, BytesClientError } from '../client/client.js'
import { printable } from '../client/text.js'
import { instantNow } from '../domain/instant.js'
import { type Command, interruptible, UsageError } from './command.js'
import { CONNECTION_HELP, connect } from './connect.js'
import { createProgress } from './progress.js'

const USAGE = `Usage: bytes put FILE... --organization NAME [options]
       bytes put FILE --job ID [options]

Stores files, and prints a line for each: the id of the raw file, and its name. FILE - is the
standard input. A job is made for each file, unless --job names one: a job has one raw file for each
set of MIME types.

  --organization NAME  organization of the jobs that are made
  --job ID             store the file for this job
  --tag TYPE           MIME type of the files; may be repeated
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
  return { files, options: { organization, job, tags, name, json } }
}

/** `bytes put`: stores files. */
export const command: Command = {
  usage: USAGE,
  async run(args) {
    const { files, options } = parse(args)
    const client = await connect()
    return interruptible(async (signal) => {
      for (const file of files) process.stdout.write(await put(client, file, options, signal))
      return 0
    })
  },
}

/** @returns the line that tells of the raw file */
async function put(
  client: BytesClient,
  file: string,
  { organization = '', job, tags, name, json }: Options,
  signal: AbortSignal,
): Promise<string> {
  const shown = name ?? (file === '-' ? 'stdin' : basename(file))
  const progress = createProgress(printable(shown))
  try {
    const jobId = job ?? (await makeJob(client, organization, signal))
    const { id, size, digest } = await client.upload({
      jobId,
      source: file === '-' ? process.stdin : file,
      name: shown,
      tags,
      onProgress: ({ sent, total }) => progress.update(sent, total),
      signal,
    })
    if (json) return `${JSON.stringify({ id, name: shown, job: jobId, size, digest })}\n`
    return `${id}  ${printable(shown)}\n`
  } catch (error) {
    if (!(error instanceof BytesClientError)) throw error
    throw new Error(`${printable(file)}: ${error.message}`, { cause: error })
  } finally {
    progress.finish()
  }
}

async function makeJob(
  client: BytesClient,
  organization: string,
  signal: AbortSignal,
): Promise<string> {
  const now = instantNow()
  const job = { organization, started_at: now, ended_at: now, boefje: { id: 'manual' } }
  return (await client.createJob(job, { signal })).id
}
