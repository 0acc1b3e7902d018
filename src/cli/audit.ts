import { parseArgs } from 'node:util'
import { audit } from '../flows/audit.js'
import { createLogger } from '../logging.js'
import { createAuditRows } from '../meta/audit.js'
import { createAuditFiles } from '../raw/audit-files.js'
import { readSettings } from '../settings.js'
import { auditArguments } from './audit-arguments.js'
import { createAuditOutput } from './audit-output.js'
import { type Command, interruptible } from './command.js'
import { withDatabase } from './database.js'
import { createProgress } from './progress.js'

const USAGE = `Usage: bytes audit [--sample P%] [--max-duration TIME] [--sweep] [--grace TIME]
                   [--stuck-after TIME] [--json]

Compares the database, the data directory and the outbox: blobs without a file, files without a blob,
wrong sizes, wrong digests, temporary files and uploads that were left behind, events that wait for
too long, and rows that nothing names. It needs no key. Takes the settings of the service, and may run
beside it. Exits with 0 when nothing is wrong, and with 1 when something is, or when it could not get to
its end: then there is no summary.

  --sample P%           read the content of so many blobs only, chosen at random; 0% reads none (100%)
  --max-duration TIME   read contents for so long at most, beginning with those that were not verified
                        for the longest time; the next audit goes on with the rest
  --sweep               remove what nothing refers to and is older than the grace time, and tell of it;
                        what it removes does not count as wrong. Nothing is removed when the database
                        has no blobs, or half of them or more have no file: it may be that of another
                        store, and is a finding
  --grace TIME          what is younger may be of an upload under way: it is no finding and stays (24h).
                        Less than 1h is for a time when no service runs
  --stuck-after TIME    events that have waited longer are findings (1h). Without it, and without
                        QUEUE_URI, none are: they wait because there is no broker
  --json                one JSON object: the findings, and a summary

TIME is a whole number and s, m, h or d, such as 10m.
`

/** Time between two lines where there is no terminal, in milliseconds. */
const PLAIN_MS = 10_000

/** `bytes audit`: checks that the database and the disk tell the same. */
export const command: Command = {
  usage: USAGE,
  async run(args) {
    const { values } = parseArgs({
      args,
      options: {
        sample: { type: 'string' },
        'max-duration': { type: 'string' },
        sweep: { type: 'boolean', default: false },
        grace: { type: 'string' },
        'stuck-after': { type: 'string' },
        json: { type: 'boolean', default: false },
      },
    })
    const options = auditArguments(values)
    const settings = readSettings()
    // Standard output is for the results.
    const log = createLogger({
      format: settings.loggingFormat ?? (process.stderr.isTTY ? 'text' : 'json'),
      level: settings.loggingLevel,
      destination: process.stderr,
    })
    const noBroker = settings.queueUri === undefined && values['stuck-after'] === undefined
    return interruptible((signal) =>
      withDatabase(
        settings,
        log,
        async ({ pool }) => {
          const progress = createProgress('audit', { plainMs: PLAIN_MS })
          const output = createAuditOutput(values.json, (text) => {
            progress.finish()
            process.stdout.write(text)
          })
          const result = await audit(
            { files: createAuditFiles(settings.dataDir), rows: createAuditRows(pool) },
            {
              ...options,
              ...(noBroker && { stuckSeconds: Number.MAX_SAFE_INTEGER / 1e6 }),
              uploadLifetimeSeconds: settings.uploadExpiryHours * 3600,
              signal,
              onFinding: output.finding,
              onProgress: progress.update,
            },
          ).finally(progress.finish)
          output.end(result)
          return result.findings > result.removed ? 1 : 0
        },
        signal,
      ),
    )
  },
}
