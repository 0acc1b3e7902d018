#!/usr/bin/env node
/**
 * Mixed traffic for a long time, at the rate that the machine holds: no request may fail, nothing may
 * leak, and everything that was acknowledged must be stored and announced.
 */
import { spawn } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { CREDENTIALS, startEnvironment } from './environment.mjs'
import { progress, runBench, usageError } from './lifecycle.mjs'
import { residentMemory } from './process-stats.mjs'
import { table } from './report.mjs'
import { countEvents } from './soak-events.mjs'
import { descriptorsOf, riseOf, steadyPart, Tally, watchProcess } from './soak-stats.mjs'
import { createTraffic } from './soak-traffic.mjs'

/** @typedef {import('./lifecycle.mjs').Releases} Releases */
/** @typedef {Awaited<ReturnType<typeof startAll>>} Environment */

const USAGE = `Usage: node bench/soak.mjs [options]

  --minutes N      length of the traffic (30)
  --connections N  requests at a time (16)
  --max-rise N     MiB by which the memory of the service may rise after the first third (96)
  --no-broker      run without RabbitMQ even when it is installed
  --database URI   an empty database to use, in place of one of its own
  --queue URI      a broker to use, in place of one of its own
  --dir PATH       where to put the files, some GB in half an hour (the system's temporary directory)
  --json           print all figures as one line of JSON as well
`

const TSA = fileURLToPath(new URL('../scripts/tsa.mjs', import.meta.url))
/** Descriptors that may be open at the end and were not at the start: the database's connections. */
const MORE_DESCRIPTORS = 24
/** By so much the descriptors under load may rise after the first third: each request has some. */
const RISE_OF_DESCRIPTORS = 64
const SETTLE_TIMEOUT_MS = 300_000

/** @param {string[]} argv */
function readOptions(argv) {
  const { values } = parseArgs({
    args: argv,
    allowNegative: true,
    options: {
      minutes: { type: 'string', default: '30' },
      connections: { type: 'string', default: '16' },
      'max-rise': { type: 'string', default: '96' },
      broker: { type: 'boolean', default: true },
      database: { type: 'string' },
      queue: { type: 'string' },
      dir: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const minutes = Number(values.minutes)
  const connections = Math.floor(Number(values.connections))
  const maxRise = Number(values['max-rise'])
  if (!(minutes > 0) || !(connections >= 1) || !(maxRise > 0)) {
    throw usageError('--minutes, --connections and --max-rise take positive numbers')
  }
  return { ...values, minutes, connections, maxRise }
}

/** @typedef {ReturnType<typeof readOptions>} Options */

/** @param {string} root @param {Releases} releases @returns {Promise<{ url: string, root: string }>} */
function startAuthority(root, releases) {
  const args = ['--dir', join(root, 'tsa'), '--port', '0']
  const child = spawn(process.execPath, [TSA, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  releases.child(child)
  return new Promise((resolve, reject) => {
    child.once('exit', () => reject(new Error('the authority does not start')))
    child.stdout.once('data', (line) => resolve(JSON.parse(String(line))))
  })
}

/** @param {Options} options @param {Releases} releases */
async function startAll(options, releases) {
  const environment = await startEnvironment(releases, {
    ...(options.dir !== undefined && { directory: options.dir }),
    ...(options.database !== undefined && { databaseUri: options.database }),
    ...(options.queue !== undefined && { queueUri: options.queue }),
    broker: options.broker,
    nodeOptions: [],
    onProgress: progress,
  })
  const authority = await startAuthority(environment.root, releases)
  const events = environment.queueUri
    ? await countEvents(environment.queueUri, releases)
    : undefined
  const service = await environment.startService({
    BYTES_EXT_HASH_REPOSITORY: 'RFC3161',
    BYTES_RFC3161_PROVIDER: authority.url,
    BYTES_RFC3161_CERT_FILE: authority.root,
    // openssl takes a process for each token: on a small machine it would take the time of all else.
    BYTES_TIMESTAMP_BATCH_SIZE: '1000',
    BYTES_TIMESTAMP_BATCH_SECONDS: '2',
    BYTES_TOKEN_RATE_LIMIT: '1000000',
  })
  return { ...environment, service, events }
}

/** Waits until nothing is left to publish and to stamp. @param {Environment} environment */
async function settle({ query, broker }) {
  const deadline = performance.now() + SETTLE_TIMEOUT_MS
  for (;;) {
    const outbox = await query('SELECT count(*) FROM outbox')
    const pending = await query('SELECT count(*) FROM pending_hash')
    if ((pending === 0 && (outbox === 0 || !broker)) || performance.now() > deadline) {
      return { outbox, pending }
    }
    await sleep(100)
  }
}

/** Descriptors once the connections of the traffic are gone. @param {number} pid @param {number} most */
async function descriptorsAtRest(pid, most) {
  const deadline = performance.now() + 15_000
  for (;;) {
    const now = await descriptorsOf(pid)
    if (now <= most || performance.now() > deadline) return now
    await sleep(200)
  }
}

/** @param {Options} options @param {Environment} environment */
async function soak(options, environment) {
  const { service, query, dataDir, broker, events } = environment
  const { minutes, connections } = options
  const tally = new Tally()
  const before = await descriptorsOf(service.pid)
  const target = { ...service, credentials: CREDENTIALS, connections, tally }
  const traffic = createTraffic(target)
  const watch = watchProcess(service.pid, Math.min(15_000, minutes * 500))
  const started = performance.now()
  await traffic.run(minutes * 60)
  watch.stop()
  const seconds = (performance.now() - started) / 1000
  traffic.close()
  const left = await settle(environment)
  const after = await descriptorsAtRest(service.pid, before + MORE_DESCRIPTORS)
  const steady = steadyPart(watch.samples)
  return {
    seconds,
    kinds: tally.kinds(),
    failed: tally.failed,
    failures: tally.failures,
    memory: {
      samples: watch.samples,
      rise: riseOf(steady, 'memory'),
      atEnd: (await residentMemory(service.pid)) ?? 0,
    },
    descriptors: { before, after, rise: riseOf(steady, 'descriptors') },
    acknowledged: traffic.acknowledged(),
    rows: await query('SELECT count(*) FROM raw_file'),
    announced: events ? events.distinct() : undefined,
    repeated: events ? events.repeated() : undefined,
    outbox: broker ? left.outbox : 0,
    pending: left.pending,
    temporary: (await readdir(join(dataDir, 'tmp'))).length,
    log: service.log().trim(),
  }
}

/** @typedef {Awaited<ReturnType<typeof soak>>} Result */

/** What is not as it must be. @param {Result} result @param {Options} options @returns {string[]} */
function violationsOf(result, { maxRise }) {
  const { memory, descriptors, acknowledged, rows, announced } = result
  /** @type {[boolean, string][]} */
  const rules = [
    [result.failed === 0, `${result.failed} requests failed`],
    [memory.rise <= maxRise, `memory rose by ${memory.rise.toFixed(1)} MiB`],
    [
      descriptors.rise <= RISE_OF_DESCRIPTORS,
      `descriptors rose by ${descriptors.rise.toFixed(1)} under load`,
    ],
    [
      descriptors.after <= descriptors.before + MORE_DESCRIPTORS,
      `${descriptors.after} descriptors at the end, ${descriptors.before} at the start`,
    ],
    [rows === acknowledged, `${acknowledged} files acknowledged, ${rows} stored`],
    [announced === undefined || announced === rows, `${rows} files stored, ${announced} announced`],
    [result.outbox === 0, `${result.outbox} events are still in the outbox`],
    [result.pending === 0, `${result.pending} hashes still wait for a timestamp`],
    [result.temporary === 0, `${result.temporary} temporary files are left`],
    [result.log === '', `the service logged: ${result.log.slice(0, 2000)}`],
  ]
  return rules.filter(([kept]) => !kept).map(([, text]) => text)
}

/** @param {Result} result @param {Environment} environment @param {Options} options */
function textOf(result, { broker }, { connections, maxRise }) {
  const { memory, descriptors } = result
  const requests = result.kinds.reduce((sum, kind) => sum + kind.requests, 0)
  const rows = result.kinds.map(({ kind, requests, p50, p99, most }) => [
    kind,
    String(requests),
    // What is broken off is not timed.
    ...[p50, p99, most].map((value) => (most === 0 ? '' : value.toFixed(1))),
  ])
  const every = Math.max(1, Math.floor(memory.samples.length / 12))
  const course = memory.samples
    .filter((_, i) => i % every === 0)
    .map((s) => [s.seconds.toFixed(0), s.memory.toFixed(0), String(s.descriptors)])
  const rise = Object.is(Math.round(memory.rise), -0) ? 0 : Math.round(memory.rise)
  return (
    `Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model.trim()}; ${connections} connections ` +
    `for ${(result.seconds / 60).toFixed(1)} minutes, ${broker ? 'with' : 'without'} RabbitMQ\n\n` +
    `${table(['request', 'count', 'p50 ms', 'p99 ms', 'most ms'], '|---|--:|--:|--:|--:|', rows)}\n\n` +
    `${table(['second', 'memory MiB', 'descriptors'], '|--:|--:|--:|', course)}\n\n` +
    `${requests} requests, ${Math.round(requests / result.seconds)}/s; ${result.failed} failed.\n` +
    `Memory after the first third: rise ${rise} MiB (bound ${maxRise}); at the end ${memory.atEnd.toFixed(0)} MiB.\n` +
    `Descriptors: ${descriptors.before} at the start, ${descriptors.after} at the end, rise under load ${descriptors.rise.toFixed(1)}.\n` +
    `Files: ${result.acknowledged} acknowledged, ${result.rows} stored, ` +
    `${result.announced ?? 'none'} announced, ${result.repeated ?? 0} of them more than once.\n` +
    `Left at the end: ${result.outbox} events, ${result.pending} pending hashes, ${result.temporary} temporary files.\n`
  )
}

runBench({
  usage: USAGE,
  readOptions,
  run: async (options, releases) => {
    progress('starting')
    const environment = await startAll(options, releases)
    progress('traffic')
    const result = await soak(options, environment)
    const violations = violationsOf(result, options)
    process.stdout.write(textOf(result, environment, options))
    for (const failure of result.failures) progress(`FAILED: ${failure}`)
    for (const violation of violations) process.stdout.write(`VIOLATION: ${violation}\n`)
    if (options.json) process.stdout.write(`${JSON.stringify({ ...result, violations })}\n`)
    return violations.length === 0 ? 0 : 1
  },
})
