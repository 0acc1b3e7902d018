#!/usr/bin/env node
/** Measures the rotation of sealed file keys: `bytes keys rotate` on a database of many blobs. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { seal } from '../build/raw/middleware/sealed-box/box.js'
import { createKeyRing, generateKeyPair, keyIdOf } from '../build/raw/middleware/sealed-box/keys.js'
import { startEnvironment } from './environment.mjs'
import { progress, runBench, usageError } from './lifecycle.mjs'
import { median, table } from './report.mjs'

const USAGE = `Usage: node bench/rotation.mjs [options]

  --keys N     sealed keys in the database (100000)
  --rounds N   rotations, of which the median counts (3)
  --batch N    keys that are replaced at once (500)
  --dir PATH   where to put the database (the system's temporary directory)
  --json       print all figures as one line of JSON as well
`

const TARGET = 500
const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url))
/** Sealed keys that the rows share: sealing all of them would take longer than the rotation. */
const DISTINCT = 1000

/** @typedef {ReturnType<typeof generateKeyPair>} KeyPair */

/** @param {string[]} argv */
function readOptions(argv) {
  const { values } = parseArgs({
    args: argv,
    options: {
      keys: { type: 'string', default: '100000' },
      rounds: { type: 'string', default: '3' },
      batch: { type: 'string', default: '500' },
      dir: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const [keys = 0, rounds = 0, batch = 0] = [values.keys, values.rounds, values.batch].map(Number)
  if (![keys, rounds, batch].every((number) => Number.isInteger(number) && number >= 1)) {
    throw usageError('--keys, --rounds and --batch take positive whole numbers')
  }
  return { ...values, keys, rounds, batch }
}

/** @typedef {ReturnType<typeof readOptions>} Options */

/**
 * Rows as long as those of real blobs.
 * @param {pg.Client} client @param {number} keys @param {KeyPair} pair
 */
async function fill(client, keys, pair) {
  const { current } = createKeyRing({ publicKey: pair.publicKey })
  if (current === undefined) throw new Error('a ring lacks its public key')
  const sealed = Array.from({ length: Math.min(DISTINCT, keys) }, () =>
    seal(new Uint8Array(16), current),
  )
  await client.query('TRUNCATE blob CASCADE')
  await client.query(
    `INSERT INTO blob (organization, content_digest, size, address, stored_size, middleware, key_id,
                       sealed_key)
     SELECT 'bench', 'sha512:' || encode(sha512(n::text::bytea), 'hex'), 1000,
            encode(sha512((-n)::text::bytea), 'hex'), 1032, 'NACL_SEALBOX', $1,
            ($2::bytea[])[n % array_length($2::bytea[], 1) + 1]
     FROM generate_series(1, $3::int) n`,
    [keyIdOf(pair.publicKey), sealed, keys],
  )
  await client.query('VACUUM ANALYZE blob')
}

/**
 * Runs the program to its end.
 * @param {string[]} args @param {Record<string, string>} environment
 * @param {import('./lifecycle.mjs').Releases} releases
 */
async function runProgram(args, environment, releases) {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { PATH: process.env.PATH, ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  releases.child(child)
  let output = ''
  child.stdout.on('data', (chunk) => {
    output += chunk
  })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`bytes ${args.join(' ')} ended with ${code}: ${output}`)
  return output
}

/** @param {KeyPair} current @param {KeyPair} old */
function keySettings(current, old) {
  const text = (/** @type {Uint8Array} */ key) => Buffer.from(key).toString('base64')
  return {
    BYTES_PUBLIC_KEY_B64: text(current.publicKey),
    BYTES_PRIVATE_KEY_B64: text(current.privateKey),
    BYTES_OLD_PRIVATE_KEYS_B64: text(old.privateKey),
  }
}

/** @param {Options} options @param {import('./lifecycle.mjs').Releases} releases */
async function run(options, releases) {
  const { keys, rounds, batch } = options
  progress('starting')
  const { databaseUri } = await startEnvironment(releases, {
    ...(options.dir !== undefined && { directory: options.dir }),
    broker: false,
    nodeOptions: [],
    onProgress: progress,
  })
  const settings = {
    BYTES_USERNAME: 'bench',
    BYTES_PASSWORD: 'a password for the bench',
    BYTES_SECRET: 'a secret that only the bench knows, of 32 bytes and more',
    BYTES_DB_URI: databaseUri,
    BYTES_LOGGING_LEVEL: 'warn',
  }
  await runProgram(['migrate'], settings, releases)
  const client = new pg.Client({ connectionString: databaseUri })
  await client.connect()
  releases.add(() => client.end())

  const rotations = []
  let old = generateKeyPair()
  for (let round = 0; round < rounds; round++) {
    await fill(client, keys, old)
    const current = generateKeyPair()
    const started = performance.now()
    const args = ['keys', 'rotate', '--batch', String(batch)]
    const output = await runProgram(args, { ...settings, ...keySettings(current, old) }, releases)
    const rate = (keys / (performance.now() - started)) * 1000
    const { rows } = await client.query(
      'SELECT count(*)::int AS left FROM blob WHERE key_id <> $1',
      [keyIdOf(current.publicKey)],
    )
    if (rows[0].left > 0) throw new Error(`${rows[0].left} keys are left: ${output}`)
    progress(`round ${round + 1}  ${Math.round(rate)} keys/s`)
    rotations.push(rate)
    old = current
  }
  const rate = median(rotations)
  const machine = `Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model.trim()}`
  const verdict = `>= ${TARGET}: ${rate >= TARGET ? 'met' : 'MISSED'}`
  process.stdout.write(
    `${machine}; rotation of ${keys} keys, medians of ${rounds} rounds\n\n` +
      `${table(['keys/s', 'target'], '|--:|---|', [[String(Math.round(rate)), verdict]])}\n\n` +
      'The time is that of the whole command, from its start to its end.\n',
  )
  if (options.json) process.stdout.write(`${JSON.stringify({ machine, keys, rotations })}\n`)
  return 0
}

runBench({ usage: USAGE, readOptions, run })
