#!/usr/bin/env node
/**
 * Measures the service with large files: its speed against the floor of bench/large-floor.mjs, in
 * alternating rounds on one machine, and its memory over that at rest.
 */
import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { largeCases } from './large-cases.mjs'
import { runCases } from './large-run.mjs'
import { runBench, usageError } from './lifecycle.mjs'

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

runBench({
  usage: USAGE,
  readOptions,
  run: (options, releases) =>
    runCases(
      {
        title: 'large files',
        cases: plan(options),
        floorName: 'floor',
        notes:
          'Speed counts bytes of content. The floor takes and gives the content as it is, and syncs\n' +
          'once, at its end: a ratio over 1 comes from syncing earlier, or from larger pieces.\n' +
          'Memory: peak over that of the service at rest, the highest of the rounds.\n' +
          'CPU s: time that the process was busy, floor in brackets.\n',
      },
      options,
      releases,
    ),
})
