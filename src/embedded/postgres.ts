import { randomBytes } from 'node:crypto'
import { lchown, lstat, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Log } from '../domain/ports.js'
import { embeddedBinaries } from './binaries.js'
import {
  clusterPath,
  type DataDirectory,
  makePrivate,
  openDataDirectory,
  removeUnfinished,
} from './directory.js'
import { endLeftover } from './leftover.js'
import { acquireLock, socketPath } from './lock.js'
import { type Exit, type Supervised, supervise } from './supervisor.js'

export interface EmbeddedPostgresOptions {
  /** Directory of the cluster, its sockets and its lock; made when missing. */
  readonly dataDir: string
  /** Gets Postgres' own log lines at level debug. */
  readonly log: Log
  /** Server settings, which win over those of the launcher. */
  readonly settings?: Readonly<Record<string, string>>
  /** Directory with `initdb` and `postgres`, instead of the npm package. */
  readonly binDir?: string
}

export interface EmbeddedPostgres {
  /** Connection string of the database `bytes`, by a unix socket. */
  readonly uri: string
  /** Real path of the data directory. */
  readonly dataDir: string
  /** Shuts the server down, which disconnects its clients, and waits for its end. */
  stop(): Promise<void>
  /** Resolves when the server has ended, also when nobody asked it to; never rejects. */
  readonly exited: Promise<Exit & { readonly expected: boolean }>
}

/** Name of the database that is served. */
export const database = 'bytes'
const user = 'bytes'
const port = 5432

/** Milliseconds until a server that does not answer at all counts as failed. */
const answerTimeout = 30_000
/** Milliseconds that a server may take to recover from a crash. */
const recoveryTimeout = 600_000
/** Milliseconds for an orderly shutdown, after which the server is ended without a checkpoint. */
const shutdownTimeout = 60_000

const defaultSettings: Readonly<Record<string, string>> = {
  fsync: 'on',
  full_page_writes: 'on',
  timezone: 'UTC',
  log_timezone: 'UTC',
  cluster_name: 'bytes',
  logging_collector: 'off',
  log_destination: 'stderr',
}

/**
 * Starts a Postgres of our own: socket only, without a TCP port, reachable by this user and root.
 * The server does not outlive this process, whatever ends it. As root it runs as an unprivileged
 * user.
 * @throws Error when another process uses the data directory, when there are no binaries, or when
 *   the server does not start; the message ends with what the server wrote
 */
export async function startEmbeddedPostgres(
  options: EmbeddedPostgresOptions,
): Promise<EmbeddedPostgres> {
  const { log } = options
  const directory = await openDataDirectory(options.dataDir, log)
  const { path, account } = directory
  const releases: (() => Promise<void>)[] = []
  const release = async (): Promise<void> => {
    for (let next = releases.pop(); next !== undefined; next = releases.pop()) {
      // What cannot be cleaned up must not keep the lock from being released.
      await next().catch((error) => log.warn({ error: String(error) }, 'clean-up failed'))
    }
  }
  try {
    const lock = await acquireLock(join(path, 'lock'))
    releases.push(lock.release)
    const binDir = options.binDir ?? (await embeddedBinaries(account))
    const cluster = clusterPath(path)
    await endLeftover(cluster, account, log)
    await removeUnfinished(path)
    if (!(await exists(cluster))) await createCluster(directory, binDir, log)

    // Fresh for every start: Postgres takes the pid in an old socket's lock file for a live server
    // when that pid has been given to another process.
    const sockets = socketDirectory(path)
    await makePrivate(sockets, account)
    releases.push(() => rm(sockets, { recursive: true, force: true }))
    let holder: string | undefined
    const short = await socketPath(sockets, async (made) => {
      holder = made
      // The supervisor, which may outlive this process, removes it.
      if (account !== null) await lchown(made, account.uid, account.gid)
    })
    releases.push(short.remove)

    const settings: Record<string, string> = {
      ...defaultSettings,
      ...options.settings,
      listen_addresses: '',
      port: String(port),
      unix_socket_directories: short.path,
      unix_socket_permissions: '0700',
    }
    const server = supervise(
      [
        join(binDir, 'postgres'),
        '-D',
        cluster,
        ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
      ],
      { account, holder, onLine: (line) => log.debug({ line }, 'postgres') },
    )
    releases.push(() => shutDown(server, log))
    const uri = connectionString(short.path, database)
    await waitUntilReady(server, uri, connectionString(short.path, 'postgres'), log)

    let expected = false
    const exited = server.exited.then((exit) => {
      if (!expected) log.error({ ...exit }, 'the embedded Postgres has ended')
      return { ...exit, expected }
    })
    let stopped: Promise<void> | undefined
    const stop = (): Promise<void> => {
      expected = true
      stopped ??= release()
      return stopped
    }
    log.debug({ dataDir: path }, 'the embedded Postgres is ready')
    return { uri, dataDir: path, stop, exited }
  } catch (error) {
    await release()
    throw error
  }
}

async function shutDown(server: Supervised, log: Log): Promise<void> {
  server.interrupt()
  const timer = setTimeout(() => {
    log.warn({}, 'the embedded Postgres takes too long to shut down and is ended at once')
    server.quit()
  }, shutdownTimeout)
  await server.exited
  clearTimeout(timer)
}

/** Directory of the server's socket, inside the data directory. */
export function socketDirectory(dataDirectory: string): string {
  return join(dataDirectory, 'run')
}

/** Names every parameter that `pg` would otherwise take from `PG*` variables. */
export function connectionString(sockets: string, name: string): string {
  const host = encodeURIComponent(sockets)
  return `postgresql://${user}@localhost:${port}/${name}?host=${host}&sslmode=disable`
}

/** Makes the cluster under another name first, so that a half-made one is never taken for whole. */
async function createCluster(
  { path, account }: DataDirectory,
  binDir: string,
  log: Log,
): Promise<void> {
  log.info({ dataDir: path }, 'making a database')
  const unfinished = join(path, `init-${randomBytes(6).toString('hex')}`)
  await makePrivate(unfinished, account)
  try {
    const initdb = supervise(
      [
        join(binDir, 'initdb'),
        ...['-D', unfinished, '-U', user, '--encoding=UTF8', '--locale=C', '--data-checksums'],
        // The socket's directory lets in nobody but this user and root.
        ...['--auth-local=trust', '--auth-host=reject'],
      ],
      { account, onLine: (line) => log.debug({ line }, 'initdb') },
    )
    const { code, output } = await initdb.exited
    if (code !== 0) {
      throw new Error(`initdb failed in ${path} (BYTES_DB_URI avoids it):\n${output}`)
    }
    await rename(unfinished, clusterPath(path))
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true })
    throw error
  }
  const handle = await open(path, 'r')
  await handle.sync().finally(() => handle.close())
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null)) !== null
}

/** Waits until the database, which is made when missing, accepts connections. */
async function waitUntilReady(
  server: Supervised,
  uri: string,
  maintenanceUri: string,
  log: Log,
): Promise<void> {
  let exit: Exit | null = null
  void server.exited.then((result) => {
    exit = result
  })
  const started = Date.now()
  let recovering = false
  for (;;) {
    const problem = await query(uri, 'SELECT 1')
    if (problem === null) return
    if (exit !== null) throw new Error(`the embedded Postgres does not start:\n${server.output()}`)
    if (problem.code === '3D000') {
      // The database may already be there when this fails; the next round tells.
      await query(maintenanceUri, `CREATE DATABASE ${database}`)
    } else if (problem.code === '57P03' && !recovering && Date.now() - started > 2_000) {
      recovering = true
      log.info({}, 'the embedded Postgres is recovering from a crash')
    }
    if (Date.now() - started > (problem.code === '57P03' ? recoveryTimeout : answerTimeout)) {
      throw new Error(`the embedded Postgres does not answer:\n${server.output()}`, {
        cause: problem,
      })
    }
    await sleep(25)
  }
}

/** Runs a statement on a connection of its own. Null, or the error that it failed with. */
export async function query(
  uri: string,
  statement: string,
): Promise<(Error & { code?: string }) | null> {
  const client = new pg.Client({ connectionString: uri, connectionTimeoutMillis: 5_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query(statement)
    return null
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  } finally {
    await client.end().catch(() => {})
  }
}
