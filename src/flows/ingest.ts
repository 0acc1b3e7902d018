import { randomUUID } from 'node:crypto'
import { BytesError } from '../domain/errors.js'
import { safeFileName } from '../domain/file-name.js'
import { instantNow } from '../domain/instant.js'
import type { MetaRepository, NewRawFile, UploadTarget } from '../domain/meta-repository.js'
import { canonicalMimeTypes, mimeTypesDigest } from '../domain/mime-types.js'
import type { BoefjeMeta, Uuid } from '../domain/models.js'
import type { BlobLocation, ByteSource, HashRepository, RawRepository } from '../domain/ports.js'
import { boefjeMetaText, rawFileEventText } from '../domain/wire-text.js'
import type { HashingAlgorithm } from '../hashing/hasher.js'
import { type HeldContent, Staging } from './staging.js'

/** One file of an upload, whose content has been read. */
export interface ReceivedFile {
  /** Free text that the client finds its raw file by in the answer. */
  readonly name: string
  /** Name to save it under, in any form; null when there is none. */
  readonly fileName: string | null
  /** MIME types, in any order and with repetitions. */
  readonly tags: readonly string[]
  readonly content: HeldContent
}

/** Reads a content to its end, hashes it and keeps it out of memory's way. */
export type Hold = (content: ByteSource) => Promise<HeldContent>

/** Files that arrive for a job. */
export interface Upload {
  readonly boefjeMetaId: Uuid
  /** Sets of MIME types that are known to come, if any: for those one query is enough. */
  readonly announced?: readonly (readonly string[])[]
  /**
   * Reads the upload to its end. Of the contents that it holds, those that it does not return are
   * dropped.
   */
  readonly receive: (hold: Hold) => Promise<readonly ReceivedFile[]>
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
 * none: when anything fails, what was written is removed at once. A file whose job and set of MIME
 * types are known already is not stored again.
 *
 * The order matters. Blobs come first, so that no row can point at a file that a crash swallowed.
 * A crash in between leaves at worst a blob without a row.
 *
 * @returns name and raw file id of each file, in the order of the upload
 * @throws BytesError `boefje_meta_not_found` (nothing is read then), `mime_types_not_unique`, or
 *   what storage and database throw; and whatever `receive` throws
 */
export async function ingest(
  ports: IngestPorts,
  upload: Upload,
): Promise<[name: string, id: Uuid][]> {
  const announced = upload.announced?.map((set) => mimeTypesDigest(canonicalMimeTypes(set))) ?? []
  const target = await findTarget(ports, upload.boefjeMetaId, announced)
  const staging = new Staging(ports.raw, ports.algorithm, target.boefjeMeta.endedAt)
  try {
    const files = (await upload.receive((content) => staging.hold(content))).map(tagged)
    const existing = await existingOf(ports, target, announced, files)
    const fresh = files.filter((file) => !existing.has(file.key))
    refuseEqualSets(fresh.map(({ key }) => key))

    const stored = await store(ports, target.boefjeMeta, staging, fresh)
    const ids = new Map([...existing, ...stored])
    return files.map((file) => {
      const id = ids.get(file.key)
      if (!id) throw new Error(`the file ${file.name} was neither stored nor found`)
      return [file.name, id]
    })
  } finally {
    await staging.discard()
  }
}

async function findTarget(
  { meta }: IngestPorts,
  boefjeMetaId: Uuid,
  digests: readonly Buffer[],
): Promise<UploadTarget> {
  const target = await meta.findUploadTarget(boefjeMetaId, digests)
  if (!target) throw new BytesError('boefje_meta_not_found', 'Boefje meta not found')
  return target
}

/** Which of the files are known: asked for again when not all of them were announced. */
async function existingOf(
  ports: IngestPorts,
  target: UploadTarget,
  announced: readonly Buffer[],
  files: readonly TaggedFile[],
): Promise<UploadTarget['existing']> {
  const asked = new Set(announced.map((digest) => digest.toString('hex')))
  if (files.every(({ key }) => asked.has(key))) return target.existing
  const digests = files.map((file) => file.mimeTypesDigest)
  return (await findTarget(ports, target.boefjeMeta.id, digests)).existing
}

interface TaggedFile extends ReceivedFile {
  /** Canonical. */
  readonly mimeTypes: readonly string[]
  readonly mimeTypesDigest: Buffer
  /** Tells the files of a job apart: the digest in hex. */
  readonly key: string
}

function tagged(file: ReceivedFile): TaggedFile {
  const mimeTypes = canonicalMimeTypes(file.tags)
  const digest = mimeTypesDigest(mimeTypes)
  return { ...file, mimeTypes, mimeTypesDigest: digest, key: digest.toString('hex') }
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
  staging: Staging,
  files: readonly TaggedFile[],
): Promise<[key: string, id: Uuid][]> {
  if (files.length === 0) return []
  const staged = await staging.stage(files.map(({ content }) => content))
  const blobs = await ports.raw.publish(job.organization, staged)
  const jobText = boefjeMetaText(job)
  const rows: NewRawFile[] = []
  for (const [i, file] of files.entries()) {
    const blob = blobs[i]
    if (blob) rows.push(await newRawFile(ports, job, jobText, file, blob))
  }
  const ids = await ports.meta.commitUpload(rows)
  ports.wakeRelay()
  return files.flatMap((file, i) => {
    const id = ids[i]
    return id ? [[file.key, id]] : []
  })
}

/** The row of a file whose blob is durable. */
async function newRawFile(
  { hashes }: IngestPorts,
  job: BoefjeMeta,
  jobText: string,
  file: TaggedFile,
  blob: BlobLocation,
): Promise<NewRawFile> {
  const { contentDigest, secureHash } = file.content.hashes

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
    fileName: file.fileName === null ? null : safeFileName(file.fileName),
    secureHash,
    hashRetrievalLink: await hashes.store(secureHash),
    blob: { ...blob, contentDigest },
    event: { body, headers: { 'content-digest': contentDigest, size: blob.size } },
  }
}
