/** A throwaway RabbitMQ: no other process knows its port, and nothing of it stays behind. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'

const START_TIMEOUT_MS = 90_000
const VERSIONS = '/usr/lib/rabbitmq/lib'

/** The server script of an installed RabbitMQ: not the wrapper, which wants a user of its own. */
function findServerScript() {
  const versions = existsSync(VERSIONS) ? readdirSync(VERSIONS) : []
  const candidates = [
    '/usr/lib/rabbitmq/bin/rabbitmq-server',
    ...versions.map((version) => join(VERSIONS, version, 'sbin/rabbitmq-server')),
    '/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server',
    '/usr/local/opt/rabbitmq/sbin/rabbitmq-server',
  ]
  return candidates.find((candidate) => existsSync(candidate))
}

/** @returns {Promise<number>} a TCP port that was free a moment ago */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  server.close()
  await once(server, 'close')
  return port
}

/** Stands in for Erlang's port mapper, which would stay behind as a daemon. It knows no nodes. */
async function startPortMapper() {
  const answer = Buffer.alloc(4)
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(answer))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  server.unref()
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  answer.writeUInt32BE(port)
  return { port, close: () => void server.close() }
}

/**
 * @param {string} directory
 * @param {{ port: number, distribution: number, mapper: number }} ports
 */
function prepare(directory, { port, distribution, mapper }) {
  /** @param {string} name @param {string} content */
  const file = (name, content) => {
    writeFileSync(join(directory, name), content)
    return join(directory, name)
  }
  /** @param {string} name */
  const folder = (name) => {
    mkdirSync(join(directory, name))
    return join(directory, name)
  }
  return {
    PATH: process.env.PATH,
    LANG: 'C.UTF-8',
    HOME: directory,
    TMPDIR: directory,
    ERL_CRASH_DUMP_SECONDS: '0',
    ERL_EPMD_PORT: String(mapper),
    RABBITMQ_NODENAME: `b${port}@localhost`,
    RABBITMQ_MNESIA_BASE: folder('data'),
    RABBITMQ_LOG_BASE: folder('log'),
    RABBITMQ_LOGS: join(directory, 'log/broker.log'),
    RABBITMQ_ENABLED_PLUGINS_FILE: file('plugins', '[].\n'),
    RABBITMQ_CONFIG_FILE: file(
      'broker.conf',
      `listeners.tcp.1 = 127.0.0.1:${port}\ndisk_free_limit.absolute = 1MB\n`,
    ),
    RABBITMQ_ADVANCED_CONFIG_FILE: join(directory, 'none.config'),
    RABBITMQ_CONF_ENV_FILE: file('environment', ''),
    RABBITMQ_PID_FILE: join(directory, 'pid'),
    RABBITMQ_DIST_PORT: String(distribution),
    // An Erlang shell on stdin, which also ends the broker when this process is gone.
    RABBITMQ_ALLOW_INPUT: '1',
    ERL_ZFLAGS: [
      '-kernel inet_dist_use_interface {127,0,0,1}',
      '-setcookie private',
      '-start_epmd false',
      `-erl_epmd_port ${distribution}`,
    ].join(' '),
  }
}

/**
 * Starts a broker with its files in an empty directory. Takes 6 to 15 s.
 * @param {string} directory
 * @param {(child: import('node:child_process').ChildProcess) => void} started called at once
 * @returns {Promise<{ uri: string, stop(): Promise<void> } | undefined>} undefined when RabbitMQ is
 *   not installed
 */
export async function startBroker(directory, started) {
  const script = findServerScript()
  if (!script) return undefined
  const port = await freePort()
  const mapper = await startPortMapper()
  const ports = { port, distribution: await freePort(), mapper: mapper.port }
  const child = spawn(script, [], {
    env: prepare(directory, ports),
    cwd: directory,
    // Out of reach of a terminal's Ctrl-C, which would only freeze it.
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  started(child)
  const exited = new Promise((resolve) => {
    child.once('exit', resolve)
    child.once('error', resolve)
  })
  const stop = async () => {
    child.kill('SIGKILL')
    await exited
    mapper.close()
  }
  child.stdin.on('error', () => {})
  let output = ''
  const ready = new Promise((resolve, reject) => {
    /** @param {string} what */
    const fail = (what) => reject(new Error(`RabbitMQ ${what}. It wrote:\n${output.slice(-4000)}`))
    const timer = setTimeout(() => fail('does not start'), START_TIMEOUT_MS)
    /** @param {Buffer} chunk */
    const read = (chunk) => {
      output = (output + chunk).slice(-100_000)
      if (/completed with \d+ plugins/.test(output)) resolve(undefined)
    }
    child.stdout.on('data', read)
    child.stderr.on('data', read)
    exited.then(() => fail('has ended'))
    const clear = () => clearTimeout(timer)
    exited.then(clear)
  })
  try {
    await ready
  } catch (error) {
    await stop()
    throw error
  }
  return { uri: `amqp://guest:guest@127.0.0.1:${port}`, stop }
}
