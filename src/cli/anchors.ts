/** The trust anchors that commands check timestamps with. */
import { readAnchorSetting } from '../client-settings.js'
import { readAnchorFile, readAnchors } from '../compose-anchors.js'
import { anchorsIn } from '../flows/evidence-anchors.js'
import type { Anchors } from '../hashing/rfc3161/anchors.js'

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
  if (given !== undefined) {
    const anchors = await readAnchorFile(given).catch((error: unknown) => {
      const reason = error instanceof Error ? error.message : error
      throw new Error(`--anchor: ${reason}`, { cause: error })
    })
    return { anchors, origin: given }
  }
  const settings = readAnchorSetting()
  const origin = settings.timestampAnchors ?? 'the root of FreeTSA'
  return { anchors: await readAnchors(settings), origin }
}

/** Name and fingerprint of each. */
export function namesOf({ pem }: Anchors): string[] {
  return anchorsIn(pem).map(
    ({ subject, fingerprint }) => `${subject} (SHA-256 fingerprint ${fingerprint})`,
  )
}
