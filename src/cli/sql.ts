import { parseArgs } from 'node:util'
import { migrationSql } from '../meta/migrator.js'
import { type Command, UsageError } from './command.js'

const USAGE = `Usage: bytes sql [--from REV] [--to REV]

Prints the SQL of the migrations after REV, up to REV; of all of them without options.
REV is the number or the name of a migration, such as 4 or 0004_audit.
`

/** `bytes sql`: prints the SQL of the migrations. */
export const command: Command = {
  usage: USAGE,
  async run(args) {
    const { values } = parseArgs({
      args,
      options: { from: { type: 'string' }, to: { type: 'string' } },
    })
    const sql = await migrationSql(values.from, values.to).catch((error: unknown) => {
      throw error instanceof RangeError ? new UsageError(error.message) : error
    })
    process.stdout.write(sql)
    return 0
  },
}
