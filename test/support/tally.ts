/** Counts what a fault or abuse test tries, and reports it whatever comes of the test. */
import { onTestFinished } from 'vitest'
import { reportTried } from './fault-report.js'

export interface Tally {
  /** Counted up by the test, as it goes. */
  tried: number
  /** A line for each. */
  readonly violations: string[]
}

/**
 * Begins to count; call it first in a test. The row is reported when the test is over: a test that
 * failed, for whatever reason, has one violation at least. A test that was skipped reports nothing.
 */
export function tallyOf(area: string, what: string): Tally {
  const tally: Tally = { tried: 0, violations: [] }
  onTestFinished(({ task }) => {
    const state = task.result?.state
    if (state === 'skip' || task.mode === 'skip') return
    const failed = state === 'fail' ? 1 : 0
    const violations = Math.max(tally.violations.length, failed)
    reportTried(area, what, { tried: Math.max(tally.tried, failed), violations })
  })
  return tally
}
