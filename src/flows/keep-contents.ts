import { BytesError } from '../domain/errors.js'
import type { MetaRepository, UploadTarget } from '../domain/meta-repository.js'
import type { Blob, ContentDigest } from '../domain/models.js'
import type { Log, RawRepository } from '../domain/ports.js'
import type { HeldContent, Staging } from './staging.js'

export interface KeepPorts {
  readonly meta: MetaRepository
  readonly raw: RawRepository
  /** Told of what stays behind. */
  readonly log: Pick<Log, 'warn'>
}

/** Where the contents of an upload are. */
export interface KeptContents {
  readonly blobs: ReadonlyMap<ContentDigest, Blob>
  /** Those of the blobs that were published for this upload, and that no row has so far. */
  readonly published: readonly Blob[]
}

/**
 * Makes sure that contents are stored, each once. One that is stored already is not stored again if
 * its stored bytes are whole; else it is, and the blob's row is told so. Where a content always gets
 * the same address it is written without a look: it takes the place of what is there.
 * @param target with the blobs that the organization has of these contents
 * @throws BytesError what storage and database throw
 */
export async function keepContents(
  { meta, raw, log }: KeepPorts,
  target: UploadTarget,
  staging: Staging,
  contents: readonly HeldContent[],
): Promise<KeptContents> {
  const blobs = new Map<ContentDigest, Blob>()
  const wanted = new Map<ContentDigest, HeldContent>()
  for (const content of contents) {
    const { contentDigest } = content.hashes
    const there = target.blobs.get(contentDigest)
    const overwrites = there?.address === raw.addressOf(contentDigest)
    if (blobs.has(contentDigest) || wanted.has(contentDigest)) continue
    const usable = there && !overwrites && (await raw.touch(there)) && (await raw.intact(there))
    if (usable) blobs.set(contentDigest, there)
    else wanted.set(contentDigest, content)
  }
  const staged = await staging.stage([...wanted.values()])
  const locations = await raw.publish(target.boefjeMeta.organization, staged)
  const stored = [...wanted.keys()].flatMap((contentDigest, i): Blob[] => {
    const location = locations[i]
    return location ? [{ ...location, contentDigest }] : []
  })
  const published: Blob[] = []
  for (const blob of stored) {
    blobs.set(blob.contentDigest, blob)
    const lost = target.blobs.get(blob.contentDigest)
    // What was replaced no row has any more; and what took its place stays, whatever comes of this upload.
    if (lost && lost.address !== blob.address && (await meta.replaceBlob(lost, blob))) {
      await discarded(raw, log, lost)
    } else published.push(blob)
  }
  return { blobs, published }
}

/**
 * Renews the times of files that a row is about to be committed for: what took long meanwhile must not
 * look to a sweep like something that nobody wants.
 * @throws BytesError `storage_unavailable` when one is not there any more
 */
export async function renew({ raw }: Pick<KeepPorts, 'raw'>, blobs: Iterable<Blob>): Promise<void> {
  for (const blob of blobs) {
    if (await raw.touch(blob)) continue
    throw new BytesError('storage_unavailable', 'a stored content has gone: send it again')
  }
}

/**
 * Removes what was published for nothing: of equal uploads at the same time the blob of one has got
 * the row. To be called after the commit, which nothing that fails here takes back.
 */
export async function removeSurplus(ports: KeepPorts, published: readonly Blob[]): Promise<void> {
  const { meta, raw, log } = ports
  for (const blob of ownOf(raw, published)) {
    try {
      const kept = await meta.findBlob(blob.organization, blob.contentDigest)
      if (kept && kept.address !== blob.address) await discarded(raw, log, blob)
    } catch (error) {
      log.warn({ err: error, address: blob.address }, 'a blob may be without a row')
    }
  }
}

/** Removes what was published for an upload whose commit has failed for sure: no row can have it. */
export async function removePublished(
  { raw, log }: KeepPorts,
  published: readonly Blob[],
): Promise<void> {
  for (const blob of ownOf(raw, published)) await discarded(raw, log, blob)
}

/** Those that no other upload can have: equal contents of others may get the same address. */
const ownOf = (raw: RawRepository, published: readonly Blob[]): Blob[] =>
  published.filter(({ contentDigest }) => raw.addressOf(contentDigest) === null)

async function discarded(raw: RawRepository, log: KeepPorts['log'], blob: Blob): Promise<void> {
  try {
    await raw.remove(blob)
  } catch (error) {
    log.warn({ err: error, address: blob.address }, 'a blob without a row could not be removed')
  }
}
