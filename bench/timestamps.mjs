#!/usr/bin/env node
/**
 * Measures what timestamps cost: uploads with a slow authority against uploads without any, in
 * alternating rounds on one machine; batches; and verifications.
 */
import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { parseAnchors } from '../build/hashing/rfc3161/anchors.js'
import { verifyToken } from '../build/hashing/rfc3161/token.js'
import { startEnvironment, startLoad } from './environment.mjs'
import { progress, runBench, usageError } from './lifecycle.mjs'
import { median, rateOf, table } from './report.mjs'

/** @typedef {import('./lifecycle.mjs').Releases} Releases */
/** @typedef {import('./load.mjs').LoadSpec} LoadSpec */
/** @typedef {import('./load.mjs').LoadResult} LoadResult */
/** @typedef {Awaited<ReturnType<typeof startAll>>} Bench */
/** @typedef {Awaited<ReturnType<Bench['startService']>>} Service */

const USAGE = `Usage: node bench/timestamps.mjs [options]

  --seconds N      length of each measurement (5)
  --rounds N       measurements of each speed, of which the median counts (5)
  --connections N  requests at a time (16)
  --files N        files that are stamped in batches (10000)
  --batch N        files of a batch (1000)
  --dir PATH       where to put the files (the system's temporary directory)
  --json           print all figures as one line of JSON as well
`

const TSA = fileURLToPath(new URL('../scripts/tsa.mjs', import.meta.url))
const REAL = new URL('../test/fixtures/timestamps/', import.meta.url)
const KIB = 1024
/** Time that the authority takes for one token. */
const DELAY_MS = 500
/** The least ratio of uploads to those with IN_MEMORY. */
const TARGET = 0.9
const STAMPED_TIMEOUT_MS = 300_000

/** @param {string[]} argv */
function readOptions(argv) {
  const { values } = parseArgs({
    args: argv,
    options: {
      seconds: { type: 'string', default: '5' },
      rounds: { type: 'string', default: '5' },
      connections: { type: 'string', default: '16' },
      files: { type: 'string', default: '10000' },
      batch: { type: 'string', default: '1000' },
      dir: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const { dir, json, help, ...texts } = values
  const [seconds, rounds, connections, files, batch] = [
    texts.seconds,
    texts.rounds,
    texts.connections,
    texts.files,
    texts.batch,
  ].map((text) => Math.floor(Number(text)))
  for (const value of [seconds, rounds, connections, files, batch]) {
    if (!(Number(value) >= 1)) throw usageError('the numbers must be 1 or more')
  }
  const numbers =
    /** @type {Record<'seconds' | 'rounds' | 'connections' | 'files' | 'batch', number>} */ ({
      seconds,
      rounds,
      connections,
      files,
      batch,
    })
  return { ...numbers, dir, json, help }
}

/** @typedef {ReturnType<typeof readOptions>} Options */

/** @param {string} root @param {Releases} releases @returns {Promise<{ url: string, root: string }>} */
function startAuthority(root, releases) {
  const args = ['--dir', join(root, 'tsa'), '--port', '0', '--delay-ms', String(DELAY_MS)]
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
    broker: false,
    nodeOptions: [],
    onProgress: progress,
  })
  const authority = await startAuthority(environment.root, releases)
  const variables = {
    BYTES_EXT_HASH_REPOSITORY: 'RFC3161',
    BYTES_RFC3161_PROVIDER: authority.url,
    BYTES_RFC3161_CERT_FILE: authority.root,
  }
  /** @type {(spec: LoadSpec) => Promise<LoadResult>} */
  const send = startLoad('load.mjs', releases)
  return {
    query: environment.query,
    startService: environment.startService,
    stamping: (/** @type {Record<string, string>} */ more = {}) =>
      environment.startService({ ...variables, ...more }),
    /** @param {Service} service @param {Pick<LoadSpec, 'kind'> & Partial<LoadSpec>} request */
    load: async (service, request) => {
      const { url, token, pid } = service
      const { seconds, connections } = options
      const result = await send({
        warmupSeconds: 1,
        ...request,
        url,
        token,
        pid,
        seconds,
        connections,
      })
      if (result.failed > 0) throw new Error(`requests failed: ${result.failures.join('; ')}`)
      return result
    },
  }
}

/** Both services run all the time, so that the stamping takes from both. @param {Bench} bench @param {number} rounds */
async function compareUploads(bench, rounds) {
  const plain = await bench.startService()
  const stamping = await bench.stamping()
  const upload = async (/** @type {Service} */ service) =>
    rateOf(await bench.load(service, { kind: 'upload', size: KIB }))
  const measured = []
  for (let round = 0; round < rounds; round++) {
    // What comes second may profit or suffer from the first.
    const first = round % 2 === 0 ? await upload(plain) : undefined
    const stamped = await upload(stamping)
    const base = first ?? (await upload(plain))
    progress(
      `round ${round + 1}  uploads: ${Math.round(stamped)}/s, IN_MEMORY ${Math.round(base)}/s`,
    )
    measured.push({ stamped, base, ratio: stamped / base })
  }
  const pending = await bench.query('SELECT count(*) FROM pending_hash')
  await stamping.stop()
  await plain.stop()
  return { measured, pending }
}

/** @param {Bench} bench @param {Options} options */
async function stampInBatches(bench, { files, batch }) {
  await bench.query('WITH gone AS (DELETE FROM pending_hash RETURNING 1) SELECT count(*) FROM gone')
  const service = await bench.stamping({ BYTES_TIMESTAMP_BATCH_SIZE: String(batch) })
  const started = performance.now()
  const { ids } = await bench.load(service, { kind: 'upload', size: KIB, count: files })
  const uploaded = performance.now()
  while ((await bench.query('SELECT count(*) FROM pending_hash')) > 0) {
    if (performance.now() - uploaded > STAMPED_TIMEOUT_MS) throw new Error('hashes stay pending')
    await sleep(20)
  }
  const stamped = performance.now()
  const tokens = await bench.query('SELECT count(*) FROM timestamp_token')
  progress(`${files} files, ${tokens} tokens`)
  return {
    service,
    ids,
    tokens,
    uploadSeconds: (uploaded - started) / 1000,
    seconds: (stamped - started) / 1000,
  }
}

/** @param {Bench} bench @param {Service} service @param {string[]} ids @param {number} rounds */
async function verifyOverHttp(bench, service, ids, rounds) {
  const paths = ids.slice(0, 2000).map((id) => `/bytes/raw/${id}/verify`)
  const answer = await fetch(service.url + paths[0], {
    headers: { authorization: `Bearer ${service.token}` },
  })
  const { verdict } = await answer.json()
  if (verdict !== 'verified') throw new Error(`the verdict is ${verdict}`)
  const rates = []
  for (let round = 0; round < rounds; round++) {
    rates.push(rateOf(await bench.load(service, { kind: 'get', paths })))
  }
  return median(rates)
}

/** Verifications of one real token a second, on one thread. @param {number} seconds */
async function verifyTokens(seconds) {
  const anchors = parseAnchors(await readFile(new URL('freetsa-root.pem', REAL), 'utf8'))
  const token = await readFile(new URL('freetsa-2026-01-04.token', REAL))
  const imprint = Buffer.from(
    'e2361b4053a945dd1d241a6c87dad798b7fd7450614b815a2d947283ed359452',
    'hex',
  )
  const verify = () => verifyToken(token, imprint, 'sha256', anchors)
  for (let i = 0; i < 50; i++) verify()
  const started = performance.now()
  let done = 0
  for (; performance.now() - started < seconds * 1000; done++) verify()
  return (done / (performance.now() - started)) * 1000
}

/** @param {Options} options @param {Releases} releases */
async function run(options, releases) {
  progress('starting')
  const bench = await startAll(options, releases)
  const uploads = await compareUploads(bench, options.rounds)
  const { service, ids, ...batches } = await stampInBatches(bench, options)
  const overHttp = await verifyOverHttp(bench, service, ids, options.rounds)
  const tokens = await verifyTokens(options.seconds)
  const ratio = median(uploads.measured.map((round) => round.ratio))
  const least = Math.ceil(options.files / options.batch)
  const met = (/** @type {boolean} */ is) => (is ? 'met' : 'MISSED')
  const machine = `Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model.trim()}`
  const rows = [
    [
      `uploads of 1 KiB, authority takes ${DELAY_MS} ms`,
      `${Math.round(median(uploads.measured.map((round) => round.stamped)))}/s, ` +
        `IN_MEMORY ${Math.round(median(uploads.measured.map((round) => round.base)))}/s: ${ratio.toFixed(2)}`,
      `>= ${TARGET}: ${met(ratio >= TARGET)}`,
    ],
    [
      `tokens for ${options.files} files, ${options.batch} each`,
      String(batches.tokens),
      `${least}: ${met(batches.tokens === least)}`,
    ],
    [
      'time until all are stamped',
      `${batches.seconds.toFixed(1)} s, of which uploads ${batches.uploadSeconds.toFixed(1)} s`,
      '',
    ],
    ['verifications over HTTP (1 KiB, evidence record)', `${Math.round(overHttp)}/s`, ''],
    ['verifications of a real token, one thread', `${Math.round(tokens)}/s`, ''],
  ]
  process.stdout.write(
    `${machine}; timestamps, medians of ${options.rounds} rounds of ${options.seconds} s, ` +
      `${options.connections} connections\n\n${table(['case', 'measured', 'target'], '|---|--:|---|', rows)}\n\n` +
      `Files that still waited for a timestamp of their own after the uploads: ${uploads.pending}.\n`,
  )
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ machine, uploads, batches, overHttp, tokens })}\n`)
  }
  return 0
}

runBench({ usage: USAGE, readOptions, run })
