/** The half of an audit that begins at the database: blobs whose file is missing or wrong. */
import type { BlobRow, VerifiedKey } from '../domain/audit.js'
import { BytesError } from '../domain/errors.js'
import { type AuditRun, blobFinding, eachOf } from './audit-run.js'

/** Rows that are read at once. */
const PAGE = 1000
/** Rows whose content is read before it is noted that they were. */
const VERIFIED_PAGE = 64
/** Sizes that are asked for at once, rows that are swept at once, and contents that are read at once. */
const SIZES_AT_ONCE = 8
const ROWS_AT_ONCE = 8
const CONTENTS_AT_ONCE = 4

/**
 * Checks that every blob has a file of the right size.
 * @returns how many blobs there are, and how many of them no raw file has
 */
export async function auditBlobRows(
  run: AuditRun,
): Promise<{ blobs: number; unreferenced: number }> {
  let [blobs, unreferenced] = [0, 0]
  for await (const page of blobPages(run)) {
    await eachOf(page, SIZES_AT_ONCE, (row) => checkSize(run, row))
    blobs += page.length
    unreferenced += page.filter((row) => row.unreferenced).length
  }
  return { blobs, unreferenced }
}

/**
 * Looks for blobs that no raw file has, and sweeps them if it may. Apart from the files, as only
 * those tell whether it may.
 */
export async function auditUnreferenced(run: AuditRun): Promise<void> {
  for await (const page of blobPages(run)) {
    const wanted = page.filter((row) => row.unreferenced)
    await eachOf(wanted, ROWS_AT_ONCE, (row) => unreferenced(run, row))
  }
}

async function* blobPages({ rows, graceSeconds, signal }: AuditRun) {
  for (let after = 0; ; ) {
    signal?.throwIfAborted()
    const page = await rows.listBlobs(after, PAGE, graceSeconds)
    const last = page.at(-1)
    if (last === undefined) return
    yield page
    after = last.id
  }
}

async function checkSize(run: AuditRun, row: BlobRow): Promise<void> {
  const problem = await wrongSize(run, row)
  if (problem === undefined) return
  // Meanwhile it may have been deleted, or an upload have put a whole one in its place.
  const now = await run.rows.findBlobRow(row.id)
  const still = now && (await wrongSize(run, now))
  if (now && still) run.tell(await blobFinding(run, still.kind, now, still.detail))
}

async function wrongSize({ files }: AuditRun, row: BlobRow) {
  const size = await files.sizeOf(row)
  if (size === row.storedSize) return undefined
  if (size === undefined) return { kind: 'blob_missing', detail: 'it has no file' } as const
  const detail = `its file has ${size} bytes instead of ${row.storedSize}`
  return { kind: 'blob_wrong_size', detail } as const
}

async function unreferenced(run: AuditRun, row: BlobRow): Promise<void> {
  const removed = run.sweep && (await run.rows.removeBlobRow(row.id, run.graceSeconds))
  if (run.sweep && !removed) return
  const found = await blobFinding(run, 'blob_row_unreferenced', row, 'no raw file has this blob')
  run.tell({ ...found, removed })
}

/** How many contents are read. */
export interface ContentOptions {
  /** Share of the blobs whose content is read, from 0 to 1. */
  readonly share: number
  /** Milliseconds after which no more is read. */
  readonly maxDurationMs: number
  /** Called with the bytes that were read, also of what is wrong, and twice of what is read twice. */
  readonly onProgress?: ((bytes: number) => void) | undefined
}

export interface ContentResult {
  readonly verified: number
  /** Stored bytes of those that were verified. */
  readonly bytes: number
  /** False when the time was not enough for all that should be read. */
  readonly complete: boolean
}

/** The time is over. */
const OVER = new Error('the time for the audit is over')

/**
 * Reads the contents of blobs and compares their digests, beginning with the one that has not been
 * verified for the longest time, after those that a clock which was ahead has dated in the future;
 * what is right is noted, so that the next audit goes on with the rest.
 * What has no file, or one of the wrong size, is left to `auditBlobRows`.
 */
export async function auditContents(
  run: AuditRun,
  { share, maxDurationMs, onProgress }: ContentOptions,
): Promise<ContentResult> {
  const result = { verified: 0, bytes: 0, complete: true }
  if (share <= 0) return result
  const end = performance.now() + maxDurationMs
  let read = 0
  const pace = (bytes: number): void => {
    run.signal?.throwIfAborted()
    if (performance.now() > end) throw OVER
    read += bytes
    onProgress?.(read)
  }
  const before = await run.rows.now()
  const lists: Lists = [
    // First, and once: what was read is dated after `before` and not ahead any more.
    (after) => run.rows.listAhead(after, VERIFIED_PAGE),
    (after) => run.rows.listUnverified(after, before, VERIFIED_PAGE),
  ]
  for await (const page of pagesOf(lists)) {
    const verified: BlobRow[] = []
    try {
      const chosen = page.filter(() => Math.random() < share)
      await eachOf(chosen, CONTENTS_AT_ONCE, async (row) => {
        if (performance.now() > end) throw OVER
        const right = await rightRow(run, row, pace)
        if (right) verified.push(right)
      })
    } catch (error) {
      if (error !== OVER) throw error
      result.complete = false
    } finally {
      await run.rows.markVerified(verified.map(({ id }) => id))
      result.verified += verified.length
      for (const { storedSize } of verified) result.bytes += storedSize
    }
    if (!result.complete) return result
  }
  return result
}

type Page = Awaited<ReturnType<AuditRun['rows']['listUnverified']>>
type Lists = readonly ((after: VerifiedKey | undefined) => Promise<Page>)[]

/** All pages of one list after the other. */
async function* pagesOf(lists: Lists): AsyncGenerator<Page> {
  for (const list of lists) {
    let page = await list(undefined)
    for (let last = page.at(-1); last !== undefined; last = page.at(-1)) {
      yield page
      page = await list(last)
    }
  }
}

/** The row as it is when its content is right; undefined when it is not, after that was told. */
async function rightRow(
  run: AuditRun,
  row: BlobRow,
  pace: (bytes: number) => void,
): Promise<BlobRow | undefined> {
  const problem = await wrongContent(run, row, pace)
  if (problem === undefined) return row
  const now = await run.rows.findBlobRow(row.id)
  const still = now && (await wrongContent(run, now, pace))
  if (now === undefined || still === 'absent') return undefined
  if (still === undefined) return now
  run.tell(await blobFinding(run, still.kind, now, still.detail))
  return undefined
}

/** Undefined when it is right. */
async function wrongContent({ files }: AuditRun, row: BlobRow, pace: (bytes: number) => void) {
  try {
    await files.verify(row, pace)
    return undefined
  } catch (error) {
    if (!(error instanceof BytesError)) throw error
    const { code, message: detail } = error
    if (code === 'storage_unavailable') return { kind: 'blob_unreadable', detail } as const
    if (code === 'blob_missing') return 'absent'
    if (code !== 'blob_damaged') throw error
    const size = await files.sizeOf(row)
    if (size !== row.storedSize) return 'absent'
    return { kind: 'blob_wrong_digest', detail } as const
  }
}
