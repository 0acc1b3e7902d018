/** What the soak counts and times, and what it sees of the process over time. */
import { readdir } from 'node:fs/promises'
import { residentMemory } from './process-stats.mjs'

const FAILURES_KEPT = 20

/** Requests by kind. */
export class Tally {
  /** @type {Map<string, number[]>} milliseconds */
  #times = new Map()
  failed = 0
  /** @type {string[]} */
  failures = []

  /** @param {string} kind @param {number} milliseconds */
  count(kind, milliseconds) {
    const times = this.#times.get(kind)
    if (times) times.push(milliseconds)
    else this.#times.set(kind, [milliseconds])
  }

  /** @param {string} text */
  fail(text) {
    this.failed += 1
    if (this.failures.length < FAILURES_KEPT) this.failures.push(text)
  }

  /** @returns {{ kind: string, requests: number, p50: number, p99: number, most: number }[]} milliseconds */
  kinds() {
    const rows = [...this.#times].map(([kind, times]) => {
      times.sort((a, b) => a - b)
      const at = (/** @type {number} */ share) => times[Math.floor((times.length - 1) * share)] ?? 0
      return { kind, requests: times.length, p50: at(0.5), p99: at(0.99), most: at(1) }
    })
    return rows.sort((a, b) => a.kind.localeCompare(b.kind))
  }
}

/**
 * @typedef {object} Sample
 * @property {number} seconds since the beginning
 * @property {number} memory resident, MiB
 * @property {number} descriptors
 */

/** @param {number} pid @returns {Promise<number>} open descriptors; 0 where there is no /proc */
export async function descriptorsOf(pid) {
  return (await readdir(`/proc/${pid}/fd`).catch(() => [])).length
}

/**
 * Looks at a process again and again.
 * @param {number} pid
 * @param {number} everyMs
 */
export function watchProcess(pid, everyMs) {
  const started = performance.now()
  /** @type {Sample[]} */
  const samples = []
  const look = async () => {
    const [memory, descriptors] = await Promise.all([residentMemory(pid), descriptorsOf(pid)])
    if (memory === undefined) return
    samples.push({ seconds: (performance.now() - started) / 1000, memory, descriptors })
  }
  const timer = setInterval(look, everyMs)
  return {
    samples,
    stop: () => clearInterval(timer),
  }
}

/**
 * What is left of the samples when the first third is taken as the warm-up.
 * @param {readonly Sample[]} samples
 */
export function steadyPart(samples) {
  return samples.slice(Math.floor(samples.length / 3))
}

/**
 * How much a quantity rises over all samples, by the line that fits them best (least squares).
 * @param {readonly Sample[]} samples
 * @param {'memory' | 'descriptors'} of
 * @returns {number} in the unit of the quantity; 0 for fewer than three samples
 */
export function riseOf(samples, of) {
  if (samples.length < 3) return 0
  const mean = (/** @type {number[]} */ values) =>
    values.reduce((sum, value) => sum + value, 0) / values.length
  const [x, y] = [mean(samples.map((s) => s.seconds)), mean(samples.map((s) => s[of]))]
  let [above, below] = [0, 0]
  for (const sample of samples) {
    above += (sample.seconds - x) * (sample[of] - y)
    below += (sample.seconds - x) ** 2
  }
  const span = (samples.at(-1)?.seconds ?? 0) - (samples[0]?.seconds ?? 0)
  return below === 0 ? 0 : (above / below) * span
}
