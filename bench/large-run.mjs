/** Runs measurements with large files, one after the other, and prints what they tell. */
import { statfs } from 'node:fs/promises'
import { cpus } from 'node:os'
import { largeMarkdown } from './large-report.mjs'
import { sizeText } from './large-rows.mjs'
import { startLarge } from './large-target.mjs'
import { progress, usageError } from './lifecycle.mjs'

/** @typedef {import('./large-cases.mjs').LargeCase} LargeCase */
/** @typedef {import('./large-report.mjs').Row} Row */

/** For the database, and what the service keeps free. */
const OTHER_DISK = 1024 ** 3

/** @param {string} directory @param {readonly LargeCase[]} cases */
async function expectRoom(directory, cases) {
  const needed = Math.max(...cases.map(({ disk }) => disk)) + OTHER_DISK
  const { bavail, bsize } = await statfs(directory)
  const free = bavail * bsize
  if (free >= needed) return
  const [has, needs] = [free, needed].map((bytes) => sizeText(Math.round(bytes)))
  throw usageError(
    `${directory} has ${has} free, and ${needs} are needed: give another --dir, or see --help`,
  )
}

/** @param {LargeCase} planned @param {Awaited<ReturnType<typeof startLarge>>} target */
async function measure({ name, run }, target) {
  progress(name)
  try {
    const rows = await run(target)
    for (const row of rows) progress(`  ${row.name}: ${row.value}`)
    return { rows, failed: 0 }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    const value = `FAILED: ${reason.replace(/\s+/g, ' ')}`
    progress(`  ${value}`)
    /** @type {Row} */
    const row = { name, value, met: false, rounds: [] }
    return { rows: [row], failed: 1 }
  } finally {
    await target.clear()
  }
}

/**
 * @param {object} plan
 * @param {string} plan.title
 * @param {readonly LargeCase[]} plan.cases
 * @param {string} plan.floorName what the service is compared to
 * @param {string} plan.notes lines below the table
 * @param {{ dir: string, node: string, rounds: number, json: boolean }} options
 * @param {import('./lifecycle.mjs').Releases} releases
 * @returns {Promise<number>} the exit code
 */
export async function runCases({ title, cases, floorName, notes }, options, releases) {
  await expectRoom(options.dir, cases)
  progress('starting')
  const target = await startLarge(
    {
      directory: options.dir,
      broker: false,
      nodeOptions: options.node.split(' ').filter((word) => word !== ''),
      onProgress: progress,
    },
    releases,
  )
  /** @type {Row[]} */
  const rows = []
  let failed = 0
  for (const planned of cases) {
    const measured = await measure(planned, target)
    rows.push(...measured.rows)
    failed += measured.failed
  }
  const log = target.log().trim()
  const logged = log === '' ? 0 : log.split('\n').length
  const machine = `Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model.trim()}`
  process.stdout.write(
    `${machine}; ${title}, medians of ${options.rounds} rounds\n\n${largeMarkdown(rows, floorName)}\n\n` +
      notes +
      `Failed cases: ${failed}. Warnings and errors logged: ${logged}.\n`,
  )
  if (logged > 0) progress(log.slice(0, 4000))
  if (options.json) process.stdout.write(`${JSON.stringify({ machine, failed, logged, rows })}\n`)
  return failed > 0 ? 1 : 0
}
