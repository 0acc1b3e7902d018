import { type BytesClient, createClient } from '../client/client.js'
import { clientSettingsHelp, readClientSettings } from '../client-settings.js'
import { readCredentials } from '../credentials.js'
import { SettingsError } from '../environment.js'

/** The environment variables of `connect`, for a help text. */
export const CONNECTION_HELP = `Environment:
${clientSettingsHelp()}
Without a password, the credentials that \`make run\` keeps in the data directory are used for a
service on this machine. BYTES_PASSWORD_FILE may name a file that holds the password.
`

/**
 * A client as the environment says.
 * @throws SettingsError when it says too little
 */
export async function connect(): Promise<BytesClient> {
  const { url, username, password, dataDir } = readClientSettings()
  if (username !== undefined && password !== undefined) {
    return createClient({ url, username, password })
  }
  // They belong to this machine's service, and are told to no other.
  const kept = isLoopback(new URL(url).hostname) ? await readCredentials(dataDir) : undefined
  if (kept === undefined || (username !== undefined && username !== kept.username)) {
    throw new SettingsError([
      'BYTES_PASSWORD: not set; give BYTES_USERNAME and BYTES_PASSWORD, or run the command where ' +
        '`make run` keeps its data',
    ])
  }
  return createClient({ url, username: kept.username, password: kept.password })
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host)
}
