/** The environment to the settings of the service. */
import { resolve } from 'node:path'
import nacl from 'tweetnacl'
import {
  anyText,
  base64Key,
  boolean,
  type Environment,
  integer,
  oneOf,
  readVariables,
  SettingsError,
  secret,
  uri,
  type ValuesOf,
  type Variable,
  variable,
} from './environment.js'
import { problemsOfTimestamps, TIMESTAMP_VARIABLES } from './timestamp-settings.js'

function permission(needed: number): (text: string) => number {
  return (text) => {
    const mode = /^[0-7]{3,4}$/.test(text) ? Number.parseInt(text, 8) : 0
    if ((mode & needed) !== needed || mode > 0o777) {
      throw new Error(
        `three octal digits that let the owner in, such as ${needed === 0o700 ? 740 : 640}`,
      )
    }
    return mode
  }
}

const VARIABLES = {
  username: variable('BYTES_USERNAME', 'name that clients log in with', undefined, anyText),
  password: secret('BYTES_PASSWORD', 'password that clients log in with', anyText),
  secret: secret('BYTES_SECRET', 'key that access tokens are signed with (HS256)', anyText),
  dbUri: secret(
    'BYTES_DB_URI',
    'PostgreSQL database; without it an embedded PostgreSQL is started in the data directory',
    uri('postgresql:', 'postgres:'),
  ),
  queueUri: secret(
    'QUEUE_URI',
    'RabbitMQ broker; without it events wait in the database',
    uri('amqp:', 'amqps:'),
  ),
  dataDir: variable('BYTES_DATA_DIR', 'directory of the blobs', '/data', (text) => resolve(text)),
  host: variable('BYTES_HOST', 'address to listen on', '127.0.0.1', anyText),
  port: variable(
    'BYTES_PORT',
    'TCP port to listen on; 0 takes a free one',
    '8002',
    integer(0, 65535),
  ),
  accessTokenExpireMinutes: variable(
    'BYTES_ACCESS_TOKEN_EXPIRE_MINUTES',
    'lifetime of an access token in minutes',
    '15',
    integer(1, 5_256_000),
  ),
  tokenRateLimit: variable(
    'BYTES_TOKEN_RATE_LIMIT',
    'log-ins that one client address may try in a minute',
    '120',
    integer(1, 1_000_000),
  ),
  folderPermission: variable(
    'BYTES_FOLDER_PERMISSION',
    'mode of the folders that are made, octal',
    '740',
    permission(0o700),
  ),
  filePermission: variable(
    'BYTES_FILE_PERMISSION',
    'mode of the files that are made, octal',
    '640',
    permission(0o600),
  ),
  hashingAlgorithm: variable(
    'BYTES_HASHING_ALGORITHM',
    'digest of the secure hash: `sha512` or `sha224`, in any case',
    'sha512',
    oneOf('sha512', 'sha224'),
  ),
  ...TIMESTAMP_VARIABLES,
  encryptionMiddleware: variable(
    'BYTES_ENCRYPTION_MIDDLEWARE',
    'file middleware for new blobs: `IDENTITY`, or `NACL_SEALBOX`, which encrypts them',
    'IDENTITY',
    oneOf('IDENTITY', 'NACL_SEALBOX'),
  ),
  // Not a secret, but people will put the private key here by mistake.
  publicKey: secret(
    'BYTES_PUBLIC_KEY_B64',
    'X25519 public key in base64, to encrypt with; see `bytes keys generate`',
    base64Key,
  ),
  privateKey: secret(
    'BYTES_PRIVATE_KEY_B64',
    'its private key in base64; without it, what is encrypted can be stored and not read',
    base64Key,
  ),
  oldPrivateKeys: secret(
    'BYTES_OLD_PRIVATE_KEYS_B64',
    'earlier private keys, separated by commas, for what is still sealed to them',
    (text) =>
      text
        .split(/[\s,]+/)
        .filter((word) => word !== '')
        .map(base64Key),
  ),
  maxBodyBytes: variable(
    'BYTES_MAX_BODY_BYTES',
    'longest upload in bytes; a longer one is answered 413',
    String(100 * 1024 ** 3),
    integer(1024, Number.MAX_SAFE_INTEGER),
  ),
  maxFilesPerUpload: variable(
    'BYTES_MAX_FILES_PER_UPLOAD',
    'most files in one upload',
    '10000',
    integer(1, 50_000),
  ),
  maxConcurrentUploads: variable(
    'BYTES_MAX_CONCURRENT_UPLOADS',
    'uploads that may be under way at the same time; more are answered 503 with `Retry-After`',
    '256',
    integer(1, 100_000),
  ),
  diskReserveBytes: variable(
    'BYTES_DISK_RESERVE_BYTES',
    'bytes of the data directory that stay free; uploads that would take them are answered 507',
    String(256 * 1024 ** 2),
    integer(0, Number.MAX_SAFE_INTEGER),
  ),
  headersTimeoutSeconds: variable(
    'BYTES_HEADERS_TIMEOUT_SECONDS',
    'how long a client may take to send the head of a request, in seconds',
    '20',
    integer(1, 3600),
  ),
  idleTimeoutSeconds: variable(
    'BYTES_IDLE_TIMEOUT_SECONDS',
    'how long a client may send nothing of a body, or read nothing of an answer, in seconds',
    '60',
    integer(1, 3600),
  ),
  keepAliveTimeoutSeconds: variable(
    'BYTES_KEEP_ALIVE_TIMEOUT_SECONDS',
    'how long an idle connection is kept for the next request, in seconds; longer than a proxy in front keeps its own',
    '75',
    integer(1, 3600),
  ),
  uploadExpiryHours: variable(
    'BYTES_UPLOAD_EXPIRY_HOURS',
    'hours after its creation at which a resumable upload ends',
    '24',
    integer(1, 8760),
  ),
  maxResumableUploads: variable(
    'BYTES_MAX_RESUMABLE_UPLOADS',
    'unfinished resumable uploads that there may be; more are answered 503 with `Retry-After`',
    '10000',
    integer(1, 10_000_000),
  ),
  scrubBytesPerSecond: variable(
    'BYTES_SCRUB_BYTES_PER_SECOND',
    'bytes a second in which each process reads stored content again, to find what has gone bad; 0 reads none',
    String(4 * 1024 ** 2),
    integer(0, Number.MAX_SAFE_INTEGER),
  ),
  metricsTtlSeconds: variable(
    'BYTES_METRICS_TTL_SECONDS',
    'how long counts for the metrics are used again, in seconds; 0 counts each time',
    '0',
    integer(0, 86_400),
  ),
  dbPoolSize: variable(
    'BYTES_DB_CONNECTION_POOL_SIZE',
    'most database connections at a time',
    '16',
    integer(4, 1000),
  ),
  dbConnectTimeoutSeconds: variable(
    'BYTES_DB_CONNECT_TIMEOUT_SECONDS',
    'how long the start waits for a database that does not answer, in seconds',
    '60',
    integer(0, 86_400),
  ),
  migrateOnStart: variable(
    'BYTES_MIGRATE_ON_START',
    'apply missing migrations at start',
    'true',
    boolean,
  ),
  shutdownTimeoutSeconds: variable(
    'BYTES_SHUTDOWN_TIMEOUT_SECONDS',
    'how long requests in flight may go on after SIGTERM, in seconds',
    '30',
    integer(0, 86_400),
  ),
  loggingFormat: variable(
    'BYTES_LOGGING_FORMAT',
    '`json` or `text`; by default text on a terminal, and with the embedded PostgreSQL',
    undefined,
    oneOf('json', 'text'),
  ),
  loggingLevel: variable(
    'BYTES_LOGGING_LEVEL',
    'least level that is logged: `debug`, `info`, `warn` or `error`',
    'info',
    oneOf('debug', 'info', 'warn', 'error'),
  ),
} as const

/** All settings. Without `dbUri`, username, password and secret may be undefined: they are generated. */
export type Settings = ValuesOf<typeof VARIABLES>

/**
 * Reads and checks all variables. An empty variable counts as one that is not set.
 * @throws SettingsError that lists every problem
 */
export function readSettings(env: Environment = process.env): Settings {
  const { values, problems } = readVariables(VARIABLES, env)
  // Given, if perhaps not usable.
  const given = (key: keyof typeof VARIABLES): boolean =>
    values[key] !== undefined || problems.some((p) => p.startsWith(VARIABLES[key].name))
  const missing: string[] = []
  if (given('dbUri')) {
    for (const key of ['username', 'password', 'secret'] as const) {
      const { name, about } = VARIABLES[key]
      if (!given(key)) missing.push(`${name}: not set; give ${about}`)
    }
  }
  if (!given('publicKey')) {
    const { name } = VARIABLES.publicKey
    if (values.encryptionMiddleware === 'NACL_SEALBOX') {
      missing.push(`${name}: not set; NACL_SEALBOX needs it, and \`bytes keys generate\` makes one`)
    } else if (given('privateKey')) {
      missing.push(`${name}: not set; give the public key of ${VARIABLES.privateKey.name}`)
    }
  }
  missing.push(...problemsOfTimestamps(values, given))
  problems.push(...missing, ...problemsOfPair(values.publicKey, values.privateKey))
  if (problems.length > 0) throw new SettingsError(problems)
  return values as Settings
}

function problemsOfPair(publicKey?: Uint8Array, privateKey?: Uint8Array): string[] {
  if (publicKey === undefined) return []
  // Of low order: anybody could open what is sealed to it.
  if (nacl.scalarMult(new Uint8Array(32).fill(1), publicKey).every((byte) => byte === 0)) {
    return [`${VARIABLES.publicKey.name}: not the public key of any pair`]
  }
  if (privateKey === undefined) return []
  if (nacl.verify(nacl.scalarMult.base(privateKey), publicKey)) return []
  return [
    `${VARIABLES.privateKey.name}: does not belong to ${VARIABLES.publicKey.name}; give both keys ` +
      `of one pair, and older private keys in ${VARIABLES.oldPrivateKeys.name}`,
  ]
}

/** The variables as a Markdown table, for the README. */
export function settingsTable(): string {
  const rows = (Object.values(VARIABLES) as Variable<unknown>[]).map((spec) => {
    const fallback = spec.fallback === undefined ? '' : `\`${spec.fallback}\``
    return `| \`${spec.name}\`${spec.secret ? ' \\*' : ''} | ${fallback} | ${spec.about} |`
  })
  return ['| variable | default | meaning |', '|---|---|---|', ...rows].join('\n')
}
