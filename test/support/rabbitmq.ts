import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from './ports.js'

const START_TIMEOUT_MS = 90_000
const CONTROL_TIMEOUT_MS = 60_000
const MEMORY_LIMIT = 536_870_912
/** While the broker believes that it is still booting, it takes a start for done already. */
const BOOTED =
  '(fun Wait() -> case whereis(rabbit_boot) of undefined -> ok; ' +
  '_ -> timer:sleep(10), Wait() end end)()'

/** A RabbitMQ of our own: no other process knows its port, and nothing of it stays behind. */
export interface TestBroker {
  readonly uri: string
  readonly port: number
  /** Ends the broker and removes its files. */
  stop(): Promise<void>
  /** Stops RabbitMQ in an orderly way: clients are told, and the port is closed. */
  pauseApp(): Promise<void>
  /** Starts RabbitMQ again after `pauseApp`. */
  resumeApp(): Promise<void>
  /** Makes the broker believe that it has no memory left, so that it takes no messages. */
  block(): Promise<void>
  unblock(): Promise<void>
  /** SIGSTOP: connections stay open, and nothing answers any more when this resolves. */
  freeze(): Promise<void>
  thaw(): void
  /** SIGKILL. */
  kill(): Promise<void>
  /** Starts the broker after `kill`, on the same directories and port. */
  restart(): Promise<void>
  /** Evaluates Erlang expressions inside the broker; resolves to the printed value of the last. */
  evaluate(expressions: string): Promise<string>
}

/**
 * Starts a private broker on 127.0.0.1, as whatever user runs the tests. Takes 6 to 15 s.
 * @throws Error when the server is not installed, or does not start
 */
export async function startTestRabbitMQ(): Promise<TestBroker> {
  const script = findServerScript()
  const port = await freePort()
  const distributionPort = await freePort()
  const directory = mkdtempSync(join(tmpdir(), 'bytes-rabbitmq-'))
  const portMapper = await startPortMapper()
  const environment = {
    ...prepare(directory, port, distributionPort),
    ERL_EPMD_PORT: String(portMapper.port),
  }
  let broker: Running | undefined

  // Without this, `process.exit` in the middle of a test would leave the directory.
  const onExit = () => {
    broker?.process.kill('SIGKILL')
    rmSync(directory, { recursive: true, force: true })
  }
  process.once('exit', onExit)

  async function start(): Promise<void> {
    broker = await run(script, environment, directory)
  }

  async function kill(): Promise<void> {
    const ending = broker
    broker = undefined
    await ending?.kill()
  }

  async function stop(): Promise<void> {
    await kill()
    portMapper.close()
    process.off('exit', onExit)
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  }

  function running(): Running {
    if (broker === undefined) throw new Error('The test broker is not running')
    return broker
  }

  const evaluate = async (expressions: string) => running().evaluate(expressions)
  const control = async (expression: string) => {
    const result = await evaluate(expression)
    if (result !== 'ok') throw new Error(`${expression} gave ${result}`)
  }

  try {
    await start()
  } catch (error) {
    await stop()
    throw error
  }
  return {
    uri: `amqp://guest:guest@127.0.0.1:${port}`,
    port,
    stop,
    kill,
    restart: start,
    evaluate,
    pauseApp: () => control('rabbit:stop()'),
    resumeApp: () => control(`${BOOTED}, ok = rabbit:start(), rabbit:await_startup()`),
    block: async () => {
      await control('vm_memory_monitor:set_vm_memory_high_watermark(0.0)')
      // The alarm goes off a moment later.
      while ((await evaluate('rabbit_alarm:get_alarms() =/= []')) !== 'true') await sleep(20)
    },
    unblock: () =>
      control(`vm_memory_monitor:set_vm_memory_high_watermark({absolute, ${MEMORY_LIMIT}})`),
    freeze: () => freeze(running().process),
    thaw: () => void running().process.kill('SIGCONT'),
  }
}

/** The signal reaches the threads one after the other: the last may still confirm a message. */
async function freeze({ pid }: ChildProcess): Promise<void> {
  if (pid === undefined) throw new Error('the broker has not started')
  process.kill(pid, 'SIGSTOP')
  const tasks = `/proc/${pid}/task`
  if (!existsSync(tasks)) return sleep(500)
  const isStopped = (task: string): boolean =>
    /^State:\s+T/m.test(readFileSync(join(tasks, task, 'status'), 'utf8'))
  while (!readdirSync(tasks).every(isStopped)) await sleep(5)
}

function findServerScript(): string {
  const versions = '/usr/lib/rabbitmq/lib'
  // Not the wrapper in /usr/sbin, which wants to be root or rabbitmq.
  const candidates = [
    '/usr/lib/rabbitmq/bin/rabbitmq-server',
    ...(existsSync(versions)
      ? readdirSync(versions).map((version) => join(versions, version, 'sbin/rabbitmq-server'))
      : []),
    '/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server',
    '/usr/local/opt/rabbitmq/sbin/rabbitmq-server',
  ]
  const found = candidates.find((candidate) => existsSync(candidate))
  if (found === undefined) {
    throw new Error(
      'RabbitMQ is not installed. Run scripts/install-test-tools.sh, or install the package ' +
        '`rabbitmq-server` (Debian, Ubuntu) or `rabbitmq` (Homebrew). It need not be running.',
    )
  }
  return found
}

/**
 * Stands in for epmd, Erlang's port mapper, which would stay behind as a daemon. RabbitMQ asks it
 * for the names of other nodes before it boots: there are none.
 */
async function startPortMapper(): Promise<{ port: number; close(): void }> {
  const port = await freePort()
  const answer = Buffer.alloc(4)
  answer.writeUInt32BE(port)
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(answer))
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  server.unref()
  return { port, close: () => void server.close() }
}

function prepare(directory: string, port: number, distributionPort: number): NodeJS.ProcessEnv {
  const file = (name: string, content: string) => {
    writeFileSync(join(directory, name), content)
    return join(directory, name)
  }
  const folder = (name: string) => {
    mkdirSync(join(directory, name))
    return join(directory, name)
  }
  const configuration = [
    `listeners.tcp.1 = 127.0.0.1:${port}`,
    `vm_memory_high_watermark.absolute = ${MEMORY_LIMIT}`,
    'disk_free_limit.absolute = 1MB',
    '',
  ]
  return {
    PATH: process.env.PATH,
    LANG: 'C.UTF-8',
    HOME: directory,
    TMPDIR: directory,
    ERL_CRASH_DUMP_SECONDS: '0',
    RABBITMQ_NODENAME: `t${port}@localhost`,
    RABBITMQ_MNESIA_BASE: folder('data'),
    RABBITMQ_LOG_BASE: folder('log'),
    RABBITMQ_LOGS: join(directory, 'log/broker.log'),
    RABBITMQ_ENABLED_PLUGINS_FILE: file('plugins', '[].\n'),
    RABBITMQ_CONFIG_FILE: file('broker.conf', configuration.join('\n')),
    RABBITMQ_ADVANCED_CONFIG_FILE: join(directory, 'none.config'),
    RABBITMQ_CONF_ENV_FILE: file('environment', ''),
    RABBITMQ_PID_FILE: join(directory, 'pid'),
    RABBITMQ_DIST_PORT: String(distributionPort),
    // Gives us an Erlang shell on stdin, which also ends the broker when we are gone.
    RABBITMQ_ALLOW_INPUT: '1',
    // Also for the second Erlang that the broker starts, only so that epmd be running.
    ERL_ZFLAGS: [
      '-kernel inet_dist_use_interface {127,0,0,1}',
      '-setcookie private',
      '-start_epmd false',
      `-erl_epmd_port ${distributionPort}`,
    ].join(' '),
  }
}

interface Running {
  readonly process: ChildProcess
  evaluate(expressions: string): Promise<string>
  kill(): Promise<void>
}

async function run(
  script: string,
  environment: NodeJS.ProcessEnv,
  directory: string,
): Promise<Running> {
  const child = spawn(script, [], {
    env: environment,
    cwd: directory,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let output = ''
  let changed = () => {}
  const append = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-100_000)
    changed()
  }
  child.stdout.on('data', append)
  child.stderr.on('data', append)
  // A dead broker is noticed by its exit.
  child.stdin.on('error', () => {})
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', (error) => {
      output += String(error)
      resolve()
    })
  })

  /** Waits until the output matches. Only one may wait at a time. */
  async function expectOutput(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray> {
    let timer: NodeJS.Timeout | undefined
    const seen = new Promise<RegExpExecArray>((resolve, reject) => {
      const fail = (what: string) =>
        reject(new Error(`The test broker ${what}. It wrote:\n${output.slice(-4_000)}`))
      changed = () => {
        const match = pattern.exec(output)
        if (match !== null) resolve(match)
      }
      timer = setTimeout(() => fail(`was silent for ${timeoutMs} ms`), timeoutMs)
      void exited.then(() => fail('has ended'))
      changed()
    })
    return seen.finally(() => {
      clearTimeout(timer)
      changed = () => {}
    })
  }

  let count = 0
  let queue: Promise<unknown> = Promise.resolve()
  const evaluateNow = async (expressions: string) => {
    count += 1
    const value = `(catch begin ${expressions} end)`
    child.stdin.write(`io:format("<<~w:~0p:~w>>~n", [${count}, ${value}, ${count}]).\n`)
    const pattern = new RegExp(`<<${count}:(.*):${count}>>`, 's')
    return (await expectOutput(pattern, CONTROL_TIMEOUT_MS))[1] ?? ''
  }

  async function kill(): Promise<void> {
    child.kill('SIGKILL')
    await exited
  }

  try {
    await expectOutput(/completed with \d+ plugins/, START_TIMEOUT_MS)
  } catch (error) {
    await kill()
    throw error
  }
  return {
    process: child,
    kill,
    evaluate(expressions) {
      const result = queue.then(() => evaluateNow(expressions))
      queue = result.catch(() => undefined)
      return result
    },
  }
}
