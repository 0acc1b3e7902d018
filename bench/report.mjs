/**
 * Measurements to text.
 *
 * @typedef {object} Case
 * @property {string} name
 * @property {number} requestsPerSecond median of the rounds, as the next five
 * @property {number} p50
 * @property {number} p99
 * @property {number} cpu milliseconds for one request; 0 when unknown
 * @property {number | undefined} floorCpu the same of the floor
 * @property {number | undefined} floor requests/s of the floor
 * @property {number | undefined} ratio median of the rounds' ratios
 * @property {number | undefined} target least ratio
 * @property {number | undefined} goal the ratio to strive for
 * @property {number | undefined} peakMemory MiB
 * @property {object[]} rounds
 */

/** @typedef {import('./load.mjs').LoadResult} LoadResult */
/** @typedef {LoadResult & { floor?: LoadResult, peakMemory?: number, backlog: number, drain: number }} Round */

/** @param {readonly number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const [low = 0, high = 0] = [sorted[middle - 1], sorted[middle]]
  return sorted.length % 2 === 1 ? high : (low + high) / 2
}

/** Requests per second. @param {LoadResult} result */
export function rateOf({ requests, seconds }) {
  return seconds > 0 ? requests / seconds : 0
}

/** A result without its lists. @template {LoadResult} T @param {T} result */
function figures({ ids: _, jobs: __, failures: ___, ...numbers }) {
  return numbers
}

/**
 * @param {{ name: string, target?: number, goal?: number }} planned
 * @param {Round[]} rounds
 */
export function summary({ name, target, goal }, rounds) {
  const floors = rounds.flatMap((round) => round.floor ?? [])
  const ratios = rounds.flatMap((round) => (round.floor ? rateOf(round) / rateOf(round.floor) : []))
  const peaks = rounds.flatMap((round) => round.peakMemory ?? [])
  return {
    name,
    requestsPerSecond: median(rounds.map(rateOf)),
    p50: median(rounds.map((round) => round.p50)),
    p99: median(rounds.map((round) => round.p99)),
    cpu: median(rounds.map((round) => round.cpu)),
    floorCpu: floors.length > 0 ? median(floors.map((floor) => floor.cpu)) : undefined,
    floor: floors.length > 0 ? median(floors.map(rateOf)) : undefined,
    ratio: ratios.length > 0 ? median(ratios) : undefined,
    target,
    goal,
    peakMemory: peaks.length > 0 ? Math.max(...peaks) : undefined,
    rounds: rounds.map(({ floor, ...round }) => ({
      ...figures(round),
      ...(floor && { floor: figures(floor) }),
    })),
  }
}

/** @param {number} value */
const rate = (value) => (value < 100 ? value.toFixed(1) : String(Math.round(value)))

/** @param {Case} measured */
function cpu(measured) {
  const own = measured.cpu.toFixed(2)
  return measured.floorCpu === undefined ? own : `${own} (${measured.floorCpu.toFixed(2)})`
}

/** @param {Case} measured */
function verdict({ ratio, target, goal }) {
  if (ratio === undefined || target === undefined || goal === undefined) return ''
  const outcome = ratio >= goal ? 'goal met' : ratio >= target ? 'met' : 'MISSED'
  return `>= ${target.toFixed(2)} (goal ${goal.toFixed(2)}): ${outcome}`
}

/** @param {readonly Case[]} cases */
export function markdown(cases) {
  const head = [
    'case',
    'requests/s',
    'p50 ms',
    'p99 ms',
    'CPU ms',
    'floor/s',
    'ratio',
    'target',
    'peak MiB',
  ]
  const rows = cases.map((c) => [
    c.name,
    rate(c.requestsPerSecond),
    c.p50.toFixed(2),
    c.p99.toFixed(2),
    cpu(c),
    c.floor === undefined ? '' : rate(c.floor),
    c.ratio === undefined ? '' : c.ratio.toFixed(2),
    verdict(c),
    c.peakMemory === undefined ? '' : String(Math.round(c.peakMemory)),
  ])
  return table(head, '|---|--:|--:|--:|--:|--:|--:|---|--:|', rows)
}

/**
 * A table in Markdown.
 * @param {readonly string[]} head
 * @param {string} alignment the line under the head
 * @param {readonly (readonly string[])[]} rows
 */
export function table(head, alignment, rows) {
  const line = (/** @type {readonly string[]} */ cells) => `| ${cells.join(' | ')} |`
  return [line(head), alignment, ...rows.map(line)].join('\n')
}
