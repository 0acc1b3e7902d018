import { basename } from 'node:path'
import { BytesClientError } from '../client/client.js'
import { printable } from '../client/text.js'
import type { Command } from './command.js'
import { CONNECTION_HELP, withClient, withWayOut } from './connect.js'
import { readOutputArguments } from './output-arguments.js'

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
    const { id, output, force } = readOutputArguments(args)
    return withClient(async ({ client, signal, progress }) => {
      // An id that is none is refused by the service; until then it is only a name.
      const path = output ?? `evidence-${id.replaceAll(/[^0-9a-zA-Z-]/g, '')}.zip`
      const line = progress(path === '-' ? id : basename(path))
      await client
        .evidence(id, path === '-' ? process.stdout : path, {
          overwrite: force,
          onProgress: ({ received, total }) => line.update(received, total),
          signal,
        })
        .catch((error: unknown) => {
          throw withCheck(withWayOut(error), id)
        })
      line.finish()
      if (output === undefined) process.stdout.write(`${printable(path)}\n`)
      return 0
    })
  },
}

/** The error of a bundle; of one that broke off for no reason that is known it says how to find it. */
function withCheck(error: unknown, id: string): unknown {
  const broke = error instanceof BytesClientError && error.code === 'incomplete'
  if (!broke || error.serverText !== undefined) return error
  const way = `bytes verify ${id} tells whether its content is damaged`
  return new Error(`${error.message}; ${way}`, { cause: error })
}
