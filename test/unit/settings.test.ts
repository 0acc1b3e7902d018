import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import nacl from 'tweetnacl'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SettingsError } from '../../src/environment.js'
import { readSettings, settingsTable } from '../../src/settings.js'

const MEBIBYTE = 1024 * 1024
const README = fileURLToPath(new URL('../../README.md', import.meta.url))

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
const pair = nacl.box.keyPair()
const publicKey = base64(pair.publicKey)
const privateKey = base64(pair.secretKey)
const older = [nacl.box.keyPair(), nacl.box.keyPair()].map(({ secretKey }) => secretKey)

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
    pastebinUrl: 'https://pastebin.com',
    timestampMinIntervalMs: 0,
    timestampTimeoutSeconds: 10,
    timestampMaxSkewSeconds: 300,
    timestampBatchSize: 1,
    timestampBatchSeconds: 10,
    timestampMaxAgeSeconds: 3600,
    encryptionMiddleware: 'IDENTITY',
    maxBodyBytes: 100 * 1024 * MEBIBYTE,
    maxFilesPerUpload: 10_000,
    maxConcurrentUploads: 256,
    diskReserveBytes: 256 * MEBIBYTE,
    headersTimeoutSeconds: 20,
    idleTimeoutSeconds: 60,
    keepAliveTimeoutSeconds: 75,
    uploadExpiryHours: 24,
    maxResumableUploads: 10_000,
    scrubBytesPerSecond: 4 * MEBIBYTE,
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
    BYTES_EXT_HASH_REPOSITORY: 'rfc3161',
    BYTES_PASTEBIN_API_DEV_KEY: 'k',
    BYTES_PASTEBIN_URL: 'http://127.0.0.1:1/paste',
    BYTES_RFC3161_PROVIDER: 'https://a.example/tsr, http://b.example:3161/?policy=1,',
    BYTES_RFC3161_CERT_FILE: 'some/anchors.pem',
    BYTES_RFC3161_MIN_INTERVAL_MS: '1500',
    BYTES_RFC3161_TIMEOUT_SECONDS: '3',
    BYTES_RFC3161_MAX_CLOCK_SKEW_SECONDS: '60',
    BYTES_TIMESTAMP_BATCH_SIZE: '1000',
    BYTES_TIMESTAMP_BATCH_SECONDS: '2',
    BYTES_TIMESTAMP_MAX_AGE_SECONDS: '60',
    BYTES_ENCRYPTION_MIDDLEWARE: 'Nacl_SealBox',
    BYTES_PUBLIC_KEY_B64: publicKey,
    BYTES_PRIVATE_KEY_B64: privateKey,
    BYTES_OLD_PRIVATE_KEYS_B64: older.map(base64).join(' ,\n'),
    BYTES_MAX_BODY_BYTES: '2048',
    BYTES_MAX_FILES_PER_UPLOAD: '9',
    BYTES_MAX_CONCURRENT_UPLOADS: '8',
    BYTES_DISK_RESERVE_BYTES: '0',
    BYTES_HEADERS_TIMEOUT_SECONDS: '6',
    BYTES_KEEP_ALIVE_TIMEOUT_SECONDS: '7',
    BYTES_IDLE_TIMEOUT_SECONDS: '10',
    BYTES_UPLOAD_EXPIRY_HOURS: '3',
    BYTES_MAX_RESUMABLE_UPLOADS: '7',
    BYTES_SCRUB_BYTES_PER_SECOND: '0',
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
    hashRepository: 'RFC3161',
    pastebinKey: 'k',
    pastebinUrl: 'http://127.0.0.1:1/paste',
    timestampProviders: ['https://a.example/tsr', 'http://b.example:3161/?policy=1'],
    timestampAnchors: resolve('some/anchors.pem'),
    timestampMinIntervalMs: 1500,
    timestampTimeoutSeconds: 3,
    timestampMaxSkewSeconds: 60,
    timestampBatchSize: 1000,
    timestampBatchSeconds: 2,
    timestampMaxAgeSeconds: 60,
    encryptionMiddleware: 'NACL_SEALBOX',
    publicKey: pair.publicKey,
    privateKey: pair.secretKey,
    oldPrivateKeys: older,
    maxBodyBytes: 2048,
    maxFilesPerUpload: 9,
    maxConcurrentUploads: 8,
    diskReserveBytes: 0,
    headersTimeoutSeconds: 6,
    idleTimeoutSeconds: 10,
    keepAliveTimeoutSeconds: 7,
    uploadExpiryHours: 3,
    maxResumableUploads: 7,
    scrubBytesPerSecond: 0,
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

describe('keys', () => {
  const names = {
    public: 'BYTES_PUBLIC_KEY_B64',
    private: 'BYTES_PRIVATE_KEY_B64',
    old: 'BYTES_OLD_PRIVATE_KEYS_B64',
  }
  const sealed = { BYTES_ENCRYPTION_MIDDLEWARE: 'NACL_SEALBOX' }

  it('may be set without encryption, to read what was encrypted before', () => {
    expect(readSettings({ [names.public]: publicKey, [names.private]: privateKey })).toMatchObject({
      encryptionMiddleware: 'IDENTITY',
      privateKey: pair.secretKey,
    })
    expect(readSettings({ [names.old]: privateKey }).oldPrivateKeys).toEqual([pair.secretKey])
  })

  it('are complete with the public key: such a node writes only', () => {
    const settings = readSettings({ ...sealed, [names.public]: publicKey })
    expect(settings.publicKey).toEqual(pair.publicKey)
    expect(settings.privateKey).toBeUndefined()
  })

  it('may be one old one after the other, with any white space', () => {
    const [a = '', b = ''] = older.map(base64)
    for (const text of [`${a},${b}`, ` ${a} , ${b},\n`, `${a}\r\n${b}`]) {
      expect(readSettings({ [names.old]: text }).oldPrivateKeys, text).toEqual(older)
    }
    expect(readSettings({ [names.old]: ' , ' }).oldPrivateKeys).toEqual([])
  })

  const short = base64(pair.secretKey.subarray(1))
  const wrong = [
    short,
    base64(new Uint8Array(33)),
    privateKey.slice(0, -1),
    `${privateKey}\n=`,
    `${privateKey.slice(0, -2)}!=`,
    `${privateKey.slice(0, 20)} ${privateKey.slice(20)}`,
    pair.secretKey.toString(),
    Buffer.from(pair.secretKey).toString('hex'),
  ]
  it.each(Object.values(names))('are 32 bytes in base64, and never shown: %s', (name) => {
    for (const text of wrong) {
      const problems = problemsOf({ [names.public]: publicKey, [name]: text })
      expect(problems, text).toHaveLength(1)
      expect(problems[0]).toMatch(new RegExp(`^${name}: its value \\(not shown\\) is not accepted`))
      for (const word of text.split(/\s/)) expect(problems[0]).not.toContain(word)
    }
    expect(problemsOf({ [name]: short })[0]).toContain('32 bytes in base64, and not 31')
  })

  it('are one pair', () => {
    const problems = problemsOf({
      [names.public]: publicKey,
      [names.private]: base64(nacl.box.keyPair().secretKey),
    })
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatch(/^BYTES_PRIVATE_KEY_B64: does not belong to BYTES_PUBLIC_KEY_B64/)
    expect(problemsOf({ [names.public]: privateKey, [names.private]: publicKey })).toHaveLength(1)
    expect(problems.join()).not.toContain(publicKey)
  })

  it('are needed for encryption, and the public one for the private one', () => {
    expect(problemsOf(sealed)).toEqual([
      expect.stringMatching(/^BYTES_PUBLIC_KEY_B64: not set; NACL/),
    ])
    expect(problemsOf({ [names.private]: privateKey })).toEqual([
      'BYTES_PUBLIC_KEY_B64: not set; give the public key of BYTES_PRIVATE_KEY_B64',
    ])
    expect(problemsOf({ ...sealed, [names.private]: privateKey })).toHaveLength(1)
  })

  it('are no points that anybody has the private key of', () => {
    const one = new Uint8Array(32)
    one[0] = 1
    for (const point of [new Uint8Array(32), one]) {
      expect(problemsOf({ ...sealed, [names.public]: base64(point) })).toEqual([
        'BYTES_PUBLIC_KEY_B64: not the public key of any pair',
      ])
    }
  })

  it('are told of with everything else that is wrong', () => {
    const problems = problemsOf({
      ...sealed,
      [names.public]: 'x',
      [names.private]: short,
      [names.old]: `${privateKey},y`,
      BYTES_PORT: 'z',
    })
    expect(problems.map((problem) => problem.split(':')[0])).toEqual([
      'BYTES_PORT',
      ...Object.values(names),
    ])
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
      BYTES_PUBLIC_KEY_B64_FILE: file('public', `${publicKey}\n`),
      BYTES_PRIVATE_KEY_B64_FILE: file('private', `${privateKey}\n`),
      BYTES_OLD_PRIVATE_KEYS_B64_FILE: file('old', `${older.map(base64).join('\n')}\n`),
    })
    expect(settings).toMatchObject({
      password: ' pass word',
      secret: 'secret',
      queueUri: 'amqp://host',
      publicKey: pair.publicKey,
      privateKey: pair.secretKey,
      oldPrivateKeys: older,
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

describe('timestamps', () => {
  it('need an authority', () => {
    expect(problemsOf({ BYTES_EXT_HASH_REPOSITORY: 'RFC3161' })).toEqual([
      'BYTES_RFC3161_PROVIDER: not set; give the URL of an authority, such as https://freetsa.org/tsr',
    ])
    expect(problemsOf({ BYTES_EXT_HASH_REPOSITORY: 'PASTEBIN' })).toEqual([
      'BYTES_PASTEBIN_API_DEV_KEY: not set; give your developer key of Pastebin',
    ])
  })

  it.each(['ftp://a.example', 'a.example/tsr', 'https://', ',', 'http://a.example, mailto:b@c'])(
    'do not come from %j',
    (text) => {
      const env = { BYTES_EXT_HASH_REPOSITORY: 'RFC3161', BYTES_RFC3161_PROVIDER: text }
      const [problem, ...more] = problemsOf(env)
      expect(problem).toMatch(/^BYTES_RFC3161_PROVIDER: .* is not accepted; give /)
      expect(more).toEqual([])
    },
  )

  it('keep passwords out of what is recorded', () => {
    const [problem] = problemsOf({ BYTES_RFC3161_PROVIDER: 'https://me:pass@a.example/tsr' })
    expect(problem).toContain('give a URL without a user name or a password')
    expect(problem).not.toContain('pass@')
  })

  it('refuse a URL that does not fit, one twice and one with a fragment', () => {
    for (const url of [`https://a.example/${'x'.repeat(250)}`, 'http://a,http://a', 'http://a/#b'])
      expect(problemsOf({ BYTES_RFC3161_PROVIDER: url })).toHaveLength(1)
  })

  it('are shared with an authority only', () => {
    const batch = { BYTES_TIMESTAMP_BATCH_SIZE: '2' }
    const rfc3161 = { BYTES_EXT_HASH_REPOSITORY: 'RFC3161', BYTES_RFC3161_PROVIDER: 'http://a' }
    expect(problemsOf({ ...batch, ...rfc3161 })).toEqual([])
    expect(problemsOf(batch)).toEqual([
      'BYTES_TIMESTAMP_BATCH_SIZE: only RFC3161 lets files share a timestamp; give 1',
    ])
  })
})
