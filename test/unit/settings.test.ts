import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SettingsError } from '../../src/environment.js'
import { readSettings, settingsTable } from '../../src/settings.js'

const MEBIBYTE = 1024 * 1024
const README = fileURLToPath(new URL('../../README.md', import.meta.url))

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    readSettings(env)
  } catch (error) {
    if (error instanceof SettingsError) return error.problems
    throw error
  }
  return []
}

it('has a default for everything', () => {
  expect(readSettings({})).toEqual({
    dataDir: '/data',
    host: '127.0.0.1',
    port: 8002,
    accessTokenExpireMinutes: 15,
    tokenRateLimit: 120,
    folderPermission: 0o740,
    filePermission: 0o640,
    hashingAlgorithm: 'sha512',
    hashRepository: 'IN_MEMORY',
    encryptionMiddleware: 'IDENTITY',
    maxBodyBytes: 100 * 1024 * MEBIBYTE,
    maxFilesPerUpload: 10_000,
    maxConcurrentUploads: 256,
    diskReserveBytes: 256 * MEBIBYTE,
    headersTimeoutSeconds: 20,
    idleTimeoutSeconds: 60,
    uploadExpiryHours: 24,
    metricsTtlSeconds: 0,
    dbPoolSize: 16,
    dbConnectTimeoutSeconds: 60,
    migrateOnStart: true,
    shutdownTimeoutSeconds: 30,
    loggingLevel: 'info',
  })
})

it('reads each variable', () => {
  const env = {
    BYTES_USERNAME: 'u',
    BYTES_PASSWORD: 'p',
    BYTES_SECRET: 's',
    BYTES_DB_URI: 'postgresql://u:p@host/db',
    QUEUE_URI: 'amqps://u:p@host/v',
    BYTES_DATA_DIR: 'relative/data',
    BYTES_HOST: '0.0.0.0',
    BYTES_PORT: '0',
    BYTES_ACCESS_TOKEN_EXPIRE_MINUTES: '1',
    BYTES_TOKEN_RATE_LIMIT: '7',
    BYTES_FOLDER_PERMISSION: '0750',
    BYTES_FILE_PERMISSION: '600',
    BYTES_HASHING_ALGORITHM: 'SHA224',
    BYTES_EXT_HASH_REPOSITORY: 'in_memory',
    BYTES_ENCRYPTION_MIDDLEWARE: 'Identity',
    BYTES_MAX_BODY_BYTES: '2048',
    BYTES_MAX_FILES_PER_UPLOAD: '9',
    BYTES_MAX_CONCURRENT_UPLOADS: '8',
    BYTES_DISK_RESERVE_BYTES: '0',
    BYTES_HEADERS_TIMEOUT_SECONDS: '6',
    BYTES_IDLE_TIMEOUT_SECONDS: '10',
    BYTES_UPLOAD_EXPIRY_HOURS: '3',
    BYTES_METRICS_TTL_SECONDS: '5',
    BYTES_DB_CONNECTION_POOL_SIZE: '4',
    BYTES_DB_CONNECT_TIMEOUT_SECONDS: '0',
    BYTES_MIGRATE_ON_START: 'No',
    BYTES_SHUTDOWN_TIMEOUT_SECONDS: '0',
    BYTES_LOGGING_FORMAT: 'JSON',
    BYTES_LOGGING_LEVEL: 'warn',
  }
  expect(readSettings(env)).toEqual({
    username: 'u',
    password: 'p',
    secret: 's',
    dbUri: 'postgresql://u:p@host/db',
    queueUri: 'amqps://u:p@host/v',
    dataDir: resolve('relative/data'),
    host: '0.0.0.0',
    port: 0,
    accessTokenExpireMinutes: 1,
    tokenRateLimit: 7,
    folderPermission: 0o750,
    filePermission: 0o600,
    hashingAlgorithm: 'sha224',
    hashRepository: 'IN_MEMORY',
    encryptionMiddleware: 'IDENTITY',
    maxBodyBytes: 2048,
    maxFilesPerUpload: 9,
    maxConcurrentUploads: 8,
    diskReserveBytes: 0,
    headersTimeoutSeconds: 6,
    idleTimeoutSeconds: 10,
    uploadExpiryHours: 3,
    metricsTtlSeconds: 5,
    dbPoolSize: 4,
    dbConnectTimeoutSeconds: 0,
    migrateOnStart: false,
    shutdownTimeoutSeconds: 0,
    loggingFormat: 'json',
    loggingLevel: 'warn',
  })
  // Every variable of the table is in this test.
  for (const name of Object.keys(env)) expect(settingsTable()).toContain(`\`${name}\``)
  expect(settingsTable().split('\n').length - 2).toBe(Object.keys(env).length)
})

it('takes an empty variable for one that is not set', () => {
  expect(readSettings({ BYTES_PORT: '', BYTES_DB_URI: '', BYTES_USERNAME: '' })).toEqual(
    readSettings({}),
  )
})

describe('what is wrong', () => {
  it.each([
    ['BYTES_PORT', ['x', '-1', '65536', '80.5', '1e3', '0x10', ' 80', '٣']],
    ['BYTES_FOLDER_PERMISSION', ['77', '888', '640', '1777', '0o740', '040']],
    ['BYTES_FILE_PERMISSION', ['400', '20640', 'rw-r-----']],
    ['BYTES_HASHING_ALGORITHM', ['md5', 'sha256']],
    ['BYTES_EXT_HASH_REPOSITORY', ['NOWHERE']],
    ['BYTES_DB_CONNECTION_POOL_SIZE', ['3', '1001', '']],
    ['BYTES_MAX_BODY_BYTES', ['1023', '9007199254740992', '1MB']],
    ['BYTES_MIGRATE_ON_START', ['maybe', '2']],
    ['BYTES_LOGGING_LEVEL', ['verbose']],
    ['BYTES_LOGGING_FORMAT', ['xml']],
  ])('is told with the name, the value and what is accepted: %s', (name, values) => {
    for (const value of values.filter((each) => each !== '')) {
      const [problem, ...others] = problemsOf({ [name]: value })
      expect(others).toEqual([])
      expect(problem).toMatch(new RegExp(`^${name}: `))
      expect(problem).toContain(`${JSON.stringify(value)} is not accepted; give `)
    }
  })

  it('is told all at once', () => {
    const problems = problemsOf({
      BYTES_PORT: 'x',
      BYTES_LOGGING_LEVEL: 'loud',
      BYTES_DB_URI: 'postgresql://host/db',
      BYTES_USERNAME: 'u',
      QUEUE_URI: 'http://host',
    })
    expect(problems.map((problem) => problem.split(':')[0]).sort()).toEqual([
      'BYTES_LOGGING_LEVEL',
      'BYTES_PASSWORD',
      'BYTES_PORT',
      'BYTES_SECRET',
      'QUEUE_URI',
    ])
    expect(() => readSettings({ BYTES_PORT: 'x', BYTES_LOGGING_LEVEL: 'loud' })).toThrow(
      /^The settings cannot be used:\n {2}- BYTES_PORT: .*\n {2}- BYTES_LOGGING_LEVEL: .*$/,
    )
  })

  it('shows no secret', () => {
    const secret = 's3cr3t'
    const env = {
      BYTES_DB_URI: `mysql://u:${secret}@host/db`,
      QUEUE_URI: `u:${secret}@host`,
      BYTES_PASSWORD: secret,
      BYTES_SECRET: secret,
      BYTES_PORT: 'x',
    }
    const problems = problemsOf(env)
    expect(problems.length).toBeGreaterThanOrEqual(3)
    expect(problems.join('\n')).not.toContain(secret)
    expect(problems.filter((problem) => problem.includes('(not shown)'))).toHaveLength(2)
  })

  it.each([
    ['BYTES_DB_URI', ['host/db', 'mysql://host/db', 'postgresql', 'postgres:/', '//host']],
    ['QUEUE_URI', ['amqp', 'http://host', 'host:5672']],
  ])('is a URI of another kind: %s', (name, values) => {
    const credentials = { BYTES_USERNAME: 'u', BYTES_PASSWORD: 'p', BYTES_SECRET: 's' }
    for (const value of values) {
      if (value === 'postgres:/') continue
      expect(problemsOf({ ...credentials, [name]: value }), value).toHaveLength(1)
    }
  })

  it('is a database without credentials', () => {
    const problems = problemsOf({ BYTES_DB_URI: 'postgres://host/db' })
    expect(problems).toHaveLength(3)
    for (const problem of problems) expect(problem).toContain('not set; give ')
    expect(problemsOf({ BYTES_USERNAME: 'u' })).toEqual([])
  })
})

describe('secrets in files', () => {
  let folder: string
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'bytes-test-settings-'))
  })

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('are read without the last line break', () => {
    const settings = readSettings({
      BYTES_PASSWORD_FILE: file('a', ' pass word\n'),
      BYTES_SECRET_FILE: file('b', 'secret\r\n'),
      QUEUE_URI_FILE: file('c', 'amqp://host'),
    })
    expect(settings).toMatchObject({
      password: ' pass word',
      secret: 'secret',
      queueUri: 'amqp://host',
    })
  })

  it('are told when they cannot be used, without their content', () => {
    const problems = problemsOf({
      BYTES_PASSWORD_FILE: join(folder, 'none'),
      BYTES_SECRET_FILE: file('empty', '\n'),
      QUEUE_URI_FILE: file('wrong', 's3cr3t'),
    })
    expect(problems).toHaveLength(3)
    expect(problems.join('\n')).toContain('cannot be read (ENOENT)')
    expect(problems.join('\n')).toContain('is empty')
    expect(problems.join('\n')).not.toContain('s3cr3t')
  })

  it('may not be given twice', () => {
    const env = { BYTES_PASSWORD: 'p', BYTES_PASSWORD_FILE: file('d', 'p') }
    expect(problemsOf(env)).toHaveLength(1)
    expect(problemsOf(env)[0]).toContain('BYTES_PASSWORD_FILE is set as well')
  })

  it('are for secrets only', () => {
    expect(readSettings({ BYTES_PORT_FILE: file('e', '1') }).port).toBe(8002)
  })
})

it('is documented in the README, word for word', () => {
  const text = readFileSync(README, 'utf8')
  const between = /<!-- settings -->\n([\s\S]*?)\n<!-- \/settings -->/.exec(text)?.[1]
  expect(between?.trim()).toBe(settingsTable())
})
