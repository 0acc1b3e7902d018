import type { AuditFiles, AuditRows, Finding, FindingKind } from '../domain/audit.js'
import { recordLink } from '../hashing/rfc3161/links.js'
import { auditBlobRows, auditContents, auditUnreferenced } from './audit-blobs.js'
import { auditBlobFiles, auditLeftovers } from './audit-files.js'
import { type AuditRun, finding } from './audit-run.js'

export interface AuditPorts {
  readonly files: AuditFiles
  readonly rows: AuditRows
}

export interface AuditOptions {
  /** Share of the blobs whose content is read and digested, from 0 to 1; 1 when left out. */
  readonly share?: number
  /** Milliseconds for the reading of contents; without it there is no end. */
  readonly maxDurationMs?: number
  /** Removes what nothing refers to and is older than the grace time. */
  readonly sweep?: boolean
  /** What is younger may be of an upload that is under way; in seconds. */
  readonly graceSeconds: number
  /** Events that have waited longer are stuck; in seconds. */
  readonly stuckSeconds: number
  /** Seconds from the creation of a resumable upload to its end. */
  readonly uploadLifetimeSeconds: number
  readonly signal?: AbortSignal
  /** Called for each finding, as soon as it is known. */
  readonly onFinding: (found: Finding) => void
  /** Called while contents are read. @param total bytes of all blobs */
  readonly onProgress?: (bytes: number, total: number) => void
}

export interface AuditResult {
  /** Blobs whose file was looked for. */
  readonly blobs: number
  /** Blobs whose content was read and is right. */
  readonly verified: number
  /** Stored bytes of these. */
  readonly verifiedBytes: number
  /** False when `maxDurationMs` was not enough: the next audit goes on with the rest. */
  readonly complete: boolean
  readonly findings: number
  /** Of the findings, those that the sweep has removed. */
  readonly removed: number
  /** Files that nothing refers to and that are younger than the grace time: no findings. */
  readonly young: number
}

/** Rows that are read at once. */
const PAGE = 500

/**
 * Compares the database, the disk and the outbox. It may run beside a service, and beside other
 * audits: what changes meanwhile is looked at twice before it is told.
 * @throws BytesError `database_unavailable`, `storage_unavailable`; the reason of `signal`
 */
export async function audit(
  { files, rows }: AuditPorts,
  options: AuditOptions,
): Promise<AuditResult> {
  const { graceSeconds, signal, sweep = false, share = 1, onFinding, onProgress } = options
  const count = { findings: 0, removed: 0, young: 0 }
  let [missing, unwanted] = [0, 0]
  const run: AuditRun = {
    files,
    rows,
    sweep,
    graceSeconds,
    oldest: (await files.clock()) - graceSeconds * 1000,
    uploadLifetimeMs: (options.uploadLifetimeSeconds + graceSeconds) * 1000,
    signal,
    tell: (found) => {
      count.findings += 1
      if (found.removed) count.removed += 1
      if (found.kind === 'blob_missing') missing += 1
      if (UNWANTED.includes(found.kind)) unwanted += 1
      onFinding(found)
    },
    young: () => {
      count.young += 1
    },
  }
  const { blobs, unreferenced } = await auditBlobRows(run)
  const refused = sweep && isForeign(blobs, missing)
  const sweeping = refused ? { ...run, sweep: false } : run
  // Rows before files: the file of a row that is swept has no row any more.
  if (unreferenced > 0) await auditUnreferenced(sweeping)
  await auditBlobFiles(sweeping)
  await auditLeftovers(sweeping)
  await auditEvents(run, options.stuckSeconds)
  await auditEvidence(sweeping)
  if (refused && unwanted > 0) run.tell(refusal(blobs, missing))
  const { bytes: total } = await rows.countBlobs()
  const contents = await auditContents(run, {
    share,
    maxDurationMs: options.maxDurationMs ?? Number.POSITIVE_INFINITY,
    onProgress: (bytes) => onProgress?.(bytes, total * share),
  })
  const { verified, bytes, complete } = contents
  return { blobs, verified, verifiedBytes: bytes, complete, ...count }
}

/** What a sweep removes. */
const UNWANTED: readonly FindingKind[] = [
  'blob_row_unreferenced',
  'blob_without_row',
  'temporary_leftover',
  'upload_leftover',
  'evidence_record_unreferenced',
  'timestamp_token_unreferenced',
]

/**
 * Whether the data directory may be that of another database. Every file in it would be one that no
 * row has, and a sweep with the wrong URI would remove the whole store.
 */
const isForeign = (blobs: number, missing: number): boolean => 2 * missing >= blobs

function refusal(blobs: number, missing: number): Finding {
  const why =
    blobs === 0 ? 'the database has no blobs' : `${missing} of ${blobs} blobs have no file`
  const detail = `nothing was removed, because ${why}: are BYTES_DB_URI and BYTES_DATA_DIR of one store?`
  return finding('sweep_refused', { detail })
}

async function auditEvents({ rows, tell, signal }: AuditRun, olderThan: number): Promise<void> {
  let after = 0
  for (;;) {
    signal?.throwIfAborted()
    const events = await rows.stuckEvents(after, olderThan, PAGE)
    for (const { organization, messageId, ageSeconds } of events) {
      const detail = `its event has waited for ${Math.round(ageSeconds)} seconds`
      tell(finding('event_stuck', { organization, rawFileIds: [messageId], detail }))
    }
    const last = events.at(-1)
    if (last === undefined) return
    after = last.id
  }
}

async function auditEvidence({ rows, tell, sweep, graceSeconds, signal }: AuditRun): Promise<void> {
  const prefix = recordLink('')
  let record: string | undefined
  for (;;) {
    signal?.throwIfAborted()
    const ids = await rows.unnamedRecords(prefix, record, graceSeconds, PAGE)
    const told = sweep ? await rows.removeUnnamedRecords(prefix, ids, graceSeconds) : ids
    for (const id of told) {
      const detail = `no raw file names evidence record ${id}`
      tell(finding('evidence_record_unreferenced', { detail, removed: sweep }))
    }
    record = ids.at(-1)
    if (record === undefined) break
  }
  let token: number | undefined = 0
  while (token !== undefined) {
    signal?.throwIfAborted()
    const ids: readonly number[] = await rows.unnamedTokens(token, graceSeconds, PAGE)
    const told = sweep ? await rows.removeUnnamedTokens(ids, graceSeconds) : ids
    for (const id of told) {
      const detail = `no evidence record has timestamp token ${id}`
      tell(finding('timestamp_token_unreferenced', { detail, removed: sweep }))
    }
    token = ids.at(-1)
  }
}
