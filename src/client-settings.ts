/** The environment to the settings of the commands that are clients of a service. */
import { resolve } from 'node:path'
import {
  anyText,
  type Environment,
  readVariables,
  SettingsError,
  secret,
  uri,
  type ValuesOf,
  type Variable,
  variable,
} from './environment.js'
import { TIMESTAMP_VARIABLES, type TimestampSettings } from './timestamp-settings.js'

const VARIABLES = {
  url: variable(
    'BYTES_URL',
    'where the service is',
    'http://127.0.0.1:8002',
    uri('http:', 'https:'),
  ),
  username: variable('BYTES_USERNAME', 'name to log in with', undefined, anyText),
  password: secret('BYTES_PASSWORD', 'password to log in with', anyText),
  dataDir: variable(
    'BYTES_DATA_DIR',
    'where a service on this machine keeps the credentials that it made itself',
    './data',
    (text) => resolve(text),
  ),
} as const

/** Settings of the commands that are clients. */
export type ClientSettings = ValuesOf<typeof VARIABLES>

/**
 * Reads and checks the variables. An empty one counts as one that is not set.
 * @throws SettingsError that lists every problem
 */
export function readClientSettings(env: Environment = process.env): ClientSettings {
  const { values, problems } = readVariables(VARIABLES, env)
  if (values.password !== undefined && values.username === undefined) {
    problems.push(
      `${VARIABLES.username.name}: not set, though ${VARIABLES.password.name} is; set both or neither`,
    )
  }
  if (problems.length > 0) throw new SettingsError(problems)
  return values as ClientSettings
}

/**
 * Reads the file of trust anchors, of which the service has the same variable, and nothing else.
 * @throws SettingsError
 */
export function readAnchorSetting(
  env: Environment = process.env,
): Pick<TimestampSettings, 'timestampAnchors'> {
  const { timestampAnchors } = TIMESTAMP_VARIABLES
  const { values, problems } = readVariables({ timestampAnchors }, env)
  if (problems.length > 0) throw new SettingsError(problems)
  return { timestampAnchors: values.timestampAnchors }
}

/** The variables for a help text, a line each. */
export function clientSettingsHelp(): string {
  const rows = Object.values(VARIABLES) as Variable<unknown>[]
  return rows
    .map(({ name, about, fallback }) => {
      const otherwise = fallback === undefined ? '' : ` (default ${fallback})`
      return `  ${name.padEnd(16)}${about}${otherwise}`
    })
    .join('\n')
}
