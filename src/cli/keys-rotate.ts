import type pg from 'pg'
import { SettingsError } from '../environment.js'
import {
  type FailedKey,
  type RotationOptions,
  type RotationResult,
  rotateKeys,
} from '../flows/rotate-keys.js'
import { createBlobKeys } from '../meta/blob-keys.js'
import type { PublicKey } from '../raw/middleware/sealed-box/box.js'
import type { KeyRing } from '../raw/middleware/sealed-box/keys.js'
import { createProgress } from './progress.js'

/** Time between two lines where there is no terminal, in milliseconds. */
const PLAIN_MS = 3000

const REASONS: Readonly<Record<FailedKey['reason'], string>> = {
  private_key_missing: 'its private key is not here',
  does_not_open: 'its private key does not open it',
}

/** What the file keys are to be sealed to. @throws SettingsError when there is no public key */
export function rotationTarget({ current }: KeyRing): PublicKey {
  if (current !== undefined) return current
  throw new SettingsError(['BYTES_PUBLIC_KEY_B64: not set; give the key to rotate to'])
}

/** Re-seals the file keys and tells how it goes. @returns the exit code: 1 when some are left */
export async function rotate(
  pool: pg.Pool,
  keyRing: KeyRing,
  current: PublicKey,
  options: Pick<RotationOptions, 'batchSize' | 'signal'>,
): Promise<number> {
  if (keyRing.pairOf(current.id) === undefined) {
    say(`the private key of ${current.id} is not here: be sure that it is kept elsewhere`)
  }
  const unit = (keys: number): string => `${Math.round(keys)} keys`
  const progress = createProgress(current.id, { unit, plainMs: PLAIN_MS })
  const onFailed = ({ blobId, keyId, reason }: FailedKey): void => {
    progress.finish()
    say(`the key of blob ${blobId}, sealed to ${keyId}, is left as it is: ${REASONS[reason]}`)
  }
  const result = await rotateKeys(
    { blobKeys: createBlobKeys(pool), current, keyRing },
    { ...options, onProgress: progress.update, onFailed },
  ).finally(progress.finish)
  process.stdout.write(summary(result, current.id))
  return result.left === 0 ? 0 : 1
}

function summary({ rotated, failed, left }: RotationResult, keyId: string): string {
  const line = `${rotated} keys re-sealed to ${keyId}, ${failed} failed, ${left} left\n`
  if (left <= failed) return line
  return `${line}Some came or changed meanwhile: see that all services have the new key, then rotate again.\n`
}

function say(text: string): void {
  process.stderr.write(`bytes: ${text}\n`)
}
