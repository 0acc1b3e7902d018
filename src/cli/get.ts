import { basename } from 'node:path'
import { printable } from '../client/text.js'
import type { Command } from './command.js'
import { CONNECTION_HELP, withClient, withWayOut } from './connect.js'
import { readOutputArguments } from './output-arguments.js'

const USAGE = `Usage: bytes get ID [-o FILE] [--force]

Writes the content of a raw file, and checks its digest. Without -o it goes to the standard output;
when that is a terminal, to a file of the raw file's name in the current folder. A file appears only
when it is complete and right. The standard output, a pipe or a device gets the last 64 KiB only
when all of it was right.

  -o, --output FILE  write to this file; - is the standard output. A pipe or a device is written into
  --force            replace a file that is there; its mode stays, and so does a link that leads to it

${CONNECTION_HELP}`

/** `bytes get`: writes the content of a raw file. */
export const command: Command = {
  usage: USAGE,
  async run(args) {
    const { id, output, force } = readOutputArguments(args)
    return withClient(async ({ client, signal, progress }) => {
      const toTerminal = output === undefined && process.stdout.isTTY
      const named = toTerminal ? ((await client.stat(id, { signal })).fileName ?? id) : output
      // A raw file may have that name, too.
      const path = !toTerminal && named === '-' ? undefined : named
      const line = progress(path === undefined ? id : basename(path))
      await client
        .download(id, path ?? process.stdout, {
          overwrite: force,
          onProgress: ({ received, total, fileName }) =>
            line.update(received, total, path === undefined ? fileName : undefined),
          signal,
        })
        .catch((error: unknown) => {
          throw withWayOut(error)
        })
      line.finish()
      if (toTerminal) process.stdout.write(`${printable(named ?? id)}\n`)
      return 0
    })
  },
}
