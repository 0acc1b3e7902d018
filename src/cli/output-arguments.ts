import { parseArgs } from 'node:util'
import { UsageError } from './command.js'

/** What a command that writes something of one raw file is told. */
export interface OutputArguments {
  /** The raw file's id, as it was given. */
  readonly id: string
  /** A path, or `-` for the standard output. */
  readonly output: string | undefined
  /** Whether a file that is there is replaced. */
  readonly force: boolean
}

/** @throws UsageError */
export function readOutputArguments(args: string[]): OutputArguments {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      output: { type: 'string', short: 'o' },
      force: { type: 'boolean', default: false },
    },
  })
  const [id, ...surplus] = positionals
  if (id === undefined || surplus.length > 0) throw new UsageError('name one raw file by its id')
  if (values.output === '') throw new UsageError('--output is empty')
  return { id, output: values.output, force: values.force }
}
