/** Domain objects for tests of what stores them. */
import { createHash, randomUUID } from 'node:crypto'
import type { MetaRepository, NewRawFile } from '../../src/domain/meta-repository.js'
import { canonicalMimeTypes, mimeTypesDigest } from '../../src/domain/mime-types.js'
import type { BoefjeMeta, NormalizerMeta } from '../../src/domain/models.js'

export function boefjeMeta(changes: Partial<BoefjeMeta> = {}): BoefjeMeta {
  return {
    id: randomUUID(),
    startedAt: '2026-01-01T00:00:00Z',
    endedAt: '2026-01-01T00:10:00.123456Z',
    boefje: { id: 'dns-records', version: null },
    inputOoi: 'Hostname|internet|example.com',
    arguments: '{}',
    organization: 'org',
    runnableHash: null,
    environment: null,
    ...changes,
  }
}

export function normalizerMeta(
  rawFileId: string,
  changes: Partial<Omit<NormalizerMeta, 'rawFile'>> = {},
) {
  return {
    id: randomUUID() as string,
    startedAt: '2026-01-02T00:00:00Z',
    endedAt: '2026-01-02T00:00:01Z',
    normalizer: { id: 'kat_dns', version: null },
    rawFileId,
    ...changes,
  }
}

/** A file of a job, ready to be committed; equal contents have equal blobs. */
export function newRawFile(
  job: Pick<BoefjeMeta, 'id' | 'organization'>,
  tags: readonly string[],
  content: string = randomUUID(),
): NewRawFile {
  const id = randomUUID()
  const mimeTypes = canonicalMimeTypes(tags)
  const address = createHash('sha512').update(content).digest('hex')
  const size = Buffer.byteLength(content)
  return {
    id,
    boefjeMetaId: job.id,
    mimeTypes,
    mimeTypesDigest: mimeTypesDigest(mimeTypes),
    fileName: null,
    secureHash: `sha512:${address}`,
    hashRetrievalLink: randomUUID(),
    blob: {
      organization: job.organization,
      contentDigest: `sha512:${address}`,
      size,
      address,
      storedSize: size,
      middleware: 'IDENTITY',
      sealedKey: null,
    },
    event: {
      body: JSON.stringify({ event_id: 'raw_file_received', raw_data: { id } }),
      headers: { 'content-digest': `sha512:${address}`, size },
    },
  }
}

/** Commits one file for each set of MIME types of a new job; resolves to the job and the files. */
export async function storedFiles(
  meta: MetaRepository,
  sets: readonly (readonly string[])[],
  changes: Partial<BoefjeMeta> = {},
): Promise<{ job: BoefjeMeta; files: NewRawFile[]; ids: string[] }> {
  const job = boefjeMeta(changes)
  await meta.insertBoefjeMeta(job)
  const files = sets.map((tags) => newRawFile(job, tags))
  return { job, files, ids: await meta.commitUpload(files) }
}
