import { randomUUID } from 'node:crypto'
import { BytesError } from '../domain/errors.js'
import { safeFileName } from '../domain/file-name.js'
import { instantNow } from '../domain/instant.js'
import type { MetaRepository, NewRawFile } from '../domain/meta-repository.js'
import { canonicalMimeTypes, mimeTypesDigest } from '../domain/mime-types.js'
import type { BoefjeMeta, Uuid } from '../domain/models.js'
import type { HashRepository, RawRepository } from '../domain/ports.js'
import { boefjeMetaText, rawFileEventText } from '../domain/wire-text.js'
import { type HashingAlgorithm, startHash } from '../hashing/hasher.js'

/** One file of an upload. */
export interface UploadedFile {
  /** Free text that the client finds its raw file by in the answer. */
  readonly name: string
  readonly content: Uint8Array
  /** MIME types, in any order and with repetitions. */
  readonly tags: readonly string[]
}

export interface IngestPorts {
  readonly meta: MetaRepository
  readonly raw: RawRepository
  readonly hashes: HashRepository
  readonly algorithm: HashingAlgorithm
  /** Called after each commit that left events in the outbox. */
  readonly wakeRelay: () => void
}

/**
 * Stores the files that a job produced. When it resolves, everything is durable: the bytes and
 * names of the blobs are fsynced, and the rows and events are committed. All files are stored, or
 * none. A file whose job and set of MIME types are known already is not stored again.
 *
 * The order matters. Blobs come first, so that no row can point at a file that a crash swallowed.
 * A crash in between leaves at worst a blob without a row.
 *
 * @returns name and raw file id of each file, in the order of the upload
 * @throws BytesError `boefje_meta_not_found`, `mime_types_not_unique` (nothing is stored then), or
 *   what storage and database throw
 */
export async function ingest(
  ports: IngestPorts,
  boefjeMetaId: Uuid,
  files: readonly UploadedFile[],
): Promise<[name: string, id: Uuid][]> {
  const tagged = files.map((file) => {
    const mimeTypes = canonicalMimeTypes(file.tags)
    return { ...file, mimeTypes, mimeTypesDigest: mimeTypesDigest(mimeTypes) }
  })
  const target = await ports.meta.findUploadTarget(
    boefjeMetaId,
    tagged.map((file) => file.mimeTypesDigest),
  )
  if (!target) throw new BytesError('boefje_meta_not_found', 'Boefje meta not found')

  const fresh = tagged.filter((file) => !target.existing.has(keyOf(file)))
  refuseEqualSets(fresh.map(keyOf))

  const stored = await store(ports, target.boefjeMeta, fresh)
  const ids = new Map([...target.existing, ...stored])
  return tagged.map((file) => {
    const id = ids.get(keyOf(file))
    if (!id) throw new Error(`the file ${file.name} was neither stored nor found`)
    return [file.name, id]
  })
}

/** What tells the files of a job apart. */
const keyOf = (file: TaggedFile): string => file.mimeTypesDigest.toString('hex')

interface TaggedFile extends UploadedFile {
  readonly mimeTypes: readonly string[]
  readonly mimeTypesDigest: Buffer
}

function refuseEqualSets(keys: readonly string[]): void {
  if (new Set(keys).size < keys.length) {
    throw new BytesError(
      'mime_types_not_unique',
      'Content types do not define unique sets of mime types.',
    )
  }
}

async function store(
  ports: IngestPorts,
  job: BoefjeMeta,
  files: readonly TaggedFile[],
): Promise<[key: string, id: Uuid][]> {
  if (files.length === 0) return []
  const jobText = boefjeMetaText(job)
  const rows: NewRawFile[] = []
  for (const file of files) rows.push(await storeBlob(ports, job, jobText, file))
  const ids = await ports.meta.commitUpload(rows)
  ports.wakeRelay()
  return files.flatMap((file, i) => {
    const id = ids[i]
    return id ? [[keyOf(file), id]] : []
  })
}

/** Makes the file's blob durable; what is left is to commit the row that this returns. */
async function storeBlob(
  { raw, hashes, algorithm }: IngestPorts,
  job: BoefjeMeta,
  jobText: string,
  file: TaggedFile,
): Promise<NewRawFile> {
  const hash = startHash(algorithm, job.endedAt)
  hash.update(file.content)
  const { contentDigest, secureHash } = hash.finish()
  const blob = await raw.put(job.organization, [file.content], () => contentDigest)

  const id = randomUUID()
  const body = rawFileEventText(
    {
      event_id: 'raw_file_received',
      created_at: instantNow(),
      organization: job.organization,
      raw_data: {
        id,
        boefjeMeta: job,
        mimeTypes: file.mimeTypes,
        secureHash: null,
        signingProviderUrl: null,
        hashRetrievalLink: null,
      },
    },
    jobText,
  )
  return {
    id,
    boefjeMetaId: job.id,
    mimeTypes: file.mimeTypes,
    mimeTypesDigest: file.mimeTypesDigest,
    fileName: safeFileName(file.name),
    secureHash,
    hashRetrievalLink: await hashes.store(secureHash),
    blob: { ...blob, contentDigest },
    event: { body, headers: { 'content-digest': contentDigest, size: blob.size } },
  }
}
