import type { AuditFiles, AuditRows, BlobRow, Finding, FindingKind } from '../domain/audit.js'

/** One audit, as its parts see it. */
export interface AuditRun {
  readonly files: AuditFiles
  readonly rows: AuditRows
  /** Whether what nothing refers to is removed. */
  readonly sweep: boolean
  readonly graceSeconds: number
  /** Milliseconds since 1970, of the clock of the files: what has changed later is young. */
  readonly oldest: number
  /** After so many milliseconds without a change nobody goes on with a resumable upload. */
  readonly uploadLifetimeMs: number
  readonly signal: AbortSignal | undefined
  tell(found: Finding): void
  /** Counts what nothing refers to and is younger than the grace time: it may be of an upload. */
  young(): void
}

/** A finding of which nothing is known but what is given. */
export function finding(
  kind: FindingKind,
  known: Partial<Finding> & Pick<Finding, 'detail'>,
): Finding {
  return {
    kind,
    organization: null,
    contentDigest: null,
    address: null,
    rawFileIds: [],
    path: null,
    removed: false,
    ...known,
  }
}

/** A finding about a blob, with the raw files that have it. */
export async function blobFinding(
  { rows }: Pick<AuditRun, 'rows'>,
  kind: FindingKind,
  { id, organization, contentDigest, address }: BlobRow,
  detail: string,
): Promise<Finding> {
  const rawFileIds = await rows.rawFilesOf(id)
  return finding(kind, { organization, contentDigest, address, rawFileIds, detail })
}

/**
 * Does something with each item, some at once. After the first failure none is begun, and it is
 * thrown when none runs any more.
 */
export async function eachOf<T>(
  items: Iterable<T>,
  atOnce: number,
  action: (item: T) => Promise<void>,
): Promise<void> {
  const rest = items[Symbol.iterator]()
  let failed = false
  const work = async (): Promise<void> => {
    for (let next = rest.next(); !failed && !next.done; next = rest.next()) {
      await action(next.value).catch((error: unknown) => {
        failed = true
        throw error
      })
    }
  }
  const workers = await Promise.allSettled(Array.from({ length: atOnce }, work))
  for (const worker of workers) if (worker.status === 'rejected') throw worker.reason
}
