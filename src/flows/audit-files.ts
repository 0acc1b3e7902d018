/** The half of an audit that begins at the disk: files that no row has, and what was left behind. */
import type { BlobFileBatch, BlobFileName } from '../domain/audit.js'
import { type AuditRun, finding } from './audit-run.js'
import { type SweepCandidate, sweepBlobFile } from './sweep.js'

/** Looks for files in the folders of blobs that no row has. Sweeps them if it may. */
export async function auditBlobFiles(run: AuditRun): Promise<void> {
  for await (const batch of run.files.blobFiles()) {
    run.signal?.throwIfAborted()
    for (const file of batch.files) {
      if (file.form === 'stray') await stray(run, file.path)
    }
    for (const candidate of await withoutRow(run, batch)) await orphan(run, candidate)
  }
}

/** Looks for temporary files and files of uploads that nobody goes on with. */
export async function auditLeftovers(run: AuditRun): Promise<void> {
  for await (const { path, kind, changedAt } of run.files.leftovers(run.uploadLifetimeMs)) {
    run.signal?.throwIfAborted()
    if (kind === 'stray_file') await stray(run, path)
    else if (changedAt > run.oldest) run.young()
    else {
      if (run.sweep) await run.files.discard(path)
      const detail = kind === 'temporary_leftover' ? 'a temporary file' : 'a file of an upload'
      run.tell(
        finding(kind, { path, detail: `${detail} that was left behind`, removed: run.sweep }),
      )
    }
  }
}

/** Nothing of ours has such a name there: it is told of and never removed. */
async function stray(run: AuditRun, path: string): Promise<void> {
  const changedAt = await run.files.changedAt(path)
  if (changedAt === undefined) return
  if (changedAt > run.oldest) run.young()
  else run.tell(finding('stray_file', { path, detail: 'not a file of this service' }))
}

/** Files whose row was not found, and those that a sweep has left set aside. */
async function withoutRow(
  { files, rows }: AuditRun,
  { organizationFolder, organization, files: names }: BlobFileBatch,
): Promise<SweepCandidate[]> {
  const ours = names.filter(isBlob)
  if (organizationFolder === null || ours.length === 0) return []
  const found = await rows.rowsAt([...new Set(ours.map(({ address }) => address))], organization)
  const known = new Set(
    found
      .filter((row) => files.folderOf(row.organization) === organizationFolder)
      .map(({ address }) => address),
  )
  return ours
    .filter(({ address, form }) => form === 'aside' || !known.has(address))
    .map((file) => ({ file, organizationFolder, organization }))
}

const isBlob = (file: BlobFileName): file is SweepCandidate['file'] => file.address !== null

async function orphan(run: AuditRun, candidate: SweepCandidate): Promise<void> {
  const { path, address, form } = candidate.file
  const changedAt = await run.files.changedAt(path)
  if (changedAt === undefined) return
  // What was set aside for a row that is there is put back, whatever its age.
  const young = changedAt > run.oldest
  if (young && (form === 'blob' || !run.sweep)) {
    run.young()
    return
  }
  const removed = run.sweep && (await sweepBlobFile(run, candidate, run.oldest))
  if (run.sweep && !removed) return
  const organization = candidate.organization ?? null
  const detail =
    form === 'aside' ? 'set aside by a sweep that did not get to its end' : 'no blob has this file'
  run.tell(finding('blob_without_row', { organization, address, path, detail, removed }))
}
