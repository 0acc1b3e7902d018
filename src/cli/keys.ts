import { parseArgs } from 'node:util'
import { createLogger } from '../logging.js'
import type { Database } from '../meta/client.js'
import { createKeyRing, generateKeyPair } from '../raw/middleware/sealed-box/keys.js'
import { readSettings, type Settings } from '../settings.js'
import { type Command, interruptible, UsageError } from './command.js'
import { withDatabase } from './database.js'
import { rotate, rotationTarget } from './keys-rotate.js'
import { printStatus } from './keys-status.js'

const USAGE = `Usage: bytes keys generate
       bytes keys rotate [--batch N]
       bytes keys status [--json]

generate  prints a new pair of keys as settings
rotate    seals every file key to the current public key (BYTES_PUBLIC_KEY_B64); reads and writes
          no file, may be interrupted and started again, and may run beside the service
status    tells how many blobs there are for each key

  --batch N  file keys that are replaced at once, 1 to 10000 (500)
  --json     one JSON object

rotate and status take the settings of the service: its database, or the embedded one of its
BYTES_DATA_DIR, and its keys. rotate needs the private keys that the file keys are sealed to now.
It exits with 1 when a file key is left over.
`

/** `bytes keys`: the keys that file keys are sealed to. */
export const command: Command = {
  usage: USAGE,
  async run([name, ...args]) {
    if (name === 'generate') {
      parseArgs({ args, options: {} })
      return generate()
    }
    if (name === 'rotate') {
      const { values } = parseArgs({
        args,
        options: { batch: { type: 'string', default: '500' } },
      })
      const batchSize = Number(values.batch)
      if (!/^\d{1,5}$/.test(values.batch) || batchSize < 1 || batchSize > 10_000) {
        throw new UsageError('--batch takes a whole number from 1 to 10000')
      }
      const settings = readSettings()
      const ring = createKeyRing(settings)
      const current = rotationTarget(ring)
      return withStore(settings, ({ pool }, signal) =>
        rotate(pool, ring, current, { batchSize, signal }),
      )
    }
    if (name === 'status') {
      const { values } = parseArgs({ args, options: { json: { type: 'boolean', default: false } } })
      const settings = readSettings()
      const ring = createKeyRing(settings)
      return withStore(settings, ({ pool }) => printStatus(pool, ring, values.json))
    }
    throw new UsageError(name === undefined ? 'say what to do' : `unknown command keys ${name}`)
  },
}

function generate(): number {
  const { publicKey, privateKey } = generateKeyPair()
  // Views, as copies would stay in memory.
  const [shown, secret] = [publicKey, privateKey].map(({ buffer, byteOffset, length }) =>
    Buffer.from(buffer, byteOffset, length).toString('base64'),
  )
  process.stdout.write(`BYTES_PUBLIC_KEY_B64=${shown}\nBYTES_PRIVATE_KEY_B64=${secret}\n`)
  privateKey.fill(0)
  process.stderr.write(
    'Keep the private key in a safe place as well: without it, what is encrypted is lost.\n',
  )
  return 0
}

/** Opens the database. Standard output is for the results, hence the log goes elsewhere. */
function withStore(
  settings: Settings,
  use: (database: Database, signal: AbortSignal) => Promise<number>,
): Promise<number> {
  const log = createLogger({
    format: settings.loggingFormat ?? (process.stderr.isTTY ? 'text' : 'json'),
    level: settings.loggingLevel,
    destination: process.stderr,
  })
  return interruptible((signal) =>
    withDatabase(settings, log, (database) => use(database, signal), signal),
  )
}
