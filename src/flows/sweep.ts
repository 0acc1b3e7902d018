import type { AuditFiles, AuditRows, BlobFileName } from '../domain/audit.js'

/** What the sweep of files needs. */
export interface SweepPorts {
  readonly files: Pick<AuditFiles, 'changedAt' | 'setAside' | 'putBack' | 'discard' | 'folderOf'>
  readonly rows: Pick<AuditRows, 'rowsAt'>
}

/** A file that may be a blob's, and the folder that it is in. */
export interface SweepCandidate {
  readonly file: BlobFileName & { readonly address: string }
  readonly organizationFolder: string
  /** Undefined when the folder does not tell it. */
  readonly organization: string | undefined
}

/**
 * Removes a file that no row has, unless it is younger than the grace time.
 *
 * An upload of the same content may come at any moment, here or in another process. It takes no lock
 * and costs nothing more for this. Why it never loses its file:
 *
 * 1. An upload that will commit a row for an address either renames a file of its own to it, or
 *    renews the time of the file that is there (`touch`), less than the grace time before it commits
 *    (`ingest` renews again what takes long). The file that it relies on has that time or a later one.
 * 2. The sweep removes nothing from an address. It renames the file away, which is one step for
 *    everybody, and judges what it then holds in its hand: a file that an upload has put there after
 *    the sweep looked is seen to be young. A file that an upload puts there later is another one.
 * 3. It looks at the time first and at the rows second. A file that is old when it has been set aside
 *    is relied on only by uploads that have committed by now, so the rows tell of them. In both cases
 *    it is put back, unless a newer file of the same content has taken the place.
 * 4. An upload that finds nothing to `touch` stores the content anew. Readers look for a file that was
 *    set aside when there is none at the address; so they find it at any moment, and also after the
 *    sweep was killed. The next sweep judges it again.
 *
 * What it takes for granted: no upload takes longer than the grace time from its last renewal to its
 * commit, and the clock of the file system does not jump ahead by as much meanwhile.
 *
 * @param oldest milliseconds since 1970, of the clock of the files: what has changed later stays
 * @returns whether it was removed
 * @throws BytesError `storage_unavailable`, `database_unavailable`: the file is there then
 */
export async function sweepBlobFile(
  { files, rows }: SweepPorts,
  { file, organizationFolder, organization }: SweepCandidate,
  oldest: number,
): Promise<boolean> {
  const aside = file.form === 'aside' ? file.path : await files.setAside(file.path)
  if (aside === undefined) return false
  let wanted = true
  try {
    const changedAt = await files.changedAt(aside)
    // Another sweep has ended what this one was about to.
    if (changedAt === undefined) return false
    if (changedAt > oldest) return false
    const found = await rows.rowsAt([file.address], organization)
    wanted = found.some((row) => files.folderOf(row.organization) === organizationFolder)
    if (!wanted) await files.discard(aside)
    return !wanted
  } finally {
    if (wanted) await files.putBack(aside)
  }
}
