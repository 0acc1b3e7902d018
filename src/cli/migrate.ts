import { parseArgs } from 'node:util'
import { createLogger } from '../logging.js'
import { readSettings } from '../settings.js'
import type { Command } from './command.js'
import { withDatabase } from './database.js'

/** `bytes migrate`. */
export const command: Command = {
  usage: `Usage: bytes migrate

Applies the missing migrations to the database and exits. It makes none: a service that is started does.
`,
  async run(args) {
    parseArgs({ args, options: {} })
    return migrate()
  },
}

/** Applies the missing migrations. @returns the exit code */
async function migrate(): Promise<number> {
  const settings = readSettings()
  const log = createLogger({
    format: settings.loggingFormat ?? (process.stdout.isTTY ? 'text' : 'json'),
    level: settings.loggingLevel,
  })
  await withDatabase({ ...settings, migrateOnStart: true }, log, async () => undefined)
  log.info({}, 'the database is up to date')
  return 0
}
