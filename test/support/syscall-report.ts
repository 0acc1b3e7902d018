/** Tries points one after the other, and tells of each kind of system call what came of it. */
import { reportTried } from './fault-report.js'
import type { Bench } from './syscall-bench.js'
import { KILL, type Point } from './syscall-points.js'

/** Another thread may make a call that counts elsewhere: then the injection misses. */
const ATTEMPTS = 4

interface Tally {
  readonly faults: Set<string>
  readonly occurrences: Set<string>
  tried: number
  violations: number
}

/** What was tried, and what was found. */
export interface Findings {
  readonly hits: number
  /** Points whose call did not come, or came from something else than the upload. */
  readonly missed: readonly string[]
  /** A line for each. */
  readonly violations: readonly string[]
}

/** Tries all points, and reports them for the table at the end of the run. */
export async function tryPoints(
  area: string,
  points: readonly Point[],
  benchOf: (point: Point) => Bench,
): Promise<Findings> {
  const tallies = new Map<string, Tally>()
  const violations: string[] = []
  let hits = 0
  const missed: string[] = []
  try {
    for (const point of points) {
      const { call, fault, form } = point
      let { when } = point
      const what = fault === KILL ? `${call}: killed at it` : `${call}: fails`
      const tally = tallies.get(what) ?? {
        faults: new Set(),
        occurrences: new Set(),
        tried: 0,
        violations: 0,
      }
      tallies.set(what, tally)
      let hit = false
      for (let attempt = 0; attempt < ATTEMPTS && !hit; attempt++) {
        const result = await benchOf(point)
          .run({ ...point, when })
          .catch((error: unknown) => {
            tally.violations++
            throw error
          })
        hit = result.hit
        tally.violations += result.violations.length
        for (const text of result.violations) {
          violations.push(`${form.name}, ${call} ${when}, ${fault}: ${text}`)
        }
        // What else the thread does, such as to connect again, moves the numbers.
        if (!hit) when = result.nearest ?? point.when
      }
      if (!hit) {
        missed.push(`${form.name}, ${call} ${when}, ${fault}`)
        continue
      }
      hits++
      tally.tried++
      tally.faults.add(fault)
      tally.occurrences.add(`${form.name} ${when}`)
    }
  } finally {
    // Also when the run ends early.
    for (const violation of violations) console.error(violation)
    for (const [what, { faults, occurrences, tried, violations }] of tallies) {
      const errors = [...faults].filter((fault) => fault !== KILL).sort()
      const which = errors.length > 0 ? ` (${errors.join(', ')})` : ''
      reportTried(area, `${what}${which}, ${occurrences.size} occurrences`, { tried, violations })
    }
  }
  return { hits, missed, violations }
}
