import type pg from 'pg'
import { SettingsError } from '../environment.js'
import {
  type FailedKey,
  type RotationOptions,
  type RotationResult,
  rotateKeys,
} from '../flows/rotate-keys.js'
import { createBlobKeys } from '../meta/blob-keys.js'
import type { KeyPair, KeyRing } from '../raw/middleware/sealed-box/keys.js'
import { createProgress } from './progress.js'

const PLAIN_MS = 3000

const REASONS: Readonly<Record<FailedKey['reason'], string>> = {
  private_key_missing: 'its private key is not here',
  does_not_open: 'its private key does not open it',
}

export interface RotationTarget {
  readonly ring: KeyRing
  readonly publicKey: Uint8Array
  readonly keyId: string
}

/** What the file keys are to be sealed to. @throws SettingsError when there is no public key */
export function rotationTarget(ring: KeyRing): RotationTarget {
  const { publicKey, currentKeyId: keyId } = ring
  if (publicKey === undefined || keyId === undefined) {
    throw new SettingsError(['BYTES_PUBLIC_KEY_B64: not set; give the key to rotate to'])
  }
  return { ring, publicKey, keyId }
}

/** Re-seals the file keys and tells how it goes. @returns the exit code: 1 when some are left */
export async function rotate(
  pool: pg.Pool,
  { ring, publicKey, keyId: current }: RotationTarget,
  options: Pick<RotationOptions, 'batchSize' | 'signal'>,
): Promise<number> {
  const findPair = (keyId: string): KeyPair | undefined => ring.find(keyId)
  if (findPair(current) === undefined) {
    say(`the private key of ${current} is not here: be sure that it is kept elsewhere`)
  }
  const unit = (keys: number): string => `${Math.round(keys)} keys`
  const progress = createProgress(current, { unit, plainMs: PLAIN_MS })
  const onFailed = ({ blobId, keyId, reason }: FailedKey): void => {
    progress.finish()
    say(`the key of blob ${blobId}, sealed to ${keyId}, is left as it is: ${REASONS[reason]}`)
  }
  const result = await rotateKeys(
    { blobKeys: createBlobKeys(pool), publicKey, findPair },
    { ...options, onProgress: progress.update, onFailed },
  ).finally(progress.finish)
  process.stdout.write(summary(result, current))
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
