#!/usr/bin/env node
/**
 * Measures the service with large files: its speed against the floor of bench/large-floor.mjs, in
 * alternating rounds on one machine, and its memory over that at rest.
 */
import { statfs } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { largeCases, sizeText } from './large-cases.mjs'
import { largeMarkdown } from './large-report.mjs'
import { startLarge } from './large-target.mjs'
import { progress, runBench, usageError } from './lifecycle.mjs'

/** @typedef {import('./large-cases.mjs').LargeCase} LargeCase */
/** @typedef {import('./large-report.mjs').Row} Row */

const USAGE = `Usage: node bench/large.mjs [options]

  --size SIZE      of a large file, such as 256MiB (1GiB); of 16 at once, each has a quarter of it
  --rounds N       measurements of each speed, of which the median counts (3)
  --only WORDS     only the cases whose names contain one of these, separated by commas
  --dir PATH       where to put the files (the system's temporary directory)
  --node OPTIONS   options of the service's Node.js, separated by spaces, such as
                   --node='--cpu-prof --cpu-prof-dir=/tmp'
  --json           print all figures as one line of JSON as well
`

const UNITS = new Map([
  ['MiB', 1024 ** 2],
  ['GiB', 1024 ** 3],
])
/** For the database, and what the service keeps free. */
const OTHER_DISK = 1024 ** 3

/** @param {string} text */
function readSize(text) {
  const [, number, unit = ''] = /^(\d+) ?(MiB|GiB)$/.exec(text) ?? []
  const size = Number(number) * (UNITS.get(unit) ?? Number.NaN)
  if (size >= 1) return size
  throw usageError('--size takes a size such as 256MiB or 1GiB')
}

/** @param {string[]} argv */
function readOptions(argv) {
  const { values } = parseArgs({
    args: argv,
    options: {
      size: { type: 'string', default: '1GiB' },
      rounds: { type: 'string', default: '3' },
      only: { type: 'string', default: '' },
      dir: { type: 'string', default: tmpdir() },
      node: { type: 'string', default: '' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const rounds = Math.floor(Number(values.rounds))
  if (!(rounds >= 1)) throw usageError('--rounds takes a positive number')
  const words = values.only.split(',').filter((word) => word !== '')
  return { ...values, size: readSize(values.size), rounds, words }
}

/** @typedef {ReturnType<typeof readOptions>} Options */

/** @param {Options} options */
function plan({ size, rounds, words, only }) {
  const cases = largeCases({ size, rounds })
  const chosen = words.length === 0 ? cases : cases.filter(({ name }) => has(name, words))
  if (chosen.length > 0) return chosen
  throw usageError(`no case has ${only}: there are ${cases.map(({ name }) => name).join(', ')}`)
}

/** @param {string} name @param {string[]} words */
const has = (name, words) => words.some((word) => name.includes(word))

/** @param {string} directory @param {LargeCase[]} cases */
async function expectRoom(directory, cases) {
  const needed = Math.max(...cases.map(({ disk }) => disk)) + OTHER_DISK
  const { bavail, bsize } = await statfs(directory)
  const free = bavail * bsize
  if (free >= needed) return
  const [has, needs] = [free, needed].map((bytes) => sizeText(Math.round(bytes)))
  throw usageError(
    `${directory} has ${has} free, and ${needs} are needed: give another --dir or a smaller --size`,
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

/** @param {Options} options @param {import('./lifecycle.mjs').Releases} releases */
async function run(options, releases) {
  const cases = plan(options)
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
    `${machine}; large files, medians of ${options.rounds} rounds\n\n${largeMarkdown(rows)}\n\n` +
      'Speed counts bytes of content. The floor takes and gives the content as it is, and syncs\n' +
      'once, at its end: a ratio over 1 comes from syncing earlier, or from larger pieces.\n' +
      'Memory: peak over that of the service at rest, the highest of the rounds.\n' +
      'CPU s: time that the process was busy, floor in brackets.\n' +
      `Failed cases: ${failed}. Warnings and errors logged: ${logged}.\n`,
  )
  if (logged > 0) progress(log.slice(0, 4000))
  if (options.json) process.stdout.write(`${JSON.stringify({ machine, failed, logged, rows })}\n`)
  return failed > 0 ? 1 : 0
}

runBench({ usage: USAGE, readOptions, run })
