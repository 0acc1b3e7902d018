import { parseArgs } from 'node:util'
import { printable } from '../client/text.js'
import { type Command, interruptible, UsageError } from './command.js'
import { CONNECTION_HELP, connect } from './connect.js'
import { createProgress } from './progress.js'

const USAGE = `Usage: bytes get ID [-o FILE] [--force]

Writes the content of a raw file, and checks its digest. Without -o it goes to the standard output;
when that is a terminal, to a file of the raw file's name in the current folder. A file appears only
when it is complete and right.

  -o, --output FILE  write to this file; - is the standard output
  --force            write over a file that is there

${CONNECTION_HELP}`

/** `bytes get`: writes the content of a raw file. */
export const command: Command = {
  usage: USAGE,
  async run(args) {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        output: { type: 'string', short: 'o' },
        force: { type: 'boolean', default: false },
      },
    })
    const [id, ...surplus] = positionals
    if (id === undefined || surplus.length > 0) throw new UsageError('name one raw file by its id')
    const client = await connect()
    return interruptible(async (signal) => {
      const toTerminal = values.output === undefined && process.stdout.isTTY
      const named = toTerminal
        ? ((await client.stat(id, { signal })).fileName ?? id)
        : values.output
      const output = named === undefined || named === '-' ? process.stdout : named
      const progress = createProgress(printable(named ?? id))
      try {
        await client.download(id, output, {
          overwrite: values.force,
          onProgress: ({ received, total }) => progress.update(received, total),
          signal,
        })
      } finally {
        progress.finish()
      }
      if (toTerminal) process.stdout.write(`${named}\n`)
      return 0
    })
  },
}
