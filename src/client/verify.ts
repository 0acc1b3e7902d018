/** Proof that what is stored is what was stored: see docs/proofs.md. */
import { createHash, type Hash } from 'node:crypto'
import { parseInstant, pythonTimestamp } from '../domain/instant.js'
import { type TransferOptions, transfer } from './download.js'
import { BytesClientError } from './errors.js'
import { type RawFileMeta, rawFile } from './records.js'
import type { Session } from './session.js'

/** A digest as it is recorded, and as it was computed here: `<algorithm>:<hex>`. */
export interface Check {
  readonly expected: string
  readonly found: string
  readonly passed: boolean
}

export interface Verification {
  /** Of the content. */
  readonly contentDigest: Check
  /** Of the content followed by the end time of the job. */
  readonly secureHash: Check
  /** Whether both are right. */
  readonly passed: boolean
  /** The raw file as the service described it: what it calls the timestamp is not checked. */
  readonly rawFile: RawFileMeta
}

/**
 * Downloads a raw file without keeping it, and computes its digests anew.
 * @throws BytesClientError when it cannot be read, or has no secure hash; a wrong digest is no error
 */
export async function verify(
  session: Session,
  id: string,
  options: TransferOptions = {},
): Promise<Verification> {
  const meta = await rawFile(session, id, options)
  const algorithm = /^(sha512|sha224):[0-9a-f]+$/.exec(meta.secure_hash ?? '')?.[1]
  const endedAt = parseInstant(meta.boefje_meta?.ended_at)
  if (algorithm === undefined || meta.secure_hash === null || !endedAt.ok) {
    throw new BytesClientError(
      'unexpected_answer',
      `raw file ${id} has no secure hash by SHA-512 or SHA-224, or its job has no end time`,
    )
  }
  let hash: Hash = createHash(algorithm)
  const sink = {
    write: async (chunk: Uint8Array) => void hash.update(chunk),
    restart: async () => {
      hash = createHash(algorithm)
    },
  }
  const { digest, found } = await transfer(session, id, sink, options)
  const time = pythonTimestamp(endedAt.instant)
  const contentDigest = check(digest, found)
  const secureHash = check(
    meta.secure_hash,
    `${algorithm}:${hash.update(time, 'ascii').digest('hex')}`,
  )
  const passed = contentDigest.passed && secureHash.passed
  return { contentDigest, secureHash, passed, rawFile: meta }
}

function check(expected: string, found: string): Check {
  return { expected, found, passed: expected === found }
}
