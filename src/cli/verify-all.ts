/** `bytes verify --all`: checks the whole store. */

import { printable } from '../client/text.js'
import { readAnchors } from '../compose-anchors.js'
import { composeTimestamps } from '../compose-timestamps.js'
import type { Verification } from '../flows/verify.js'
import { type VerdictCounts, verifyAll } from '../flows/verify-all.js'
import { createLogger } from '../logging.js'
import { createMetaRepository } from '../meta/repository.js'
import { createDiskReader } from '../raw/disk-reader.js'
import { createMiddlewares } from '../raw/middleware/all.js'
import { createKeyRing } from '../raw/middleware/sealed-box/keys.js'
import { readSettings } from '../settings.js'
import { interruptible } from './command.js'
import { withDatabase } from './database.js'
import { createProgress } from './progress.js'

/** Time between two lines where there is no terminal, in milliseconds. */
const PLAIN_MS = 3000

/**
 * Verifies every raw file of the database and the data directory of the settings. Writes to neither, but
 * for migrations that are missing (BYTES_MIGRATE_ON_START).
 * @returns the exit code: 1 when something is wrong
 */
export async function verifyStore(): Promise<number> {
  const settings = readSettings()
  const middlewares = createMiddlewares(createKeyRing(settings))
  const anchors = await readAnchors(settings)
  // Standard output is for the results.
  const log = createLogger({
    format: settings.loggingFormat ?? (process.stderr.isTTY ? 'text' : 'json'),
    level: settings.loggingLevel,
    destination: process.stderr,
  })
  return interruptible((signal) =>
    withDatabase(
      settings,
      log,
      async (database) => {
        const { verifiers, pending } = composeTimestamps(settings, anchors, database.pool)
        const unit = (files: number): string => `${Math.round(files)} files`
        const progress = createProgress('verify', { unit, plainMs: PLAIN_MS })
        const ports = {
          meta: createMetaRepository(database),
          raw: createDiskReader(settings.dataDir, middlewares),
          countBlobError: () => undefined,
          verifiers,
          pending,
        }
        const onProblem = (problem: Verification): void => {
          progress.finish()
          process.stdout.write(problemLine(problem))
        }
        const options = { signal, onProblem, onProgress: progress.update }
        const counts = await verifyAll(ports, options).finally(progress.finish)
        process.stdout.write(summary(counts))
        return counts.failed === 0 ? 0 : 1
      },
      signal,
    ),
  )
}

function problemLine({ rawFileId, verdict, checks }: Verification): string {
  const wrong =
    checks.find(({ passed }) => passed === false) ?? checks.find(({ passed }) => passed === null)
  const why = wrong && `${wrong.name.replaceAll('_', ' ')}: ${wrong.detail}`
  return `${verdict.padEnd('unverifiable'.length)}  ${rawFileId}  ${printable(why ?? '')}\n`
}

function summary({ verified, pending, unverifiable, failed }: VerdictCounts): string {
  const all = verified + pending + unverifiable + failed
  const told = `${verified} verified, ${pending} pending, ${unverifiable} unverifiable, ${failed} failed`
  return `${all} raw files: ${told}\n`
}
