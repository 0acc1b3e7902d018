/**
 * What the fault and abuse tests tried, for the table at the end of a run. The tests run in processes
 * of their own, so that they leave it in a file.
 */
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Everything, as `make faults` asks for; else a bounded form, so that `make test` stays short. */
export const isFull = process.env.BYTES_FAULTS === 'full'

const REPORT = 'BYTES_FAULT_REPORT'

export interface Tried {
  /** Kill points, fault points, requests: what the name says. */
  readonly tried: number
  readonly violations: number
}

interface Line extends Tried {
  readonly area: string
  readonly what: string
}

/** Notes what has been tried; call it when it is known, also when there were violations. */
export function reportTried(area: string, what: string, { tried, violations }: Tried): void {
  const path = process.env[REPORT]
  if (path === undefined) return
  const line: Line = { area, what, tried, violations }
  appendFileSync(path, `${JSON.stringify(line)}\n`)
}

/** A report of its own, such as of times: it comes after the table, as it is. */
export function reportText(text: string): void {
  const path = process.env[REPORT]
  if (path !== undefined) appendFileSync(path, `${JSON.stringify(text)}\n`)
}

/** Has the test processes leave what they tried; the result prints it and removes the file. */
export function collectReports(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'bytes-faults-'))
  const path = join(folder, 'report')
  appendFileSync(path, '')
  process.env[REPORT] = path
  return () => {
    const reports = readFileSync(path, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line): Line | string => JSON.parse(line))
    rmSync(folder, { recursive: true })
    delete process.env[REPORT]
    const lines = reports.filter((report) => typeof report !== 'string')
    if (lines.length > 0) process.stdout.write(tableOf(lines))
    for (const text of reports.filter((report) => typeof report === 'string')) {
      process.stdout.write(`\n${text}`)
    }
  }
}

/** Cases of one name, such as those of a table of tests, are one row. */
function merged(lines: readonly Line[]): Line[] {
  const rows = new Map<string, Line>()
  for (const line of lines) {
    const key = JSON.stringify([line.area, line.what])
    const { tried = 0, violations = 0 } = rows.get(key) ?? {}
    rows.set(key, {
      ...line,
      tried: tried + line.tried,
      violations: violations + line.violations,
    })
  }
  return [...rows.values()]
}

function tableOf(lines: readonly Line[]): string {
  const sum = (key: keyof Tried): number => lines.reduce((total, line) => total + line[key], 0)
  const rows = merged(lines)
    .sort((a, b) => a.area.localeCompare(b.area) || a.what.localeCompare(b.what))
    .concat({ area: 'all', what: '', tried: sum('tried'), violations: sum('violations') })
    .map(({ area, what, tried, violations }) => [area, what, `${tried}`, `${violations}`])
  const table = [['area', 'what', 'tried', 'violations'], ...rows]
  const widths = [0, 1, 2, 3].map((i) => Math.max(...table.map((row) => row[i]?.length ?? 0)))
  return table
    .map((row) =>
      row
        .map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join('  '),
    )
    .map((row) => `${row.trimEnd()}\n`)
    .join('')
}
