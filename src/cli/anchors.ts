/** The trust anchors that commands check timestamps with. */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { reasonOf } from '../client/errors.js'
import { readAnchorFile } from '../client-settings.js'
import { SettingsError } from '../environment.js'
import { anchorsIn } from '../flows/evidence-anchors.js'
import { type Anchors, parseAnchors } from '../hashing/rfc3161/anchors.js'
import { TimestampError } from '../hashing/rfc3161/errors.js'

const SHIPPED = fileURLToPath(new URL('../../certificates/freetsa-root.pem', import.meta.url))

export const ANCHOR_HELP = `  --anchor PEM       file of certificates that timestamps must lead to; without it that of
                     BYTES_RFC3161_CERT_FILE, or else the root of FreeTSA that comes with Bytes`

export interface ChosenAnchors {
  readonly anchors: Anchors
  /** Where they come from, for people. */
  readonly origin: string
}

/**
 * Reads the trust anchors.
 * @param given what `--anchor` names
 * @throws Error when that cannot be used; SettingsError for BYTES_RFC3161_CERT_FILE
 */
export async function chooseAnchors(given: string | undefined): Promise<ChosenAnchors> {
  if (given !== undefined) return { anchors: await readAnchors(given), origin: given }
  const { path, name } = readAnchorFile()
  if (path === undefined) {
    return { anchors: await readAnchors(SHIPPED), origin: 'the root of FreeTSA' }
  }
  const anchors = await readAnchors(path).catch((error: unknown) => {
    throw new SettingsError([`${name}: ${error instanceof Error ? error.message : error}`])
  })
  return { anchors, origin: path }
}

async function readAnchors(path: string): Promise<Anchors> {
  const pem = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new Error(`the trust anchors ${path} cannot be read: ${reasonOf(error)}`)
  })
  try {
    return parseAnchors(pem)
  } catch (error) {
    if (!(error instanceof TimestampError)) throw error
    throw new Error(`the trust anchors ${path} cannot be used: ${error.message}`, { cause: error })
  }
}

/** Name and fingerprint of each certificate. @throws Error for what is no certificate */
export function namesOf(pem: string): string[] {
  return anchorsIn(pem).map(
    ({ subject, fingerprint }) => `${subject} (SHA-256 fingerprint ${fingerprint})`,
  )
}
