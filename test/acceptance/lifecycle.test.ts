/** The program as its operators see it: settings, start, stop, commands and log. */
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { exampleJob, login } from '../support/client.js'
import { createDatabase, dropDatabase } from '../support/postgres.js'
import { postgresProxy } from '../support/proxy.js'
import {
  PASSWORD,
  runProcess,
  SECRET,
  spawnProcess,
  type TestService,
  type TestStore,
  testStore,
  USERNAME,
} from '../support/service.js'
import {
  base64,
  eventually,
  jwt,
  openWire,
  query,
  rowCounts,
  send,
  untilHealthyAt,
} from './helpers.js'

const DB_PASSWORD = 'the-database-password'

let store: TestStore
let directory: string
const databases: string[] = []

beforeAll(async () => {
  store = await testStore()
  directory = await mkdtemp(join(tmpdir(), 'bytes-test-lifecycle-'))
})

afterAll(async () => {
  await store?.remove()
  for (const name of databases) await dropDatabase(inject('postgresUri'), name)
  await rm(directory, { recursive: true, force: true })
})

/** A database without tables. */
async function emptyDatabase(): Promise<string> {
  const name = `test_${randomBytes(8).toString('hex')}`
  databases.push(name)
  return createDatabase(inject('postgresUri'), name)
}

const tablesOf = async (uri: string): Promise<string[]> => {
  const rows = await query<{ name: string }>(
    uri,
    `SELECT table_name AS name FROM information_schema.tables
     WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1`,
  )
  return rows.map((row) => row.name)
}
const TABLES = [
  'blob',
  'boefje_meta',
  'evidence_record',
  'normalizer_meta',
  'outbox',
  'pending_hash',
  'raw_file',
  'signing_provider',
  'timestamp_token',
]

/** All that the service needs. */
const environment = (more: Record<string, string> = {}): Record<string, string> => ({
  BYTES_USERNAME: USERNAME,
  BYTES_PASSWORD: PASSWORD,
  BYTES_SECRET: SECRET,
  BYTES_DB_URI: store.databaseUri,
  BYTES_DATA_DIR: join(directory, 'data'),
  BYTES_PORT: '0',
  ...more,
})

/** The log of a service as objects; fails when a line is none. */
const linesOf = (log: string): Record<string, unknown>[] =>
  log
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))

describe('settings', () => {
  it('are refused with all problems in one message, and no secret in it', async () => {
    const result = await runProcess([], {
      BYTES_PORT: 'eighty',
      BYTES_DB_URI: 'mysql://user:hunter2@host/database',
      QUEUE_URI: 'hunter3',
      BYTES_SECRET: 'hunter4',
      BYTES_FILE_PERMISSION: '999',
      BYTES_FOLDER_PERMISSION: '640',
      BYTES_HASHING_ALGORITHM: 'md5',
      BYTES_ACCESS_TOKEN_EXPIRE_MINUTES: '0',
      BYTES_MAX_BODY_BYTES: '-1',
      BYTES_MIGRATE_ON_START: 'perhaps',
    })
    expect(result.code).toBe(78)
    expect(result.stdout).toBe('')
    const lines = result.stderr.split('\n').filter((line) => line.startsWith('  - '))
    expect(lines.map((line) => /^ {2}- (\w+): /.exec(line)?.[1]).sort()).toEqual([
      'BYTES_ACCESS_TOKEN_EXPIRE_MINUTES',
      'BYTES_DB_URI',
      'BYTES_FILE_PERMISSION',
      'BYTES_FOLDER_PERMISSION',
      'BYTES_HASHING_ALGORITHM',
      'BYTES_MAX_BODY_BYTES',
      'BYTES_MIGRATE_ON_START',
      'BYTES_PASSWORD',
      'BYTES_PORT',
      'BYTES_USERNAME',
      'QUEUE_URI',
    ])
    expect(result.stderr).toContain('"eighty"')
    expect(result.stderr).not.toMatch(/hunter/)
    expect(result.stderr).not.toMatch(/\n\s+at /)
  })

  it('that a database needs are all named when they are missing', async () => {
    const result = await runProcess([], { BYTES_DB_URI: store.databaseUri, BYTES_PASSWORD: '' })
    expect(result.code).toBe(78)
    for (const name of ['BYTES_USERNAME', 'BYTES_PASSWORD', 'BYTES_SECRET']) {
      expect(result.stderr).toContain(`${name}: not set`)
    }
  })

  it('with secrets may come from files', async () => {
    const files = {
      BYTES_PASSWORD: 'from a file',
      BYTES_SECRET: 'another secret from a file',
      BYTES_DB_URI: store.databaseUri,
    }
    const named: Record<string, string> = {}
    for (const [name, text] of Object.entries(files)) {
      named[`${name}_FILE`] = join(directory, name)
      await writeFile(join(directory, name), `${text}\n`)
    }
    const service = await store.start({
      ...named,
      BYTES_PASSWORD: '',
      BYTES_SECRET: '',
      BYTES_DB_URI: '',
    })
    const status = async (password: string) => {
      const body = new URLSearchParams({ username: USERNAME, password })
      return (await fetch(`${service.url}/token`, { method: 'POST', body })).status
    }
    expect([await status(files.BYTES_PASSWORD), await status(PASSWORD)]).toEqual([200, 401])
    const token = jwt({ sub: USERNAME }, { secret: files.BYTES_SECRET })
    const headers = { authorization: `Bearer ${token}` }
    expect((await send(service.url, { path: '/bytes/mime_types', headers })).status).toBe(200)
    expect(await service.stop()).toBe(0)
  })

  it('and files that cannot be used are problems', async () => {
    const secret = join(directory, 'hunter5')
    await writeFile(secret, 'hunter6')
    const empty = join(directory, 'empty')
    await writeFile(empty, '\n')
    const result = await runProcess([], {
      BYTES_DB_URI: store.databaseUri,
      BYTES_USERNAME: USERNAME,
      BYTES_SECRET: 'hunter7',
      BYTES_SECRET_FILE: secret,
      BYTES_PASSWORD_FILE: join(directory, 'nowhere'),
      QUEUE_URI_FILE: empty,
    })
    expect(result.code).toBe(78)
    expect(result.stderr).toMatch(/BYTES_SECRET: BYTES_SECRET_FILE is set as well/)
    expect(result.stderr).toMatch(/BYTES_PASSWORD_FILE: .*nowhere.* \(ENOENT\)/)
    expect(result.stderr).toMatch(/QUEUE_URI_FILE: .* is empty/)
    expect(result.stderr).not.toMatch(/hunter[67]/)
    expect(result.stderr.match(/^ {2}- /gm)?.length).toBe(3)
  })
})

describe('SIGTERM', () => {
  /** Half of an upload is sent; resolves when the service has begun to read it. */
  const halfAnUpload = async (service: TestService) => {
    const client = await login(service.url)
    const job = exampleJob()
    const wire = await openWire(service.url)
    const body = JSON.stringify(job)
    const half = body.length / 2
    wire.write(
      'POST /bytes/boefje_meta HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n' +
        `Authorization: Bearer ${client.token}\r\nContent-Length: ${body.length}\r\n\r\n`,
    )
    await wire.received(/^HTTP\/1\.1 100 /)
    wire.write(body.slice(0, half))
    return { wire, job, rest: body.slice(half) }
  }

  const refusesConnections = (url: string) =>
    eventually(
      () =>
        openWire(url).then(
          ({ socket }) => {
            socket.destroy()
            return false
          },
          (error: NodeJS.ErrnoException) => error.code === 'ECONNREFUSED',
        ),
      'connections are refused',
    )

  it.each(['SIGTERM', 'SIGINT'] as const)(
    '(%s) lets a request in flight finish',
    async (signal) => {
      const service = await store.start()
      const { wire, job, rest } = await halfAnUpload(service)
      const closed = once(service.process, 'close')
      service.process.kill(signal)
      await refusesConnections(service.url)
      expect(service.process.exitCode).toBeNull()
      wire.write(rest)
      expect(await wire.ended).toMatch(/HTTP\/1\.1 201 .*\{"status":"success"\}/s)
      expect((await closed)[0]).toBe(0)
      expect(linesOf(service.log()).map((line) => line.msg)).toEqual(
        expect.arrayContaining(['stopping', 'stopped']),
      )
      const rows = await query(store.databaseUri, 'SELECT 1 FROM boefje_meta WHERE id = $1', [
        job.id,
      ])
      expect(rows.length).toBe(1)
    },
  )

  it('ends a service with idle connections at once', async () => {
    const service = await store.start({ BYTES_SHUTDOWN_TIMEOUT_SECONDS: '86400' })
    const used = await openWire(service.url)
    used.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n')
    await used.received(/"results"/)
    expect(await service.stop()).toBe(0)
    await used.ended
  })

  it('cuts what never ends when the time is over', async () => {
    const service = await store.start({ BYTES_SHUTDOWN_TIMEOUT_SECONDS: '1' })
    const { wire, job } = await halfAnUpload(service)
    const silent = await openWire(service.url)
    expect(await service.stop()).toBe(0)
    expect(await wire.ended).not.toMatch(/ 201 /)
    await silent.ended
    expect(service.log()).toContain('requests in flight were cut')
    const rows = await query(store.databaseUri, 'SELECT 1 FROM boefje_meta WHERE id = $1', [job.id])
    expect(rows.length).toBe(0)
  })

  it('ends with an upload whose answer was given stored', async () => {
    const service = await store.start({ QUEUE_URI: inject('brokerUris').lifecycle })
    const client = await login(service.url)
    const jobs = await Promise.all(Array.from({ length: 10 }, () => client.job('stopped')))
    const uploads = jobs.map((job) =>
      client.upload(job, [{ name: 'n', content: job }]).then(
        (ids) => ids.n,
        () => undefined,
      ),
    )
    await Promise.race(uploads)
    expect(await service.stop()).toBe(0)
    const ids = (await Promise.all(uploads)).filter((id) => id !== undefined)
    expect(ids.length).toBeGreaterThan(0)
    const rows = await query(
      store.databaseUri,
      'SELECT 1 FROM raw_file WHERE id = ANY($1::uuid[])',
      [ids],
    )
    expect(rows.length).toBe(ids.length)
  })
})

describe('a database that is not there yet', () => {
  it('is waited for', async () => {
    const proxy = await postgresProxy(store.databaseUri)
    const child = spawnProcess(
      [],
      environment({
        BYTES_DB_URI: proxy.uri(DB_PASSWORD),
        BYTES_LOGGING_FORMAT: 'json',
      }),
    )
    let log = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk) => {
        log += chunk
      })
    }
    const closed = once(child, 'close')
    try {
      await eventually(() => log.includes('\n'), 'something is logged')
      await new Promise((resolve) => setTimeout(resolve, 2000))
      expect(linesOf(log)).toMatchObject([
        { level: 'warn', msg: 'the database does not answer yet: waiting for it' },
      ])
      expect(child.exitCode).toBeNull()
      await proxy.open()
      const url = await eventually(() => /"url":"([^"]+)"/.exec(log)?.[1], 'it serves')
      await untilHealthyAt(url)

      await proxy.close()
      const away = await send(url, { path: '/health' })
      expect([away.status, JSON.parse(away.text).healthy]).toEqual([503, false])
      await proxy.open()
      await untilHealthyAt(url)
      child.kill('SIGTERM')
      expect((await closed)[0]).toBe(0)
      expect(log).not.toContain(DB_PASSWORD)
      linesOf(log)
    } finally {
      child.kill('SIGKILL')
      await proxy.close()
    }
  })

  it('is given up after the timeout, with a reason', async () => {
    const nowhere = await postgresProxy(store.databaseUri)
    const started = Date.now()
    for (const [args, format] of [
      [[], 'json'],
      [['migrate'], 'text'],
    ] as const) {
      const { code, stdout, stderr } = await runProcess(
        args,
        environment({
          BYTES_DB_URI: nowhere.uri(DB_PASSWORD),
          BYTES_DB_CONNECT_TIMEOUT_SECONDS: '1',
          BYTES_LOGGING_FORMAT: format,
        }),
      )
      expect([args, code]).toEqual([args, 1])
      expect(stdout + stderr).toContain('the database cannot be reached')
      expect(stdout + stderr).not.toContain(DB_PASSWORD)
      if (format === 'json') {
        expect(linesOf(stdout + stderr).at(-1)).toMatchObject({
          level: 'error',
          msg: 'the service could not start',
          reason: 'the database cannot be reached',
        })
      }
    }
    expect(Date.now() - started).toBeGreaterThanOrEqual(2000)
  })

  it('does not hold up a stop', async () => {
    const nowhere = await postgresProxy(store.databaseUri)
    const uri = nowhere.uri(DB_PASSWORD)
    const child = spawnProcess([], environment({ BYTES_DB_URI: uri, BYTES_LOGGING_FORMAT: 'json' }))
    const closed = once(child, 'close')
    let log = ''
    child.stdout?.on('data', (chunk) => {
      log += chunk
    })
    await eventually(() => log.includes('waiting for it'), 'it waits')
    child.kill('SIGTERM')
    const ended = await Promise.race([
      closed.then(() => 'ended'),
      new Promise((resolve) => setTimeout(resolve, 20_000, 'still waits')),
    ])
    child.kill('SIGKILL')
    const [code] = await closed
    expect([ended, code]).toEqual(['ended', 0])
    expect(linesOf(log).at(-1)).toMatchObject({ level: 'info', msg: 'stopped' })
  })
})

describe('what no waiting can cure ends the start', () => {
  it.each([
    [
      'a database that does not exist',
      () => ({ BYTES_DB_URI: missingDatabase() }),
      /does not exist/,
    ],
    ['a port that is taken', async () => ({ BYTES_PORT: await takenPort() }), /EADDRINUSE/],
    ['a data directory that is a file', async () => ({ BYTES_DATA_DIR: await aFile() }), /storage/],
  ])('%s', async (_what, settings, reason) => {
    const { code, stdout, stderr } = await runProcess(
      [],
      environment({ BYTES_LOGGING_FORMAT: 'json', ...(await settings()) }),
    )
    expect(code).toBe(1)
    const last = linesOf(stdout + stderr).at(-1)
    expect(last).toMatchObject({ level: 'error', msg: 'the service could not start' })
    expect(JSON.stringify(last)).toMatch(reason)
  })

  const missingDatabase = (): string => {
    const uri = new URL(store.databaseUri)
    uri.pathname = '/there_is_no_such_database'
    return uri.href
  }
  const takenPort = async (): Promise<string> => {
    const service = await store.start()
    return new URL(service.url).port
  }
  const aFile = async (): Promise<string> => {
    const path = join(directory, 'a-file')
    await writeFile(path, '')
    return path
  }
})

describe('an empty database', () => {
  it('is migrated once by two services that start at the same time', async () => {
    const uri = await emptyDatabase()
    const started = await Promise.all(
      Array.from({ length: 3 }, () => store.start({ BYTES_DB_URI: uri })),
    )
    expect(await tablesOf(uri)).toEqual(expect.arrayContaining(TABLES))
    const [first, ...others] = started
    const client = await login(first?.url ?? '')
    const job = await client.job()
    for (const other of others) {
      const same = await login(other.url)
      expect(await same.getJson(`/bytes/boefje_meta/${job}`)).toMatchObject({ id: job })
    }
    for (const service of started) expect(await service.stop()).toBe(0)
  })

  it('stays empty without BYTES_MIGRATE_ON_START', async () => {
    const uri = await emptyDatabase()
    const service = await store.start({ BYTES_DB_URI: uri, BYTES_MIGRATE_ON_START: 'false' })
    expect(await tablesOf(uri)).toEqual([])
    const client = await login(service.url)
    const answer = await client.postJson('/bytes/boefje_meta', exampleJob())
    expect(answer.status).toBeGreaterThanOrEqual(500)
    expect(answer.headers.get('content-type')).toBe('application/json')
    expect(await answer.text()).not.toMatch(/relation|boefje_meta/)
    expect(await tablesOf(uri)).toEqual([])
    expect(linesOf(service.log())).toContainEqual(
      expect.objectContaining({
        level: 'error',
        msg: 'the database cannot be used as it is',
        reason: expect.stringContaining('run `bytes migrate`'),
      }),
    )

    const { code, stdout } = await runProcess(['migrate'], environment({ BYTES_DB_URI: uri }))
    expect([code, stdout]).toEqual([0, expect.stringContaining('up to date')])
    expect(await tablesOf(uri)).toEqual(expect.arrayContaining(TABLES))
    expect((await client.postJson('/bytes/boefje_meta', exampleJob())).status).toBe(201)
    expect((await runProcess(['migrate'], environment({ BYTES_DB_URI: uri }))).code).toBe(0)
    expect((await rowCounts(uri)).boefje_meta).toBe(1)
    expect(await service.stop()).toBe(0)
  })
})

describe('commands', () => {
  it('migrate makes no database where none is', async () => {
    const dataDir = join(store.dataDir, 'elsewhere')
    const { code, stdout, stderr } = await runProcess(['migrate'], { BYTES_DATA_DIR: dataDir })
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toContain(`there is no database in ${dataDir}: set BYTES_DB_URI`)
    expect(await readdir(store.dataDir)).not.toContain('elsewhere')
  })

  it.each(['--help', '-h'])('%s tells all of them', async (flag) => {
    const { code, stdout, stderr } = await runProcess([flag], {})
    expect([code, stderr]).toEqual([0, ''])
    for (const word of ['serve', 'migrate', 'sql', '--version']) expect(stdout).toContain(word)
  })

  it('--version', async () => {
    const { code, stdout } = await runProcess(['--version'], {})
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+\n$/)])
  })

  it('sql prints what makes the tables, without settings and without a database', async () => {
    const { code, stdout, stderr } = await runProcess(['sql'], {})
    expect([code, stderr]).toEqual([0, ''])
    const uri = await emptyDatabase()
    await query(uri, stdout)
    expect(await tablesOf(uri)).toEqual(TABLES)
  })

  it('sql prints a part', async () => {
    const all = (await runProcess(['sql'], {})).stdout
    const after = (await runProcess(['sql', '--from', '0'], {})).stdout
    expect((await runProcess(['sql', '--to', '0'], {})).stdout).toBe(
      after === '' ? all : all.slice(0, all.indexOf(after) - 1),
    )
    const unknown = await runProcess(['sql', '--to', 'nothing'], {})
    expect([unknown.code, unknown.stdout]).toEqual([64, ''])
    expect(unknown.stderr).toMatch(/there is no migration "nothing"/)
    expect((await runProcess(['sql', '--from', '1', '--to', '0'], {})).code).toBe(64)
  })

  it.each([['nonsense'], ['--nonsense'], ['serve', 'more'], ['sql', '--from']])(
    '%s %s is a mistake',
    async (...args) => {
      const { code, stdout, stderr } = await runProcess(
        args.filter((arg) => arg !== undefined),
        {},
      )
      expect([code, stdout]).toEqual([64, ''])
      expect(stderr).toMatch(/^bytes: /)
      expect(stderr).not.toMatch(/\n\s+at /)
    },
  )
})

describe('the log', () => {
  it('is a JSON object a line and holds no secret, whatever goes wrong', async () => {
    const brokerPassword = 'the-broker-password'
    const broker = new URL(inject('brokerUris').lifecycle)
    broker.password = brokerPassword
    const proxy = await postgresProxy(store.databaseUri)
    await proxy.open()
    const service = await store.start({
      BYTES_DB_URI: proxy.uri(DB_PASSWORD),
      QUEUE_URI: broker.href,
      BYTES_LOGGING_LEVEL: 'debug',
    })
    const client = await login(service.url)
    const secrets = [
      PASSWORD,
      encodeURIComponent(PASSWORD),
      SECRET,
      DB_PASSWORD,
      brokerPassword,
      client.token,
      base64(`${USERNAME}:${PASSWORD}`),
    ]
    const basic = base64(`${USERNAME}:wrong-password`)
    const confidential = `confidential-${randomUUID()}`
    const job = exampleJob({ arguments: { key: confidential }, input_ooi: confidential })
    const useAll = async (): Promise<void> => {
      await client.postJson('/bytes/boefje_meta', job)
      await client.postJson('/bytes/boefje_meta', job)
      await client.postJson('/bytes/boefje_meta', `{"broken": "${confidential}`)
      const file = { name: confidential, content: base64(confidential), tags: [confidential] }
      await client.postJson(`/bytes/raw?boefje_meta_id=${job.id}`, { files: [file] })
      await client.request(`/bytes/raw?boefje_meta_id=${job.id}`)
      const headers = { authorization: `Basic ${basic}` }
      await send(service.url, { path: '/metrics', headers })
      await send(service.url, { path: '/health' })
      await send(service.url, { path: '/nothing' })
      const body = new URLSearchParams({ username: USERNAME, password: 'wrong-password' })
      await fetch(`${service.url}/token`, { method: 'POST', body })
    }
    await useAll()
    await proxy.close()
    job.id = randomUUID()
    await useAll()
    await eventually(() => service.log().includes('no connection to the broker'), 'it was refused')
    await proxy.open()
    await eventually(
      async () => (await send(service.url, { path: '/health' })).status === 200,
      'the database is used again',
    )
    const gone = openWire(service.url).then(({ socket, write }) => {
      write('GET / HTTP/1.1\r\nbroken\r\n\r\n')
      socket.end()
    })
    await gone
    expect(await service.stop()).toBe(0)
    await proxy.close()

    const log = service.log()
    const lines = linesOf(log)
    expect(lines.length).toBeGreaterThan(20)
    for (const line of lines) {
      expect(line).toMatchObject({
        level: expect.stringMatching(/^(debug|info|warn|error)$/),
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        msg: expect.any(String),
      })
    }
    expect(lines.some((line) => line.status === 503)).toBe(true)
    for (const secret of [...secrets, basic, 'wrong-password', confidential]) {
      expect(log.includes(secret) ? log.slice(log.indexOf(secret) - 300).slice(0, 600) : '').toBe(
        '',
      )
    }
  })
})
