/** A Postgres that a test may stop, kill and freeze. */
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { clusterPath } from '../../src/embedded/directory.js'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded/postgres.js'
import { silentLog, testBinaries } from './postgres.js'

export interface PrivatePostgres {
  /** An administrator's connection; the same after each start. */
  readonly uri: string
  /** Starts the server again after `stop` or `kill`. */
  start(): Promise<void>
  /** Disconnects the clients and shuts the server down. */
  stop(): Promise<void>
  /** SIGKILL for all of its processes at once. */
  kill(): Promise<void>
  /** SIGKILL for the process of one client: the server ends all others, recovers and goes on. */
  killBackend(): Promise<void>
  /** SIGSTOP for all of its processes: connections stay open, and nothing answers any more. */
  freeze(): Promise<void>
  thaw(): void
  /** Runs a statement as administrator, on a connection of its own. */
  query<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>
  /** Ends the connections of the service. */
  disconnectClients(): Promise<void>
  /** How many lines of the server's log have this text. */
  logged(text: string): number
  /** Stops the server, if it runs, and removes its files. */
  remove(): Promise<void>
}

const OURS =
  "backend_type = 'client backend' AND application_name = 'bytes' AND pid <> pg_backend_pid()"

/** @param settings of the server, beside those of the launcher. Needs the /proc of Linux. */
export async function startPrivatePostgres(
  settings: Readonly<Record<string, string>> = {},
): Promise<PrivatePostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), 'bytes-test-pg-'))
  const lines: string[] = []
  const keep = (fields: object): void => void lines.push(JSON.stringify(fields))
  let server: EmbeddedPostgres | undefined
  const running = (): EmbeddedPostgres => {
    if (!server) throw new Error('the private Postgres does not run')
    return server
  }
  const start = async (): Promise<void> => {
    server = await startEmbeddedPostgres({
      dataDir,
      log: { ...silentLog, debug: keep },
      // A kill loses nothing that the system has; only a power failure does.
      settings: { fsync: 'off', ...settings },
      ...testBinaries(),
    })
  }
  const stop = async (): Promise<void> => {
    const ending = server
    server = undefined
    await ending?.stop()
  }
  const paths = new Set([dataDir])
  const remove = async (): Promise<void> => {
    if (server) signalAll('SIGCONT')
    await stop()
    for (const path of paths) await rm(path, { recursive: true, force: true })
  }
  /** The first one is the parent of the others. */
  const pids = (): number[] => {
    const file = join(clusterPath(running().dataDir), 'postmaster.pid')
    const pid = Number.parseInt(readFileSync(file, 'utf8'), 10)
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    return [pid, ...(children === '' ? [] : children.split(' ').map(Number))]
  }
  const signalAll = (signal: NodeJS.Signals): number[] => {
    const [postmaster = 0] = pids()
    // It forks no more once it has the signal, so that the second look finds all.
    signalIfThere(postmaster, signal)
    const all = signal === 'SIGKILL' ? [] : pids()
    for (const pid of all.slice(1)) signalIfThere(pid, signal)
    return all
  }
  const query: PrivatePostgres['query'] = async (text, values) => {
    const client = new pg.Client({ connectionString: running().uri, application_name: 'test' })
    client.on('error', () => {})
    await client.connect()
    try {
      return (await client.query(text, values)).rows
    } finally {
      await client.end()
    }
  }

  try {
    await start()
    paths.add(running().dataDir)
  } catch (error) {
    await remove()
    throw error
  }
  return {
    uri: running().uri,
    start,
    stop,
    kill: async () => {
      const [postmaster = 0, ...children] = pids()
      for (const pid of [postmaster, ...children]) signalIfThere(pid, 'SIGKILL')
      await running().exited
      await stop()
    },
    killBackend: async () => {
      const rows = await query<{ pid: number }>(
        `SELECT pid FROM pg_stat_activity WHERE ${OURS} ORDER BY query_start DESC LIMIT 1`,
      )
      if (!rows[0]) throw new Error('the service has no connection whose process could be killed')
      signalIfThere(rows[0].pid, 'SIGKILL')
    },
    freeze: async () => {
      const all = signalAll('SIGSTOP')
      while (!all.every(isStopped)) await sleep(5)
    },
    thaw: () => void signalAll('SIGCONT'),
    query,
    disconnectClients: async () => {
      await query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${OURS}`)
    },
    logged: (text) => lines.filter((line) => line.includes(text)).length,
    remove,
  }
}

/** Processes of a server come and go. */
function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  if (pid <= 1) throw new Error(`${pid} is not a process of the server`)
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}

function isStopped(pid: number): boolean {
  try {
    return /^State:\s+[TZ]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    // It ended before the signal came.
    return true
  }
}
