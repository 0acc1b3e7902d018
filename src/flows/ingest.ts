import { randomUUID } from 'node:crypto'
import { BytesError, type ErrorCode } from '../domain/errors.js'
import { safeFileName } from '../domain/file-name.js'
import type { HashRepository } from '../domain/hash-repository.js'
import { instantNow } from '../domain/instant.js'
import type { NewRawFile, UploadTarget } from '../domain/meta-repository.js'
import type { Blob, BoefjeMeta, Uuid } from '../domain/models.js'
import type { ByteSource } from '../domain/ports.js'
import { boefjeMetaText, rawFileEventText } from '../domain/wire-text.js'
import type { HashingAlgorithm } from '../hashing/hasher.js'
import { type EventMemory, withRoomForEvents } from './event-room.js'
import {
  type KeepPorts,
  keepContents,
  removePublished,
  removeSurplus,
  renew,
} from './keep-contents.js'
import { type HeldContent, Staging } from './staging.js'
import { type ReceivedFile, type TaggedFile, tagAll } from './tagged.js'
import { createTurns } from './turns.js'

/** Characters of events that are written between two turns of others: a few milliseconds. */
const EVENTS_AT_ONCE = 1024 * 1024
/** Files that were kept so many milliseconds ago are renewed before their rows are committed. */
const RENEW_MS = 60_000

/** Reads a content to its end, hashes it and keeps it out of memory's way. */
export type Hold = (content: ByteSource) => Promise<HeldContent>

/** Files that arrive for a job. */
export interface Upload {
  readonly boefjeMetaId: Uuid
  /**
   * True when next to nothing is left to be read from the client. Otherwise the job is looked up
   * first, so that a long body for an unknown job is refused at its beginning.
   */
  readonly buffered: boolean
  /**
   * Reads the upload to its end. Of the contents that it holds, those that it does not return are
   * dropped.
   */
  readonly receive: (hold: Hold) => Promise<readonly ReceivedFile[]>
}

export interface IngestPorts extends KeepPorts {
  /**
   * The hash repository that answers at once. Undefined when it is somebody else: then the hashes are
   * left to the timestamper, and nobody waits for it.
   */
  readonly hashes: Pick<HashRepository, 'store'> | undefined
  readonly algorithm: HashingAlgorithm
  readonly eventMemory: EventMemory
  /** Called after each commit that left events in the outbox. */
  readonly wakeRelay: () => void
  /** Called after each commit that left pending hashes. */
  readonly wakeTimestamper: () => void
}

/**
 * Stores the files that a job produced. When it resolves, everything is durable: the bytes and
 * names of the blobs are fsynced, and the rows and events are committed. All files are stored, or
 * none: what fails before the blobs get their names is removed at once. A file whose job and set of
 * MIME types are known already is not stored again, unless its content has been damaged meanwhile.
 *
 * The order matters. Blobs come first, so that no row can point at a file that a crash swallowed.
 * What comes in between, a crash or a commit that fails, leaves at worst blobs that no raw file has.
 *
 * @returns name and raw file id of each file, in the order of the upload
 * @throws BytesError `boefje_meta_not_found`, `mime_types_not_unique`, or
 *   what storage and database throw; and whatever `receive` throws
 */
export async function ingest(
  ports: IngestPorts,
  upload: Upload,
): Promise<[name: string, id: Uuid][]> {
  const staging = new Staging(ports.raw, ports.algorithm)
  try {
    if (!upload.buffered) await findTarget(ports, upload.boefjeMetaId, [])
    const files = await tagAll(await upload.receive((content) => staging.hold(content)))
    const target = await findTarget(ports, upload.boefjeMetaId, files)
    const fresh = files.filter((file) => !target.existing.has(file.key))
    refuseEqualSets(fresh.map(({ key }) => key))

    const known = files.filter((file) => target.existing.has(file.key))
    const hurt = await damagedOf(ports.raw, target, known)
    const stored = await store(ports, target, staging, fresh, hurt)
    const ids = new Map([...target.existing, ...stored])
    return files.map((file) => {
      const id = ids.get(file.key)
      if (!id) throw new Error(`the file ${file.name} was neither stored nor found`)
      return [file.name, id]
    })
  } finally {
    await staging.discard()
  }
}

/** The job, and what there is already of the files. */
async function findTarget(
  { meta }: IngestPorts,
  boefjeMetaId: Uuid,
  files: readonly TaggedFile[],
): Promise<UploadTarget> {
  const target = await meta.findUploadTarget(
    boefjeMetaId,
    files.map((file) => file.mimeTypesDigest),
    files.map((file) => file.content.hashes.contentDigest),
  )
  if (!target) throw new BytesError('boefje_meta_not_found', 'Boefje meta not found')
  return target
}

function refuseEqualSets(keys: readonly string[]): void {
  if (new Set(keys).size < keys.length) {
    throw new BytesError(
      'mime_types_not_unique',
      'Content types do not define unique sets of mime types.',
    )
  }
}

/** The contents that are stored, and not whole: whoever sends one again is told that it is durable. */
async function damagedOf(
  raw: IngestPorts['raw'],
  { blobs }: UploadTarget,
  files: readonly TaggedFile[],
): Promise<HeldContent[]> {
  const contents = new Map(files.map(({ content }) => [content.hashes.contentDigest, content]))
  const damaged: HeldContent[] = []
  for (const [contentDigest, content] of contents) {
    const blob = blobs.get(contentDigest)
    if (blob && !(await raw.intact(blob))) damaged.push(content)
  }
  return damaged
}

/** @param hurt contents that are stored again beside those of the files */
async function store(
  ports: IngestPorts,
  target: UploadTarget,
  staging: Staging,
  files: readonly TaggedFile[],
  hurt: readonly HeldContent[],
): Promise<[key: string, id: Uuid][]> {
  if (files.length === 0 && hurt.length === 0) return []
  const jobText = boefjeMetaText(target.boefjeMeta)
  const characters = files.reduce((sum, file) => sum + jobText.length + file.mimeTypesLength, 0)
  return withRoomForEvents(ports.eventMemory, characters, () =>
    storeAnnounced(ports, target, staging, files, hurt, jobText),
  )
}

async function storeAnnounced(
  ports: IngestPorts,
  target: UploadTarget,
  staging: Staging,
  files: readonly TaggedFile[],
  hurt: readonly HeldContent[],
  jobText: string,
): Promise<[key: string, id: Uuid][]> {
  const job = target.boefjeMeta
  const contents = [...files.map(({ content }) => content), ...hurt]
  const startedAt = performance.now()
  const { blobs, published } = await keepContents(ports, target, staging, contents)
  const rows: NewRawFile[] = []
  const turn = createTurns(EVENTS_AT_ONCE)
  for (const file of files) {
    const blob = blobs.get(file.content.hashes.contentDigest)
    if (blob) rows.push(await newRawFile(ports, job, jobText, file, blob))
    await turn(file.mimeTypesLength + jobText.length)
  }
  if (performance.now() - startedAt > RENEW_MS) await renew(ports, blobs.values())
  const ids = rows.length === 0 ? [] : await commit(ports, rows, published)
  if (ids.length > 0) ports.wakeRelay()
  if (ids.length > 0 && !ports.hashes) ports.wakeTimestamper()
  await removeSurplus(ports, published)
  return files.flatMap((file, i) => {
    const id = ids[i]
    return id ? [[file.key, id]] : []
  })
}

/** Failures that tell that nothing was committed; others leave it open. */
const NOT_COMMITTED: readonly ErrorCode[] = [
  'boefje_meta_not_found',
  'invalid_value',
  'database_conflict',
]

async function commit(
  ports: IngestPorts,
  rows: readonly NewRawFile[],
  published: readonly Blob[],
): Promise<Uuid[]> {
  try {
    return await ports.meta.commitUpload(rows)
  } catch (error) {
    if (error instanceof BytesError && NOT_COMMITTED.includes(error.code)) {
      await removePublished(ports, published)
    }
    throw error
  }
}

/** The row of a file whose blob is durable. */
async function newRawFile(
  { hashes }: IngestPorts,
  job: BoefjeMeta,
  jobText: string,
  file: TaggedFile,
  blob: Blob,
): Promise<NewRawFile> {
  const secureHash = file.content.hashes.secureHash(job.endedAt)
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
    hashRetrievalLink: hashes ? await hashes.store(secureHash) : null,
    blob,
    event: { body, headers: { 'content-digest': blob.contentDigest, size: blob.size } },
  }
}
