/** What a bench runs against, all of it throwaway: database, broker, service, floor, load. */
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { startEmbeddedPostgres } from '../build/embedded/postgres.js'
import { freePort, startBroker } from './broker.mjs'

const TMPFS = 0x01021994
const START_TIMEOUT_MS = 60_000
export const CREDENTIALS = { username: 'bench', password: 'a password for the bench' }

/** @typedef {import('./lifecycle.mjs').Releases} Releases */
/** @typedef {import('node:child_process').ChildProcess} ChildProcess */

/** @param {string} name */
const besides = (name) => fileURLToPath(new URL(name, import.meta.url))

/**
 * Starts the database and the broker. When it fails, what was started is for `releases` to end.
 * @param {Releases} releases
 * @param {object} options
 * @param {string} [options.directory] where to make the directory of all files
 * @param {boolean} options.broker
 * @param {string} [options.databaseUri] of an empty database to use in place of one of its own
 * @param {string} [options.queueUri] of a broker to use in place of one of its own
 * @param {string[]} options.nodeOptions of the service's Node.js
 * @param {(text: string) => void} options.onProgress
 */
export async function startEnvironment(releases, options) {
  const { directory = tmpdir(), broker, nodeOptions, onProgress } = options
  const root = await mkdtemp(join(directory, 'bytes-bench-'))
  const onExit = () => {
    releases.killAll()
    rmSync(root, { recursive: true, force: true, maxRetries: 5 })
  }
  process.once('exit', onExit)
  releases.add(async () => {
    await rm(root, { recursive: true, force: true, maxRetries: 5 })
    process.off('exit', onExit)
  })
  // Started by root, Postgres runs as another user, who has to get through.
  await chmod(root, 0o711)
  if ((await statfs(root)).type === TMPFS) {
    onProgress(`${directory} is in memory: fsync costs nothing there, see --dir`)
  }
  const databaseUri = options.databaseUri ?? (await startDatabase(root, releases))
  const queueUri = broker ? (options.queueUri ?? (await startQueue(root, releases))) : undefined
  if (!queueUri) onProgress(`no RabbitMQ${broker ? ' is installed' : ''}: the service runs without`)
  return {
    root,
    dataDir: dataDirOf(root),
    databaseUri,
    broker: queueUri !== undefined,
    queueUri,
    query: await openDatabase(databaseUri, releases),
    /** @param {Record<string, string>} [variables] of the service's environment, over those that it has */
    startService: (variables = {}) =>
      startService(root, { databaseUri, queueUri, nodeOptions, variables }, releases),
  }
}

/** @param {string} root */
const dataDirOf = (root) => join(root, 'data')

/** @param {string} root @param {Releases} releases */
async function startDatabase(root, releases) {
  const dataDir = join(root, 'postgres')
  await mkdir(dataDir)
  const write = (/** @type {object} */ fields, /** @type {string} */ text) =>
    process.stderr.write(`postgres: ${text} ${JSON.stringify(fields)}\n`)
  const log = { debug() {}, info() {}, warn: write, error: write }
  const server = await startEmbeddedPostgres({ dataDir, log, settings: { fsync: 'on' } })
  releases.add(() => rm(server.dataDir, { recursive: true, force: true }))
  releases.add(() => server.stop())
  return server.uri
}

/** @param {string} root @param {Releases} releases */
async function startQueue(root, releases) {
  const directory = join(root, 'rabbitmq')
  await mkdir(directory)
  const broker = await startBroker(directory, (child) => releases.child(child))
  if (broker) releases.add(() => broker.stop())
  return broker?.uri
}

/** @param {string} uri @param {Releases} releases */
async function openDatabase(uri, releases) {
  const client = new pg.Client({ connectionString: uri })
  await client.connect()
  releases.add(() => client.end())
  /** @param {string} text @returns {Promise<number>} the number in the first column of the one row */
  return async (text) => Number((await client.query({ text, rowMode: 'array' })).rows[0]?.[0])
}

/**
 * @param {string} root
 * @param {object} options
 * @param {string} options.databaseUri
 * @param {string | undefined} options.queueUri
 * @param {string[]} options.nodeOptions
 * @param {Record<string, string>} options.variables
 * @param {Releases} releases
 */
async function startService(root, { databaseUri, queueUri, nodeOptions, variables }, releases) {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const child = spawn(process.execPath, [...nodeOptions, besides('../dist/main.js')], {
    env: {
      PATH: process.env.PATH,
      BYTES_USERNAME: CREDENTIALS.username,
      BYTES_PASSWORD: CREDENTIALS.password,
      BYTES_SECRET: 'a secret that only the bench knows, of 32 bytes and more',
      BYTES_DB_URI: databaseUri,
      BYTES_DATA_DIR: dataDirOf(root),
      BYTES_PORT: String(port),
      BYTES_LOGGING_LEVEL: 'warn',
      BYTES_LOGGING_FORMAT: 'json',
      BYTES_ACCESS_TOKEN_EXPIRE_MINUTES: '1440',
      // An interrupted bench need not wait for the requests that it has given up.
      BYTES_SHUTDOWN_TIMEOUT_SECONDS: '2',
      ...(queueUri && { QUEUE_URI: queueUri }),
      ...variables,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  releases.child(child)
  const exited = once(child, 'exit')
  const stop = async () => {
    child.kill('SIGTERM')
    await exited
  }
  releases.add(stop)
  let log = ''
  const read = (/** @type {Buffer} */ chunk) => {
    log += chunk
  }
  child.stdout.on('data', read)
  child.stderr.on('data', read)
  await waitUntilHealthy(url, child, () => log)
  // What it logged while it started says nothing of the load.
  log = ''
  return { url, pid: child.pid ?? 0, token: await logIn(url), log: () => log, stop }
}

/** @param {string} url @param {ChildProcess} child @param {() => string} log */
async function waitUntilHealthy(url, child, log) {
  const deadline = Date.now() + START_TIMEOUT_MS
  for (;;) {
    const text = await fetch(`${url}/health`).then(
      (answer) => (answer.ok ? answer.text() : ''),
      () => '',
    )
    // Without the broker it is healthy, but degraded.
    if (text && !text.includes('degraded')) return
    if (child.exitCode !== null || Date.now() > deadline) {
      throw new Error(`the service does not start: ${text}\n${log()}`)
    }
    await sleep(50)
  }
}

/** @param {string} url */
async function logIn(url) {
  const body = new URLSearchParams(CREDENTIALS)
  const answer = await fetch(`${url}/token`, { method: 'POST', body })
  if (!answer.ok) throw new Error(`the log-in was answered ${answer.status}`)
  const { access_token: token } = await answer.json()
  return String(token)
}

/**
 * Starts a program of this folder as a floor: it sends its `{ url }` when it is ready.
 * @param {string} name
 * @param {string[]} args
 * @param {Releases} releases
 */
export async function startFloor(name, args, releases) {
  const { child, exited } = startChild(name, args, releases)
  const [message] = await Promise.race([
    once(child, 'message'),
    exited.then(() => Promise.reject(new Error('the floor does not start'))),
  ])
  return { url: String(message.url), pid: child.pid ?? 0 }
}

/**
 * Starts a program of this folder that makes load. It answers each message, a spec, with `{ value }`
 * or `{ error }`.
 * @template Spec, Result
 * @param {string} name
 * @param {Releases} releases
 * @returns {(spec: Spec) => Promise<Result>} one at a time
 */
export function startLoad(name, releases) {
  const { child, exited } = startChild(name, [], releases)
  return async (spec) => {
    const answer = once(child, 'message')
    child.send(/** @type {import('node:child_process').Serializable} */ (spec))
    const [message] = await Promise.race([
      answer,
      exited.then(() => Promise.reject(new Error('the load process has ended'))),
    ])
    if (message.error) throw new Error(message.error)
    return message.value
  }
}

/** @param {string} name @param {string[]} args @param {Releases} releases */
function startChild(name, args, releases) {
  const child = fork(besides(name), args)
  releases.child(child)
  const exited = once(child, 'exit')
  releases.add(async () => {
    child.kill('SIGKILL')
    await exited
  })
  return { child, exited }
}
