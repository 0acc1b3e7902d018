import type { JobKey, RawFileKey } from './cursor.js'
import type {
  Blob,
  BoefjeMeta,
  ContentDigest,
  NormalizerMeta,
  StoredContent,
  StoredRawFile,
  Uuid,
} from './models.js'
import type { OutgoingEvent } from './ports.js'

/**
 * Part of a list: at most `limit` of the rows that follow the one with the sort key `after`. When
 * they are long it has fewer of them, as memory must hold it.
 */
export interface Slice<Key> {
  readonly limit: number
  /** Left out: from the beginning. No row needs to have this key any more. */
  readonly after?: Key | undefined
  /** Rows that come after this key are none of the list. */
  readonly until?: Key | undefined
}

/** A slice without its first `offset` rows. */
export interface Page<Key> extends Slice<Key> {
  readonly offset: number
}

export interface Listed<Row, Key> {
  readonly rows: readonly Row[]
  /** Sort key of the last row when others follow it; undefined when there are no rows. */
  readonly next: Key | undefined
  /** Characters of the long texts of the rows; those that rows share count once. */
  readonly length: number
}

/** Where the rows of a slice would end, however long they are. */
export interface End<Key> {
  /** Sort key of the last one; undefined when there are none. */
  readonly last: Key | undefined
  /** Whether others follow it. */
  readonly more: boolean
}

export interface BoefjeMetaFilter {
  readonly organization: string
  readonly boefjeId?: string | undefined
  /** null selects jobs without an input; undefined does not filter. */
  readonly inputOoi?: string | null | undefined
  /** By start time. */
  readonly descending: boolean
}

export interface NormalizerMetaFilter {
  readonly organization: string
  readonly normalizerId?: string | undefined
  readonly rawId?: Uuid | undefined
  readonly descending: boolean
}

/** Filters are combined with *and*; an empty list or undefined does not filter. */
export interface RawFileFilter {
  readonly organizations: readonly string[]
  readonly boefjeMetaId?: Uuid | undefined
  readonly normalized?: boolean | undefined
  readonly rawIds: readonly Uuid[]
  /** A raw file must have all of them. */
  readonly mimeTypes: readonly string[]
}

/** How many raw files have a MIME type. */
export interface MimeTypeCount {
  readonly mimeType: string
  readonly files: number
}

/** The job that files are uploaded for, and which of their sets of MIME types it has already. */
export interface UploadTarget {
  readonly boefjeMeta: BoefjeMeta
  /** Hex of the MIME types' digest to the id of the raw file that has them. */
  readonly existing: ReadonlyMap<string, Uuid>
  /** Blobs of the job's organization that have one of the given contents, by content digest. */
  readonly blobs: ReadonlyMap<ContentDigest, Blob>
}

/** A file whose blob is durable and whose rows are to be committed. */
export interface NewRawFile {
  readonly id: Uuid
  readonly boefjeMetaId: Uuid
  readonly mimeTypes: readonly string[]
  readonly mimeTypesDigest: Buffer
  /** As `safeFileName` makes it. */
  readonly fileName: string | null
  readonly secureHash: string
  /** Null when a hash repository has yet to give it: then the hash is pending. */
  readonly hashRetrievalLink: string | null
  readonly blob: Blob
  /** Its event, whose message id will be the raw file's. */
  readonly event: Pick<OutgoingEvent, 'body' | 'headers'>
}

/** Numbers per organization, for the metrics. */
export interface OrganizationCounts {
  readonly organization: string
  readonly rawFiles: number
  /** Bytes of the blobs as stored. */
  readonly storedBytes: number
  /** Bytes of content that were uploaded again and not stored again. */
  readonly savedBytes: number
}

export interface OutboxState {
  readonly depth: number
  /** Age of the oldest event in seconds, 0 when there is none. */
  readonly oldestAgeSeconds: number
}

/** Metadata of jobs and raw files. Every method throws BytesError `database_unavailable` when the database cannot be reached. */
export interface MetaRepository {
  /** @throws BytesError `already_exists` when there is a job with this id */
  insertBoefjeMeta(meta: BoefjeMeta): Promise<void>
  findBoefjeMeta(id: Uuid): Promise<BoefjeMeta | undefined>
  listBoefjeMeta(filter: BoefjeMetaFilter, page: Page<JobKey>): Promise<Listed<BoefjeMeta, JobKey>>
  endOfBoefjeMeta(filter: BoefjeMetaFilter, page: Page<JobKey>): Promise<End<JobKey>>

  /** @throws BytesError `already_exists` for a taken id, `reference_missing` for an unknown raw file */
  insertNormalizerMeta(
    meta: Omit<NormalizerMeta, 'rawFile'> & { readonly rawFileId: Uuid },
  ): Promise<void>
  findNormalizerMeta(id: Uuid): Promise<NormalizerMeta | undefined>
  listNormalizerMeta(
    filter: NormalizerMetaFilter,
    page: Page<JobKey>,
  ): Promise<Listed<NormalizerMeta, JobKey>>
  endOfNormalizerMeta(filter: NormalizerMetaFilter, page: Page<JobKey>): Promise<End<JobKey>>

  findRawFile(id: Uuid): Promise<StoredRawFile | undefined>
  /** The blob of a content, if a raw file of the organization refers to it. */
  findBlob(organization: string, contentDigest: ContentDigest): Promise<Blob | undefined>
  /** In the order in which the files were stored. */
  listRawFiles(
    filter: RawFileFilter,
    slice: Slice<RawFileKey>,
  ): Promise<Listed<StoredRawFile, RawFileKey>>
  /** The same, without what only the metadata need. */
  listContents(
    filter: RawFileFilter,
    slice: Slice<RawFileKey>,
  ): Promise<Listed<StoredContent, RawFileKey>>
  endOfRawFiles(filter: RawFileFilter, slice: Slice<RawFileKey>): Promise<End<RawFileKey>>
  /** In the database's order of texts. Each slice takes a look at all raw files of the filter. */
  countMimeTypes(
    filter: RawFileFilter,
    slice: Slice<string>,
  ): Promise<Listed<MimeTypeCount, string>>
  endOfMimeTypes(filter: RawFileFilter, slice: Slice<string>): Promise<End<string>>

  /** @returns undefined when there is no such job */
  findUploadTarget(
    boefjeMetaId: Uuid,
    mimeTypesDigests: readonly Buffer[],
    contentDigests?: readonly ContentDigest[],
  ): Promise<UploadTarget | undefined>
  /**
   * Lets a blob have its content elsewhere, where it is whole, unless that has been done already.
   * @param lost as it was found
   * @returns false when it has been done already, or the blob is gone
   */
  replaceBlob(lost: Blob, found: Blob): Promise<boolean>
  /**
   * Commits blobs, raw files, events and pending hashes of one upload in one statement: all or
   * nothing. A file whose job and MIME types exist by now is not inserted.
   * @returns for each file its new id, or that of the raw file which existed
   * @throws BytesError `boefje_meta_not_found` when the job has gone: nothing was committed;
   *   `database_timeout` when the one that existed has gone before it was found
   */
  commitUpload(files: readonly NewRawFile[]): Promise<Uuid[]>

  countByOrganization(): Promise<OrganizationCounts[]>
  outboxState(): Promise<OutboxState>
  /** Resolves when the database answers, can be written, and has the migrations. */
  check(): Promise<void>
}

/** An event that was claimed, and whose body is not in memory. */
export interface ClaimedEvent extends Pick<OutgoingEvent, 'messageId'> {
  readonly id: string
  /** Of its body. */
  readonly bytes: number
}

/** Reads claimed events whole, in order: as many at once as the memory should hold. */
export type LoadEvents = (events: readonly ClaimedEvent[]) => Promise<OutgoingEvent[]>

/** The events that wait to be published. */
export interface Outbox {
  /**
   * Claims up to `limit` events, oldest first, that no other instance has claimed, hands them to
   * `publish`, and deletes those for which it returned true. The rest stays.
   * @returns how many were claimed and how many deleted
   */
  drain(
    limit: number,
    publish: (events: readonly ClaimedEvent[], load: LoadEvents) => Promise<boolean[]>,
  ): Promise<{ claimed: number; published: number }>
}
