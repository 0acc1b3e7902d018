import { parseArgs } from 'node:util'
import { type Command, interruptible, UsageError } from './command.js'
import { CONNECTION_HELP, connect } from './connect.js'
import { createProgress } from './progress.js'

const USAGE = `Usage: bytes verify ID

Reads a raw file, computes its content digest and its secure hash anew, and compares them with what
is recorded. Exits with 1 when one of them differs.

${CONNECTION_HELP}`

/** `bytes verify`: computes the digests of a raw file anew. */
export const command: Command = {
  usage: USAGE,
  async run(args) {
    const { positionals } = parseArgs({ args, allowPositionals: true, options: {} })
    const [id, ...surplus] = positionals
    if (id === undefined || surplus.length > 0) throw new UsageError('name one raw file by its id')
    const client = await connect()
    return interruptible(async (signal) => {
      const progress = createProgress(id)
      const onProgress = (p: { received: number; total: number }): void =>
        progress.update(p.received, p.total)
      const result = await client.verify(id, { onProgress, signal }).finally(progress.finish)
      for (const [name, check] of [
        ['content digest', result.contentDigest],
        ['secure hash', result.secureHash],
      ] as const) {
        const recorded = check.passed ? '' : `, recorded ${check.expected}`
        const verdict = check.passed ? 'ok' : 'WRONG'
        process.stdout.write(`${name.padEnd(16)}${verdict.padEnd(7)}${check.found}${recorded}\n`)
      }
      if (!result.passed) process.stderr.write(`bytes: raw file ${id} is not what was stored\n`)
      return result.passed ? 0 : 1
    })
  },
}
