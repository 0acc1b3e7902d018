import type { RawFileKey } from '../domain/cursor.js'
import { BytesError } from '../domain/errors.js'
import type { StoredRawFile } from '../domain/models.js'
import { type Verdict, type Verification, type VerifyPorts, verifyRawFile } from './verify.js'

export interface VerifyAllOptions {
  /** Stops the walk. */
  readonly signal?: AbortSignal
  /** Called after each raw file. @param total raw files that there were at the start */
  readonly onProgress?: (done: number, total: number) => void
  /** Called for each raw file that is wrong, or whose content cannot be checked. */
  readonly onProblem?: (verification: Verification) => void
}

/** Raw files for each verdict. */
export type VerdictCounts = Readonly<Record<Verdict, number>>

/** Raw files that are listed at once. */
const PAGE = 100
/** Raw files that are verified at once, so that reading and hashing do not wait for each other. */
const AT_ONCE = 4
const ALL = { organizations: [], rawIds: [], mimeTypes: [] }

/**
 * Verifies every raw file, in the order in which they were stored. It may run beside a service:
 * raw files that come meanwhile are verified as well, and those that go are passed over.
 * @throws BytesError `database_unavailable`; the reason of `signal`
 */
export async function verifyAll(
  ports: VerifyPorts,
  { signal, onProgress, onProblem }: VerifyAllOptions = {},
): Promise<VerdictCounts> {
  const counts = { verified: 0, pending: 0, unverifiable: 0, failed: 0 }
  const organizations = await ports.meta.countByOrganization()
  const total = organizations.reduce((sum, { rawFiles }) => sum + rawFiles, 0)
  let done = 0
  onProgress?.(done, total)

  const verify = async (file: StoredRawFile): Promise<void> => {
    const result = await verifyPresent(ports, file, signal)
    done += 1
    if (result !== undefined) {
      counts[result.verdict] += 1
      if (isProblem(result)) onProblem?.(result)
    }
    onProgress?.(done, Math.max(done, total))
  }

  let after: RawFileKey | undefined
  do {
    signal?.throwIfAborted()
    const { rows, next } = await ports.meta.listRawFiles(ALL, { limit: PAGE, after })
    await eachOf(rows, verify)
    after = next
  } while (after !== undefined)
  return counts
}

/** A raw file without a timestamp is none. */
function isProblem({ verdict, checks }: Verification): boolean {
  const unread = ({ name, passed }: Verification['checks'][number]): boolean =>
    passed === null && (name === 'content_digest' || name === 'secure_hash')
  return verdict === 'failed' || checks.some(unread)
}

/** @returns undefined for a raw file that has gone */
async function verifyPresent(
  ports: VerifyPorts,
  file: StoredRawFile,
  signal: AbortSignal | undefined,
): Promise<Verification | undefined> {
  const result = await verifyReadable(ports, file, signal)
  if (result.verdict !== 'failed') return result
  const now = await ports.meta.findRawFile(file.rawFile.id)
  if (now === undefined) return undefined
  // An upload may have replaced a blob that was damaged.
  return now.blob.address === file.blob.address ? result : verifyReadable(ports, now, signal)
}

/** One bad place of a disk is no reason to stop. */
async function verifyReadable(
  ports: VerifyPorts,
  file: StoredRawFile,
  signal: AbortSignal | undefined,
): Promise<Verification> {
  try {
    return await verifyRawFile(ports, file, signal)
  } catch (error) {
    if (!(error instanceof BytesError) || error.code !== 'storage_unavailable') throw error
    const check = { name: 'content_digest', passed: false, detail: error.message }
    return { rawFileId: file.rawFile.id, verdict: 'failed', checks: [check] }
  }
}

/** Some at once; after the first failure none is begun, and it is thrown when none runs any more. */
async function eachOf<T>(items: readonly T[], action: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values()
  let failed = false
  const work = async (): Promise<void> => {
    for (const item of rest) {
      if (failed) return
      await action(item).catch((error: unknown) => {
        failed = true
        throw error
      })
    }
  }
  const workers = await Promise.allSettled(Array.from({ length: AT_ONCE }, work))
  for (const worker of workers) if (worker.status === 'rejected') throw worker.reason
}
