import { BytesError, type ErrorCode } from '../domain/errors.js'
import type { Check, HashVerifier } from '../domain/hash-repository.js'
import type { StoredRawFile, Uuid } from '../domain/models.js'
import type { PendingHashes } from '../domain/pending-hashes.js'
import { type ContentHashes, type HashingAlgorithm, startHash } from '../hashing/hasher.js'
import { type Budget, withPart } from './budget.js'
import { openContent, type RetrievePorts } from './retrieve.js'

/**
 * What a verification comes to:
 * - `verified`: the content is that of the secure hash, and a third party stands behind that
 * - `pending`: the secure hash waits to be given to a third party
 * - `failed`: something is wrong
 * - `unverifiable`: nothing is known to be wrong, and something cannot be checked
 */
export type Verdict = 'verified' | 'pending' | 'failed' | 'unverifiable'

/** What came of the checks of one raw file. */
export interface Verification {
  readonly rawFileId: Uuid
  readonly verdict: Verdict
  /** `content_digest`, `secure_hash`, and those of the retrieval link. */
  readonly checks: readonly Check[]
}

export interface VerifyPorts extends RetrievePorts {
  /** Of all hash repositories that may have given a link, also under earlier settings. */
  readonly verifiers: readonly HashVerifier[]
  readonly pending: Pick<PendingHashes, 'isPending'>
  /** Places for contents that are read at the same time; left out, whoever calls bounds them. */
  readonly places?: Pick<Budget, 'take'>
}

/** Contents that are verified at the same time for requests: each keeps a processor busy. */
export const MOST_VERIFIED = 4
/** How long one waits for a place, in milliseconds. */
const WAIT_MS = 30_000

/** What a retrieval link is worth. */
export interface LinkFindings {
  readonly checks: readonly Check[]
  /** Whether a third party stands behind it. */
  readonly thirdParty: boolean
  readonly pending: boolean
}

/**
 * Reads the content of a raw file from storage once, computes its digest and secure hash anew, and
 * checks its retrieval link. What is found wrong is a check that has not passed, and no error.
 * @param signal stops the reading, and the wait for a place
 * @throws BytesError `storage_unavailable`, `database_unavailable`, `busy` when no place has become
 *   free; the reason of `signal`
 */
export async function verifyRawFile(
  ports: VerifyPorts,
  file: StoredRawFile,
  signal?: AbortSignal,
): Promise<Verification> {
  const contentChecks = await checkContent(ports, file, signal)
  signal?.throwIfAborted()
  const link = await checkLink(ports, file)
  const checks = [...contentChecks, ...link.checks]
  return { rawFileId: file.rawFile.id, verdict: verdictOf(checks, link), checks }
}

/** The verdict over all checks of a file. */
export function verdictOf(
  checks: readonly Check[],
  { thirdParty, pending }: Pick<LinkFindings, 'thirdParty' | 'pending'>,
): Verdict {
  if (checks.some(({ passed }) => passed === false)) return 'failed'
  if (pending) return 'pending'
  if (!thirdParty || checks.some(({ passed }) => passed === null)) return 'unverifiable'
  return 'verified'
}

/** The algorithm of a secure hash; undefined for one that is not known here. */
export function algorithmOf(secureHash: string): HashingAlgorithm | undefined {
  if (/^sha512:[0-9a-f]{128}$/.test(secureHash)) return 'sha512'
  return /^sha224:[0-9a-f]{56}$/.test(secureHash) ? 'sha224' : undefined
}

/** What failures to read say of a content: that it is wrong, or nothing. */
const UNREADABLE: Readonly<Partial<Record<ErrorCode, false | null>>> = {
  blob_missing: false,
  blob_damaged: false,
  key_missing: null,
}

async function checkContent(
  ports: VerifyPorts,
  file: StoredRawFile,
  signal: AbortSignal | undefined,
): Promise<Check[]> {
  const { secureHash, boefjeMeta } = file.rawFile
  const algorithm = secureHash === null ? undefined : algorithmOf(secureHash)
  let hashes: ContentHashes
  try {
    hashes = await inPlace(ports, signal, () =>
      hashContent(ports, file, algorithm ?? 'sha512', signal),
    )
  } catch (error) {
    if (!(error instanceof BytesError)) throw error
    const passed = UNREADABLE[error.code]
    if (passed === undefined) throw error
    return [
      { name: 'content_digest', passed, detail: error.message },
      { name: 'secure_hash', passed: null, detail: 'not computed: the content cannot be read' },
    ]
  }
  return [
    compare('content_digest', file.blob.contentDigest, hashes.contentDigest),
    secureHash === null || algorithm === undefined
      ? { name: 'secure_hash', passed: null, detail: noSecureHash(secureHash) }
      : compare('secure_hash', secureHash, hashes.secureHash(boefjeMeta.endedAt)),
  ]
}

function inPlace<T>(
  { places }: VerifyPorts,
  signal: AbortSignal | undefined,
  read: () => Promise<T>,
): Promise<T> {
  if (!places) return read()
  const refusal = 'other contents are being verified: try again later'
  return withPart(places, 1, { ms: WAIT_MS, signal, refusal }, read)
}

async function hashContent(
  ports: VerifyPorts,
  file: StoredRawFile,
  algorithm: HashingAlgorithm,
  signal: AbortSignal | undefined,
): Promise<ContentHashes> {
  const hasher = startHash(algorithm)
  for await (const piece of await openContent(ports, file)) {
    signal?.throwIfAborted()
    hasher.update(piece)
  }
  return hasher.finish()
}

const compare = (name: string, recorded: string, found: string): Check =>
  recorded === found
    ? { name, passed: true, detail: found }
    : { name, passed: false, detail: `${found}, recorded ${recorded}` }

/** Why there is nothing to compare with. */
export function noSecureHash(secureHash: string | null): string {
  return secureHash === null
    ? 'the raw file has no secure hash'
    : 'the secure hash is not one by SHA-512 or SHA-224'
}

/**
 * Checks the retrieval link of a raw file.
 * @throws BytesError `database_unavailable`
 */
export async function checkLink(
  ports: Pick<VerifyPorts, 'verifiers' | 'pending' | 'meta'>,
  file: StoredRawFile,
): Promise<LinkFindings> {
  const { id, secureHash } = file.rawFile
  let link = file.rawFile.hashRetrievalLink
  if (link === null && (await ports.pending.isPending(id))) {
    return nothing('the secure hash waits to be given to a third party', true)
  }
  // It may have come while the content was read.
  link ??= (await ports.meta.findRawFile(id))?.rawFile.hashRetrievalLink ?? null
  if (link === null) return nothing('the secure hash was given to no third party')
  if (secureHash === null) return nothing(noSecureHash(null))
  const given = link
  const verifier = ports.verifiers.find((each) => each.recognizes(given))
  if (!verifier) return nothing('the link is of a kind that is not known here')
  const checks = await verifier.verify(link, secureHash)
  return { checks, thirdParty: verifier.thirdParty, pending: false }
}

function nothing(detail: string, pending = false): LinkFindings {
  const checks = [{ name: 'retrieval_link', passed: null, detail }]
  return { checks, thirdParty: false, pending }
}
