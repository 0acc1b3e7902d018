import { parseArgs } from 'node:util'
import { parseUuid } from '../domain/uuid.js'
import { ANCHOR_HELP } from './anchors.js'
import { type Command, UsageError } from './command.js'
import { CONNECTION_HELP } from './connect.js'
import { verifyBundle } from './verify-bundle.js'
import { verifyFile } from './verify-file.js'

const USAGE = `Usage: bytes verify ID [--anchor PEM]
       bytes verify BUNDLE.zip [--anchor PEM]
       bytes verify --all

ID          reads a raw file of a service, computes its content digest and its secure hash anew, and
            checks its timestamp. Exits with 1 when something is wrong.
BUNDLE.zip  does the same with an evidence bundle, and needs neither a service nor a network. Exits
            with 0 only when the content is proved to have existed at a time.
--all       does the same with every raw file, on the machine of the service and with its settings:
            its database, its data directory (BYTES_DATA_DIR, here /data if not
            set) and its keys. Tells of each that is wrong; exits with
            1 when there is one. May run beside the service.

${ANCHOR_HELP}

${CONNECTION_HELP}`

/** `bytes verify`: checks a raw file, an evidence bundle or the whole store. */
export const command: Command = {
  usage: USAGE,
  async run(args) {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { anchor: { type: 'string' }, all: { type: 'boolean', default: false } },
    })
    const [what, ...surplus] = positionals
    if (values.anchor === '') throw new UsageError('--anchor is empty')
    if (values.all) {
      if (what !== undefined || values.anchor !== undefined) {
        throw new UsageError('--all takes neither a name nor --anchor')
      }
      // Loads the service, which the others do without.
      return (await import('./verify-all.js')).verifyStore()
    }
    if (what === undefined || surplus.length > 0) {
      throw new UsageError('name one raw file by its id, or one bundle, or give --all')
    }
    return parseUuid(what) === undefined
      ? verifyBundle(what, values.anchor)
      : verifyFile(what, values.anchor)
  },
}
