import {
  type BytesClient,
  BytesClientError,
  type ClientOptions,
  createClient,
} from '../client/client.js'
import { clientSettingsHelp, readClientSettings } from '../client-settings.js'
import { credentialsPath, readCredentials } from '../credentials.js'
import { SettingsError } from '../environment.js'
import { interruptible } from './command.js'
import { createProgress, type Progress } from './progress.js'

/** The environment variables of `withClient`, for a help text. */
export const CONNECTION_HELP = `Environment:
${clientSettingsHelp()}
Without a password, the credentials that \`make run\` keeps in the data directory are used for a
service on this machine. BYTES_PASSWORD_FILE may name a file that holds the password.
A service that goes away is waited for as long as five minutes, except while what is piped in is sent.
`

/** What a command that is a client works with. */
export interface Connection {
  readonly client: BytesClient
  /** Aborts when the command is interrupted. */
  readonly signal: AbortSignal
  /** Shows how far the next transfer is, and no more how far the last was. */
  progress(label: string): Progress
  /** The failure, with what to check when it is one of the connection. */
  explain(error: unknown): unknown
}

/**
 * Runs a command with a client as the environment says.
 * @throws SettingsError when it says too little, or leads to something else than a Bytes service
 */
export async function withClient(
  run: (connection: Connection) => Promise<number>,
): Promise<number> {
  const settings = readClientSettings()
  const credentials = await credentialsOf(settings)
  let current = createProgress('bytes')
  const client = clientOf(settings.url, credentials, (failure) => current.waiting(whyOf(failure)))
  const explain = (error: unknown): unknown => explained(error, settings.url, credentials.keptIn)
  const progress = (label: string): Progress => {
    current.finish()
    current = createProgress(label)
    return current
  }
  try {
    return await interruptible((signal) =>
      run({ client, signal, progress, explain }).finally(() => current.finish()),
    )
  } catch (error) {
    throw explain(error)
  }
}

interface Credentials {
  readonly username: string
  readonly password: string
  /** The file that they were read from; undefined when the environment has them. */
  readonly keptIn?: string
}

function clientOf(
  url: string,
  { username, password }: Credentials,
  onWait: ClientOptions['onWait'],
): BytesClient {
  try {
    return createClient({ url, username, password, ...(onWait && { onWait }) })
  } catch (error) {
    if (!(error instanceof BytesClientError)) throw error
    throw new SettingsError([`BYTES_URL: ${error.message}`])
  }
}

/** What is waited out, and for how long the service wants to be left alone. */
function whyOf({ message, retryAfterMs }: BytesClientError): string {
  const asked = retryAfterMs ? `; it asks for ${Math.ceil(retryAfterMs / 1000)} s` : ''
  return `${message}${asked}`
}

async function credentialsOf({
  url,
  username,
  password,
  dataDir,
}: ReturnType<typeof readClientSettings>): Promise<Credentials> {
  if (username !== undefined && password !== undefined) return { username, password }
  // They belong to this machine's service, and are told to no other.
  const kept = isLoopback(new URL(url).hostname) ? await readCredentials(dataDir) : undefined
  if (kept === undefined || (username !== undefined && username !== kept.username)) {
    const [missing, to] =
      username === undefined
        ? ['BYTES_USERNAME and BYTES_PASSWORD', 'them']
        : ['BYTES_PASSWORD', `the password of ${JSON.stringify(username)}`]
    throw new SettingsError([
      `${missing}: not set; give ${to}, or run the command where \`make run\` keeps its data`,
    ])
  }
  return { ...kept, keptIn: credentialsPath(dataDir) }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

function explained(error: unknown, url: string, keptIn: string | undefined): unknown {
  if (!(error instanceof BytesClientError)) return error
  const { code, message } = error
  if (code === 'not_a_service') return new SettingsError([`${message}; check BYTES_URL`])
  const hint =
    code === 'network'
      ? `is the service running? BYTES_URL=${url}`
      : code === 'unauthorized'
        ? keptIn === undefined
          ? 'check BYTES_USERNAME and BYTES_PASSWORD'
          : `the credentials are those of ${keptIn}: set BYTES_USERNAME and BYTES_PASSWORD if the service has others`
        : undefined
  return hint === undefined ? error : new Error(`${message}; ${hint}`, { cause: error })
}

/** The error of a download; of a file that is there already it says what can be done. */
export function withWayOut(error: unknown): unknown {
  if (!(error instanceof BytesClientError) || error.code !== 'target_exists') return error
  const ways = 'use --force to replace it, or -o for another name'
  return new Error(`${error.message}: ${ways}`, { cause: error })
}
