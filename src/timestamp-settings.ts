/** The variables of hash repositories and of the timestamper; `settings.ts` reads them. */
import { resolve } from 'node:path'
import { anyText, integer, oneOf, secret, uri, type ValuesOf, variable } from './environment.js'

const HTTP = uri('http:', 'https:')
/** Characters of a column that keeps it. */
const MAX_URL = 256

/** An address that other people will see: it holds no password. */
function httpUrl(text: string): string {
  HTTP(text)
  const { username, password, hash } = new URL(text)
  if (username !== '' || password !== '') throw new Error('a URL without a user name or a password')
  if (hash !== '') throw new Error('a URL without a fragment')
  if (text.length > MAX_URL) throw new Error(`a URL of at most ${MAX_URL} characters`)
  return text
}

function httpUrls(text: string): readonly string[] {
  const urls = text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
  if (urls.length === 0) throw new Error('a URL, or several with commas between them')
  if (new Set(urls).size < urls.length) throw new Error('each URL once')
  return urls.map(httpUrl)
}

export const TIMESTAMP_VARIABLES = {
  hashRepository: variable(
    'BYTES_EXT_HASH_REPOSITORY',
    'hash repository that secure hashes are given to: `IN_MEMORY`, `PASTEBIN` or `RFC3161`',
    'IN_MEMORY',
    oneOf('IN_MEMORY', 'PASTEBIN', 'RFC3161'),
  ),
  pastebinKey: secret(
    'BYTES_PASTEBIN_API_DEV_KEY',
    'developer key of Pastebin; `PASTEBIN` needs it',
    anyText,
  ),
  pastebinUrl: variable('BYTES_PASTEBIN_URL', 'where Pastebin is', 'https://pastebin.com', httpUrl),
  timestampProviders: variable(
    'BYTES_RFC3161_PROVIDER',
    'URL of the timestamp authority, such as `https://freetsa.org/tsr`; of several, with commas between them, the next is asked when one fails. `RFC3161` needs it',
    undefined,
    httpUrls,
  ),
  timestampAnchors: variable(
    'BYTES_RFC3161_CERT_FILE',
    'PEM file of the certificates that timestamps must lead to: roots, or those of authorities themselves; without it the root of FreeTSA',
    undefined,
    (text) => resolve(text),
  ),
  timestampMinIntervalMs: variable(
    'BYTES_RFC3161_MIN_INTERVAL_MS',
    'least time between two requests of this process to one authority, in milliseconds; public authorities ask for seconds',
    '0',
    integer(0, 3_600_000),
  ),
  timestampTimeoutSeconds: variable(
    'BYTES_RFC3161_TIMEOUT_SECONDS',
    'how long an authority, or Pastebin, may take to answer, in seconds',
    '10',
    integer(1, 300),
  ),
  timestampMaxSkewSeconds: variable(
    'BYTES_RFC3161_MAX_CLOCK_SKEW_SECONDS',
    'how far the time of a new timestamp may be from the clock of this machine, in seconds',
    '300',
    integer(1, 86_400),
  ),
  timestampBatchSize: variable(
    'BYTES_TIMESTAMP_BATCH_SIZE',
    'most files that share one timestamp, by a hash tree (RFC 4998); 1 gives each file its own',
    '1',
    integer(1, 10_000),
  ),
  timestampBatchSeconds: variable(
    'BYTES_TIMESTAMP_BATCH_SECONDS',
    'how long a file waits at most for others to share a timestamp with, in seconds',
    '10',
    integer(0, 86_400),
  ),
  timestampMaxAgeSeconds: variable(
    'BYTES_TIMESTAMP_MAX_AGE_SECONDS',
    '`/health` tells of files that have waited longer than this for a timestamp, in seconds',
    '3600',
    integer(1, 31_536_000),
  ),
} as const

type Names = typeof TIMESTAMP_VARIABLES
export type TimestampSettings = ValuesOf<Names>

/**
 * What is missing of these variables, or does not go together.
 * @param given whether a variable was given, even if its value cannot be used
 */
export function problemsOfTimestamps(
  { hashRepository, timestampBatchSize = 1 }: Partial<TimestampSettings>,
  given: (key: keyof Names) => boolean,
): string[] {
  const problems: string[] = []
  const need = (key: keyof Names, what: string): void => {
    if (!given(key)) problems.push(`${TIMESTAMP_VARIABLES[key].name}: not set; give ${what}`)
  }
  if (hashRepository === 'RFC3161') {
    need('timestampProviders', 'the URL of an authority, such as https://freetsa.org/tsr')
  } else if (hashRepository !== undefined && timestampBatchSize > 1) {
    const { name } = TIMESTAMP_VARIABLES.timestampBatchSize
    problems.push(`${name}: only RFC3161 lets files share a timestamp; give 1`)
  }
  if (hashRepository === 'PASTEBIN') need('pastebinKey', 'your developer key of Pastebin')
  return problems
}
