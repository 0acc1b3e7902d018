/**
 * Measurements with large files to text.
 *
 * @typedef {object} Row
 * @property {string} name
 * @property {string} value
 * @property {string} [floor]
 * @property {number} [ratio] median of the rounds' ratios
 * @property {string} [target]
 * @property {boolean} [met] when there is a target and the value is known
 * @property {number} [cpu] seconds that the service was busy
 * @property {number} [floorCpu] the same of the floor
 * @property {object[]} rounds
 */
import { table } from './report.mjs'

/** @param {Row} row */
function cpuText({ cpu, floorCpu }) {
  if (cpu === undefined) return ''
  return floorCpu === undefined ? cpu.toFixed(1) : `${cpu.toFixed(1)} (${floorCpu.toFixed(1)})`
}

/** @param {Row} row */
function verdict({ met }) {
  return met === undefined ? '' : met ? 'met' : 'MISSED'
}

/** @param {readonly Row[]} rows @param {string} floorName what the service is compared to */
export function largeMarkdown(rows, floorName) {
  const head = ['case', 'value', floorName, 'ratio', 'target', '', 'CPU s']
  const cells = rows.map((row) => [
    row.name,
    row.value,
    row.floor ?? '',
    row.ratio?.toFixed(2) ?? '',
    row.target ?? '',
    verdict(row),
    cpuText(row),
  ])
  return table(head, '|---|--:|--:|--:|--:|---|--:|', cells)
}
