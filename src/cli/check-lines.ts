/** How the outcome of a verification is told: a line for each check, and one for the verdict. */
import { printable } from '../client/text.js'
import type { Check } from '../domain/hash-repository.js'
import type { Verdict } from '../flows/verify.js'

const NAME_WIDTH = 'timestamp certificate  '.length
const OUTCOME_WIDTH = 'WRONG  '.length

/** What is left out is told by the verdict. */
export function outcomeOf(passed: boolean | null): string {
  if (passed === null) return '-'
  return passed ? 'ok' : 'WRONG'
}

/** One check on one line, whatever is in it. */
export function checkLine({ name, passed, detail }: Check): string {
  const label = name.replaceAll('_', ' ').padEnd(NAME_WIDTH)
  return `${label}${outcomeOf(passed).padEnd(OUTCOME_WIDTH)}${printable(detail)}`
}

/** Writes all checks and the verdict to the standard output. */
export function printVerification(verdict: Verdict, checks: readonly Check[]): void {
  const lines = [...checks.map(checkLine), `${verdict}: ${meaningOf(verdict, checks)}`]
  process.stdout.write(`${lines.join('\n')}\n`)
}

function meaningOf(verdict: Verdict, checks: readonly Check[]): string {
  if (verdict === 'failed') return 'something is wrong'
  if (verdict === 'pending') return 'the timestamp is still to come'
  if (verdict === 'unverifiable') {
    return 'nothing is known to be wrong, and no third party that can be asked here proves a time'
  }
  const { time, signer } = checks.find((check) => check.time !== undefined) ?? {}
  return time === undefined
    ? 'a third party stands behind the secure hash'
    : printable(`it existed at ${time}, says ${signer ?? 'the authority'}`)
}
