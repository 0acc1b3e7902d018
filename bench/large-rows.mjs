/** Rounds of measurements with large files, and the rows of the report that they make. */
import { progress } from './lifecycle.mjs'
import { median } from './report.mjs'

/** @typedef {import('./large-target.mjs').Measured} Measured */
/** @typedef {import('./large-target.mjs').MeasuredService} MeasuredService */
/** @typedef {import('./large-report.mjs').Row} Row */

/**
 * @typedef {object} Round
 * @property {Measured} floor
 * @property {MeasuredService} service
 */

const MIB = 1024 * 1024

/** @param {number} bytes */
export function sizeText(bytes) {
  return bytes % (1024 * MIB) === 0
    ? `${bytes / MIB / 1024} GiB`
    : `${+(bytes / MIB).toFixed(1)} MiB`
}

/**
 * Measures both in turn, each the first in every other round: what comes second may profit or suffer.
 * @param {number} rounds
 * @param {() => Promise<Measured>} onFloor whatever the service is compared to
 * @param {() => Promise<MeasuredService>} onService
 * @param {string} [floorName]
 * @returns {Promise<Round[]>}
 */
export async function alternate(rounds, onFloor, onService, floorName = 'floor') {
  const measured = []
  for (let round = 0; round < rounds; round++) {
    const before = round % 2 === 0 ? await onFloor() : undefined
    const service = await onService()
    const floor = before ?? (await onFloor())
    progress(
      `  round ${round + 1}: ${service.seconds.toFixed(2)} s, ` +
        `${floorName} ${floor.seconds.toFixed(2)} s`,
    )
    measured.push({ floor, service })
  }
  return measured
}

/**
 * @param {string} name
 * @param {number} size
 * @param {Round[]} rounds
 * @param {number | undefined} least ratio
 * @returns {Row}
 */
export function speedRow(name, size, rounds, least) {
  const speed = (/** @type {Measured} */ { seconds }) => size / MIB / seconds
  const ratio = median(rounds.map(({ service, floor }) => speed(service) / speed(floor)))
  const services = rounds.map(({ service }) => service)
  return {
    name: `${name}: speed`,
    value: `${median(services.map(speed)).toFixed(0)} MiB/s`,
    floor: `${median(rounds.map(({ floor }) => speed(floor))).toFixed(0)} MiB/s`,
    ratio,
    ...(least !== undefined && { target: `>= ${least.toFixed(2)}`, met: ratio >= least }),
    cpu: median(services.map(({ cpu }) => cpu)),
    floorCpu: median(rounds.map(({ floor }) => floor.cpu)),
    rounds: rounds.map(({ service, floor }) => ({
      seconds: service.seconds,
      cpu: service.cpu,
      floorSeconds: floor.seconds,
      floorCpu: floor.cpu,
    })),
  }
}

/**
 * @param {string} name
 * @param {number} bytes that were transferred each time
 * @param {MeasuredService[]} measured
 * @param {number} most MiB
 * @returns {Row}
 */
export function memoryRow(name, bytes, measured, most) {
  const speed = median(measured.map(({ seconds }) => bytes / MIB / seconds)).toFixed(0)
  const known = measured.flatMap(({ memory }) => memory ?? [])
  const memory = Math.max(...known)
  return {
    name: `${name}: memory`,
    value: known.length === 0 ? 'unknown' : `${memory.toFixed(0)} MiB, at ${speed} MiB/s`,
    target: `<= ${most} MiB`,
    ...(known.length > 0 && { met: memory <= most }),
    cpu: median(measured.map(({ cpu }) => cpu)),
    rounds: measured.map((one) => ({ memory: one.memory, seconds: one.seconds })),
  }
}
