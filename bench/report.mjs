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

/** @param {readonly number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const [low = 0, high = 0] = [sorted[middle - 1], sorted[middle]]
  return sorted.length % 2 === 1 ? high : (low + high) / 2
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
