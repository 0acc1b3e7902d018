/** The real program as a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inject } from 'vitest'
import { createDatabase, dropDatabase } from './postgres.js'
import { TEMPLATE } from './template.js'

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url))

export const USERNAME = 'tester'
export const PASSWORD = 'a test password'
export const SECRET = 'a secret that only tests know, 32 bytes'

type Environment = Record<string, string>

/**
 * For tests of how much memory the process takes: by default V8 collects when it has time, and on a
 * machine that has none, garbage counts as what is held.
 */
export const HARD_HEAP: Environment = {
  NODE_OPTIONS: '--max-old-space-size=72 --max-semi-space-size=4',
}

/** Whom a process runs as, if not as the user of the tests: only root may choose. */
export interface Account {
  readonly uid: number
  readonly gid: number
}

/** How a process is started. */
export interface How {
  /** A command that executes it. */
  readonly by?: readonly string[]
  readonly account?: Account | undefined
}

/** A running process of the service. */
export interface TestService {
  readonly url: string
  readonly process: ChildProcess
  /** What it has logged so far, a JSON object a line. */
  log(): string
  /** SIGTERM; resolves to the exit code. */
  stop(): Promise<number | null>
  /** SIGKILL. */
  kill(): Promise<void>
}

/** What a process has printed, and its exit code. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A data directory and a database that outlive the processes that use them. */
export interface TestStore {
  readonly dataDir: string
  readonly databaseUri: string
  /** Starts a process on this store. */
  start(environment?: Environment, how?: How): Promise<TestService>
  /** Runs a command of the program on this store to its end. */
  run(args: readonly string[], environment?: Environment): Promise<Ended>
  /** Stops what still runs and removes everything. */
  remove(): Promise<void>
}

/** @param server of an administrator's connection: makes an empty database there, without migrations */
export async function testStore(server?: string): Promise<TestStore> {
  const name = `test_${randomBytes(8).toString('hex')}`
  const adminUri = server ?? inject('postgresUri')
  const template = server === undefined ? TEMPLATE : undefined
  const databaseUri = await createDatabase(adminUri, name, template)
  const dataDir = await mkdtemp(join(tmpdir(), 'bytes-test-data-'))
  const started = new Set<Child>()
  const ours = {
    BYTES_USERNAME: USERNAME,
    BYTES_PASSWORD: PASSWORD,
    BYTES_SECRET: SECRET,
    BYTES_DB_URI: databaseUri,
    BYTES_DATA_DIR: dataDir,
  }
  return {
    dataDir,
    databaseUri,
    start: async (environment = {}, how = {}) => {
      const settings = {
        ...ours,
        BYTES_PORT: '0',
        BYTES_LOGGING_FORMAT: 'json',
        BYTES_TOKEN_RATE_LIMIT: '100000',
        ...environment,
      }
      const child = childOf(spawnProcess([], settings, 'ignore', how))
      // Also one that does not come to serve.
      started.add(child)
      return serving(child)
    },
    run: (args, environment = {}) => runProcess(args, { ...ours, ...environment }),
    remove: async () => {
      for (const child of started) await child.end('SIGKILL').catch(() => undefined)
      await dropDatabase(adminUri, name)
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

/** Runs the program with this environment and nothing else; for what is expected to end by itself. */
export async function runProcess(
  args: readonly string[],
  environment: Environment,
  input?: Uint8Array,
): Promise<Ended> {
  const child = spawnProcess(args, environment, input === undefined ? 'ignore' : 'pipe')
  child.stdin?.end(input)
  let stdout = ''
  let stderr = ''
  child.stdout?.on('data', (chunk) => {
    stdout += chunk
  })
  child.stderr?.on('data', (chunk) => {
    stderr += chunk
  })
  const [code] = await once(child, 'close')
  return { code, stdout, stderr }
}

/** A pair of keys as settings, as the program makes them, and the setting that seals with them. */
export async function sealing(): Promise<Environment> {
  const { stdout } = await runProcess(['keys', 'generate'], {})
  const keys = [...stdout.matchAll(/^(\w+)=(\S+)$/gm)].map(([, name, value]) => [name, value])
  return { ...Object.fromEntries(keys), BYTES_ENCRYPTION_MIDDLEWARE: 'NACL_SEALBOX' }
}

export function spawnProcess(
  args: readonly string[],
  environment: Environment,
  stdin: 'ignore' | 'pipe' = 'ignore',
  { by = [], account }: How = {},
): ChildProcess {
  const [program = '', ...rest] = [...by, process.execPath, MAIN, ...args]
  return spawn(program, rest, {
    env: { PATH: process.env.PATH, ...environment },
    stdio: [stdin, 'pipe', 'pipe'],
    ...account,
  })
}

/** A process from its start on. */
interface Child {
  readonly process: ChildProcess
  /** Resolves to the exit code. */
  readonly closed: Promise<number | null>
  end(signal: NodeJS.Signals): Promise<number | null>
}

function childOf(process: ChildProcess): Child {
  const closed = once(process, 'close').then(([code]): number | null => code)
  // One that cannot be executed is told to whoever waits for it.
  closed.catch(() => undefined)
  const end = (signal: NodeJS.Signals): Promise<number | null> => {
    process.kill(signal)
    return closed
  }
  return { process, closed, end }
}

/** Waits until it serves. */
async function serving({ process, closed, end }: Child): Promise<TestService> {
  let output = ''
  const url = await new Promise<string>((resolve, reject) => {
    const read = (chunk: Buffer): void => {
      output += chunk
      const found = /"url":"([^"]+)"[^\n]*"msg":"serving"/.exec(output)
      if (found?.[1]) resolve(found[1])
    }
    process.stdout?.on('data', read)
    process.stderr?.on('data', read)
    closed.then((code) => reject(new Error(`the service ended with ${code}: ${output}`)), reject)
  })
  return {
    url,
    process,
    log: () => output,
    stop: () => end('SIGTERM'),
    kill: async () => {
      await end('SIGKILL')
    },
  }
}
