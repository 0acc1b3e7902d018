#!/usr/bin/env node
/**
 * Measures the service against the floor of bench/floor.mjs, in alternating rounds on one machine.
 * Compare ratios, not rates: those differ from machine to machine and from minute to minute.
 */
import { mkdir } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { startEnvironment, startFloor, startLoad } from './environment.mjs'
import { progress, runBench, usageError } from './lifecycle.mjs'
import { peakMemory, resetPeak } from './process-stats.mjs'
import { markdown, rateOf, summary } from './report.mjs'

/** @typedef {import('./load.mjs').LoadSpec} LoadSpec */
/** @typedef {import('./load.mjs').LoadResult} LoadResult */
/** @typedef {Awaited<ReturnType<typeof startAll>>} Environment */

const USAGE = `Usage: node bench/run.mjs [options]

  --seconds N      length of each measurement (8)
  --rounds N       measurements of each case, of which the median counts (3)
  --connections N  requests at a time (16)
  --only WORDS     only the cases whose names contain one of these, separated by commas
  --no-broker      run without RabbitMQ even when it is installed
  --no-floor       leave out the floor
  --dir PATH       where to put the files, which take about 10 GB (the system's temporary directory)
  --node OPTIONS   options of the service's Node.js, separated by spaces, such as
                   --node='--cpu-prof --cpu-prof-dir=/tmp'
  --json           print all figures as one line of JSON as well
`

const KIB = 1024
const MIB = 1024 * KIB

/** Sizes of uploads, with the least ratio to the floor and the ratio to strive for. */
const UPLOADS = [
  { name: 'POST raw 1 KiB', size: KIB, target: 0.5, goal: 1 },
  { name: 'POST raw 64 KiB', size: 64 * KIB, target: 0.5, goal: 0.85 },
  { name: 'POST raw 1 MiB', size: MIB, target: 0.5, goal: 0.6 },
]
const OUTBOX_TIMEOUT_MS = 120_000
const SEEDS = { small: 2_000, large: 64 }

/** @typedef {Pick<LoadSpec, 'kind'> & Partial<LoadSpec>} Request */
/**
 * @typedef {object} Planned
 * @property {string} name
 * @property {Request} request
 * @property {Request} [floor]
 * @property {number} [target]
 * @property {number} [goal]
 */

/** @typedef {import('./report.mjs').Round} Round */

/** @param {string[]} argv */
function readOptions(argv) {
  const { values } = parseArgs({
    args: argv,
    allowNegative: true,
    options: {
      seconds: { type: 'string', default: '8' },
      rounds: { type: 'string', default: '3' },
      connections: { type: 'string', default: '16' },
      only: { type: 'string', default: '' },
      broker: { type: 'boolean', default: true },
      floor: { type: 'boolean', default: true },
      dir: { type: 'string' },
      node: { type: 'string', default: '' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const [seconds, rounds, connections] = [values.seconds, values.rounds, values.connections].map(
    Number,
  )
  if (!(seconds > 0) || !(rounds >= 1) || !(connections >= 1)) {
    throw usageError('--seconds, --rounds and --connections take positive numbers')
  }
  return { ...values, seconds, rounds: Math.floor(rounds), connections: Math.floor(connections) }
}

/** @typedef {ReturnType<typeof readOptions>} Options */

class Bench {
  /** @type {Environment} */
  #environment
  /** @type {Options} */
  #options
  /** Requests that the service answered otherwise than expected. */
  failed = 0
  /** Uploads that the service answered 200. */
  #uploaded = 0

  /** @param {Environment} environment @param {Options} options */
  constructor(environment, options) {
    this.#environment = environment
    this.#options = options
  }

  /** @param {Request} request @returns {Promise<LoadResult>} */
  async #load(request) {
    const { floor, service, load } = this.#environment
    const { seconds, connections } = this.#options
    const target = request.kind === 'floor' ? floor : service
    const result = await load({
      url: target.url,
      pid: target.pid,
      token: service.token,
      connections,
      seconds,
      warmupSeconds: Math.min(2, seconds / 2),
      ...request,
    })
    this.failed += result.failed
    if (request.kind === 'upload') this.#uploaded += result.sent
    for (const failure of result.failures) progress(`FAILED: ${failure}`)
    return result
  }

  /** Waits until the events are published, so that nothing of one measurement goes on in the next. */
  async #settle() {
    const { query, broker } = this.#environment
    const started = performance.now()
    const backlog = await query('SELECT count(*) FROM outbox')
    if (!broker) return { backlog, drain: 0 }
    while ((await query('SELECT count(*) FROM outbox')) > 0) {
      if (performance.now() - started > OUTBOX_TIMEOUT_MS) throw new Error('the outbox stays full')
      await sleep(50)
    }
    return { backlog, drain: (performance.now() - started) / 1000 }
  }

  /** @param {Planned} planned @param {number} round @returns {Promise<Round>} */
  async measure({ name, request, floor }, round) {
    const { pid } = this.#environment.service
    const compare = floor && this.#options.floor ? floor : undefined
    // What comes second may profit or suffer from the first.
    let base = compare && round % 2 === 0 ? await this.#load(compare) : undefined
    await resetPeak(pid)
    const result = await this.#load(request)
    const peak = await peakMemory(pid)
    const settled = await this.#settle()
    if (compare && !base) base = await this.#load(compare)
    const rates = [result, base].map((r) => (r ? Math.round(rateOf(r)) : '-'))
    progress(`round ${round + 1}  ${name}: ${rates[0]}/s  floor ${rates[1]}/s`)
    return {
      ...result,
      ...settled,
      ...(base && { floor: base }),
      ...(peak !== undefined && { peakMemory: peak }),
    }
  }

  /** Stores what the reading cases read. */
  async seed() {
    const small = await this.#load({ kind: 'upload', size: KIB, count: SEEDS.small })
    const large = await this.#load({ kind: 'upload', size: MIB, count: SEEDS.large })
    await this.#settle()
    return { small, large }
  }

  /** The promise of an upload: each that was answered 200 has its row. */
  async verify() {
    const rows = await this.#environment.query('SELECT count(*) FROM raw_file')
    if (rows === this.#uploaded) return rows
    this.failed += 1
    progress(`FAILED: ${this.#uploaded} uploads were answered 200, but ${rows} are stored`)
    return rows
  }
}

/** @param {{ small: LoadResult, large: LoadResult }} seeds @returns {Planned[]} */
function plan({ small, large }) {
  const content = (/** @type {string} */ id) => `/bytes/raw/${id}`
  const ofJob = (/** @type {string} */ id) => `/bytes/raw?boefje_meta_id=${id}&limit=10`
  const tagged = '/bytes/raw?organization=bench&mime_types=bench/part-1&limit=10'
  return [
    { name: 'POST job', request: { kind: 'job' } },
    ...UPLOADS.map(({ name, size, target, goal }) => ({
      name,
      target,
      goal,
      request: /** @type {Request} */ ({ kind: 'upload', size }),
      floor: /** @type {Request} */ ({ kind: 'floor', size }),
    })),
    { name: 'GET raw 1 KiB', request: { kind: 'get', paths: small.ids.map(content), length: KIB } },
    { name: 'GET raw 1 MiB', request: { kind: 'get', paths: large.ids.map(content), length: MIB } },
    { name: 'GET list by job', request: { kind: 'get', paths: small.jobs.map(ofJob) } },
    { name: 'GET list by MIME type', request: { kind: 'get', paths: [tagged] } },
    { name: 'GET metrics', request: { kind: 'get', paths: ['/metrics'] } },
  ]
}

/** @param {Environment} environment @param {Options} options */
async function measureAll(environment, options) {
  const bench = new Bench(environment, options)
  const words = options.only.split(',').filter((word) => word !== '')
  const cases = plan(await bench.seed()).filter(
    ({ name }) => words.length === 0 || words.some((word) => name.includes(word)),
  )
  /** @type {Map<Planned, Round[]>} */
  const measured = new Map(cases.map((planned) => [planned, []]))
  for (let round = 0; round < options.rounds; round++) {
    for (const [planned, rounds] of measured) rounds.push(await bench.measure(planned, round))
  }
  const rows = await bench.verify()
  return {
    cases: [...measured].map(([p, rounds]) => summary(p, rounds)),
    rows,
    failed: bench.failed,
  }
}

/** @param {Options} options @param {Environment} environment */
async function report(options, environment) {
  const { cases, rows, failed } = await measureAll(environment, options)
  const log = environment.service.log().trim()
  const logged = log === '' ? 0 : log.split('\n').length
  const peaks = cases.flatMap((measured) => measured.peakMemory ?? [])
  const peak = peaks.length > 0 ? Math.max(...peaks) : undefined
  const { seconds, rounds, connections } = options
  const machine = `Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model.trim()}`
  process.stdout.write(
    `${machine}; ${connections} connections, medians of ${rounds} rounds of ${seconds} s, ` +
      `${environment.broker ? 'with' : 'without'} RabbitMQ; ${rows} raw files in the end\n\n` +
      `${markdown(cases)}\n\n` +
      'CPU ms: time that the process was busy for one request, floor in brackets.\n' +
      `Peak memory of the service: ${peak === undefined ? 'unknown' : `${Math.round(peak)} MiB`}. ` +
      `Failed requests: ${failed}. Warnings and errors logged: ${logged}.\n`,
  )
  if (logged > 0) progress(log.slice(0, 4000))
  if (options.json) {
    const { broker } = environment
    const all = {
      machine,
      seconds,
      rounds,
      connections,
      broker,
      rows,
      peak,
      failed,
      logged,
      cases,
    }
    process.stdout.write(`${JSON.stringify(all)}\n`)
  }
  return failed > 0 ? 1 : 0
}

/** @param {Options} options @param {import('./lifecycle.mjs').Releases} releases */
async function startAll(options, releases) {
  const environment = await startEnvironment(releases, {
    ...(options.dir !== undefined && { directory: options.dir }),
    broker: options.broker,
    nodeOptions: options.node.split(' ').filter((word) => word !== ''),
    onProgress: progress,
  })
  const directory = join(environment.root, 'floor')
  await mkdir(directory)
  /** @type {(spec: LoadSpec) => Promise<LoadResult>} */
  const load = startLoad('load.mjs', releases)
  return {
    ...environment,
    service: await environment.startService(),
    floor: await startFloor('floor.mjs', [directory, environment.databaseUri], releases),
    load,
  }
}

runBench({
  usage: USAGE,
  readOptions,
  run: async (options, releases) => {
    progress('starting')
    return report(options, await startAll(options, releases))
  },
})
