import { migrateOnly } from '../compose.js'
import { createLogger } from '../logging.js'
import { readSettings } from '../settings.js'

/** Applies the missing migrations. @returns the exit code */
export async function migrate(): Promise<number> {
  const settings = readSettings()
  const log = createLogger({
    format: settings.loggingFormat ?? (process.stdout.isTTY ? 'text' : 'json'),
    level: settings.loggingLevel,
  })
  await migrateOnly(settings, log)
  log.info({}, 'the database is up to date')
  return 0
}
