import { basename } from 'node:path'
import { parseArgs } from 'node:util'
import { printable } from '../client/text.js'
import { type Command, UsageError } from './command.js'
import { CONNECTION_HELP, withClient, withWayOut } from './connect.js'

const USAGE = `Usage: bytes evidence ID [-o FILE] [--force]

Writes the evidence bundle of a raw file: a zip archive of its content and all that proves when it
existed. VERIFY.md in it has the commands that check it, and so does bytes verify.

  -o, --output FILE  write to this file (default: evidence-ID.zip); - is the standard output
  --force            replace a file that is there

${CONNECTION_HELP}`

/** `bytes evidence`: writes an evidence bundle. */
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
    if (values.output === '') throw new UsageError('--output is empty')
    return withClient(async ({ client, signal, progress }) => {
      // An id that is none is refused by the service; until then it is only a name.
      const path = values.output ?? `evidence-${id.replaceAll(/[^0-9a-zA-Z-]/g, '')}.zip`
      const line = progress(path === '-' ? id : basename(path))
      await client
        .evidence(id, path === '-' ? process.stdout : path, {
          overwrite: values.force,
          onProgress: ({ received, total }) => line.update(received, total),
          signal,
        })
        .catch((error: unknown) => {
          throw withWayOut(error)
        })
      line.finish()
      if (values.output === undefined) process.stdout.write(`${printable(path)}\n`)
      return 0
    })
  },
}
