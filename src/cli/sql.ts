import { parseArgs } from 'node:util'
import { migrationSql } from '../meta/migrator.js'
import type { Command } from './command.js'

const USAGE = `Usage: bytes sql [--from REV] [--to REV]

Prints the SQL of the migrations after REV, up to REV; of all of them without options.
`

/** `bytes sql`: prints the SQL of the migrations. */
export const command: Command = {
  usage: USAGE,
  async run(args) {
    const { values } = parseArgs({
      args,
      options: { from: { type: 'string' }, to: { type: 'string' } },
    })
    process.stdout.write(await migrationSql(values.from, values.to))
    return 0
  },
}
