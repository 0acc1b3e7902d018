/** The trust anchors of timestamps, for the service and for commands. */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { SettingsError } from './environment.js'
import { type Anchors, parseAnchors } from './hashing/rfc3161/anchors.js'
import { TimestampError } from './hashing/rfc3161/errors.js'
import { TIMESTAMP_VARIABLES, type TimestampSettings } from './timestamp-settings.js'

const PACKAGE = createRequire(import.meta.url).resolve('bytes/package.json')
/** Trust anchors without a setting: the root of FreeTSA. */
const SHIPPED_ANCHORS = join(dirname(PACKAGE), 'certificates/freetsa-root.pem')

/**
 * Reads the trust anchors that the settings name.
 * @throws SettingsError when the file cannot be used
 */
export async function readAnchors({
  timestampAnchors: path = SHIPPED_ANCHORS,
}: Pick<TimestampSettings, 'timestampAnchors'>): Promise<Anchors> {
  return readAnchorFile(path).catch((error: unknown) => {
    const { name } = TIMESTAMP_VARIABLES.timestampAnchors
    throw new SettingsError([`${name}: ${error instanceof Error ? error.message : error}`])
  })
}

/**
 * Reads trust anchors from a PEM file.
 * @throws Error that names the file and says what is wrong
 */
export async function readAnchorFile(path: string): Promise<Anchors> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    const code = error instanceof Error && 'code' in error ? error.code : 'unknown error'
    throw new Error(`${JSON.stringify(path)} cannot be read (${code})`, { cause: error })
  })
  try {
    return parseAnchors(text)
  } catch (error) {
    if (!(error instanceof TimestampError)) throw error
    throw new Error(`${JSON.stringify(path)} cannot be used: ${error.message}`, { cause: error })
  }
}
