import { parseArgs } from 'node:util'
import { type Command, complain, UsageError } from './command.js'
import { CONNECTION_HELP, withClient } from './connect.js'

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
    return withClient(async ({ client, signal, progress }) => {
      const line = progress(id)
      const result = await client.verify(id, {
        onProgress: ({ received, total, fileName }) => line.update(received, total, fileName),
        signal,
      })
      line.finish()
      for (const [name, check] of [
        ['content digest', result.contentDigest],
        ['secure hash', result.secureHash],
      ] as const) {
        const recorded = check.passed ? '' : `, recorded ${check.expected}`
        const verdict = check.passed ? 'ok' : 'WRONG'
        process.stdout.write(`${name.padEnd(16)}${verdict.padEnd(7)}${check.found}${recorded}\n`)
      }
      if (!result.passed) complain(`raw file ${id} is not what was stored`)
      return result.passed ? 0 : 1
    })
  },
}
