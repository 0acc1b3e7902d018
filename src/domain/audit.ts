/** What an audit finds, and what it needs of the database and the disk. */
import type { Uuid } from './models.js'
import type { BlobLocation } from './ports.js'

/** Everything that can be wrong with what is stored. */
export const FINDING_KINDS = [
  'blob_missing',
  'blob_wrong_size',
  'blob_wrong_digest',
  'blob_unreadable',
  'blob_without_row',
  'blob_row_unreferenced',
  'stray_file',
  'temporary_leftover',
  'upload_leftover',
  'event_stuck',
  'evidence_record_unreferenced',
  'timestamp_token_unreferenced',
  'sweep_refused',
] as const
export type FindingKind = (typeof FINDING_KINDS)[number]

export interface Finding {
  readonly kind: FindingKind
  /** Null where it is not known. */
  readonly organization: string | null
  readonly contentDigest: string | null
  /** SHA-512 of the stored bytes, in hex. */
  readonly address: string | null
  /** The raw files that it concerns, at most `MAX_RAW_FILES` of them. */
  readonly rawFileIds: readonly Uuid[]
  /** Relative to the data directory; null for what is in the database. */
  readonly path: string | null
  /** For people. */
  readonly detail: string
  /** Whether the sweep has removed it: then nothing is wrong any more. */
  readonly removed: boolean
}

/** Most raw files that are named for one blob. */
export const MAX_RAW_FILES = 100

/** Where the stored bytes of a blob are, and how many they are. */
export type BlobPlace = Pick<BlobLocation, 'organization' | 'address' | 'storedSize'>

/** The row of a blob. */
export interface BlobRow extends BlobPlace {
  readonly id: number
  readonly contentDigest: string
}

/** Place in the order in which blobs are verified. */
export interface VerifiedKey {
  /** When it was last verified, or stored; as the database writes it, with microseconds. */
  readonly since: string
  readonly id: number
}

export interface StuckEvent {
  readonly id: number
  /** The raw file that it announces. */
  readonly messageId: Uuid
  readonly organization: string | null
  readonly ageSeconds: number
}

/** The database, as an audit reads it. Every method throws BytesError `database_unavailable`. */
export interface AuditRows {
  /** Time of the database, as text. */
  now(): Promise<string>
  countBlobs(): Promise<{ blobs: number; bytes: number }>
  /** In the order of their ids. `unreferenced`: no raw file has it, and it is older than the grace time. */
  listBlobs(
    afterId: number,
    limit: number,
    graceSeconds: number,
  ): Promise<readonly (BlobRow & { readonly unreferenced: boolean })[]>
  /** Those that were last verified, or else stored, before `before`: the longest ago first. */
  listUnverified(
    after: VerifiedKey | undefined,
    before: string,
    limit: number,
  ): Promise<readonly (BlobRow & VerifiedKey)[]>
  /** Those that are dated in the future: the clock was ahead when they were verified, or stored. */
  listAhead(
    after: VerifiedKey | undefined,
    limit: number,
  ): Promise<readonly (BlobRow & VerifiedKey)[]>
  /** As it is now; undefined when it has gone. */
  findBlobRow(id: number): Promise<BlobRow | undefined>
  /**
   * The organizations and addresses of the rows that have one of these addresses.
   * @param organization undefined for all
   */
  rowsAt(
    addresses: readonly string[],
    organization: string | undefined,
  ): Promise<readonly Pick<BlobPlace, 'organization' | 'address'>[]>
  /** At most `MAX_RAW_FILES`. */
  rawFilesOf(blobId: number): Promise<readonly Uuid[]>
  /** Notes that these were verified just now. */
  markVerified(ids: readonly number[]): Promise<void>
  /** @returns false when a raw file has it by now, or it has gone */
  removeBlobRow(id: number, graceSeconds: number): Promise<boolean>
  stuckEvents(
    afterId: number,
    olderThanSeconds: number,
    limit: number,
  ): Promise<readonly StuckEvent[]>
  /**
   * Evidence records that no raw file names, and that none can name any more.
   * @param linkPrefix of the retrieval links of evidence records: their id follows
   */
  unnamedRecords(
    linkPrefix: string,
    after: Uuid | undefined,
    graceSeconds: number,
    limit: number,
  ): Promise<readonly Uuid[]>
  removeUnnamedRecords(
    linkPrefix: string,
    ids: readonly Uuid[],
    graceSeconds: number,
  ): Promise<readonly Uuid[]>
  /** Timestamp tokens that no evidence record has. */
  unnamedTokens(afterId: number, graceSeconds: number, limit: number): Promise<readonly number[]>
  removeUnnamedTokens(ids: readonly number[], graceSeconds: number): Promise<readonly number[]>
}

/** A file in the folders of blobs. */
export interface BlobFileName {
  /** Relative to the data directory. */
  readonly path: string
  /** `aside`: a sweep has set it aside and did not get to its end. */
  readonly form: 'blob' | 'aside' | 'stray'
  /** Null for what is stray. */
  readonly address: string | null
}

/** Files of one folder. */
export interface BlobFileBatch {
  /** Folder of the organization; null above those. */
  readonly organizationFolder: string | null
  /** Undefined when the name of the folder does not tell it. */
  readonly organization: string | undefined
  readonly files: readonly BlobFileName[]
}

/** A file that is no blob and may have been left behind. */
export interface LeftoverFile {
  readonly path: string
  readonly kind: 'temporary_leftover' | 'upload_leftover' | 'stray_file'
  /** Milliseconds since 1970. */
  readonly changedAt: number
}

/** The disk, as an audit reads it. Every method throws BytesError `storage_unavailable`. */
export interface AuditFiles {
  /** Milliseconds since 1970, by the clock that the times of files are from. */
  clock(): Promise<number>
  /** Bytes of a blob's file; undefined when there is none. */
  sizeOf(place: BlobPlace): Promise<number | undefined>
  /**
   * Reads the stored bytes and compares their digest with the address. It takes no key.
   * @param pace called for each piece with its bytes; may wait, and may throw to end the reading
   * @throws BytesError `blob_missing`, `blob_damaged`, `storage_unavailable`; what `pace` throws
   */
  verify(place: BlobPlace, pace?: (bytes: number) => Promise<void> | void): Promise<void>
  /** All files in the folders of blobs, some at a time. */
  blobFiles(): AsyncIterable<BlobFileBatch>
  folderOf(organization: string): string
  /** Temporary files, and what is in the folder of resumable uploads and is none of those that go on. */
  leftovers(uploadLifetimeMs: number): AsyncIterable<LeftoverFile>
  /** Milliseconds since 1970; undefined when there is no such file. */
  changedAt(path: string): Promise<number | undefined>
  /**
   * Takes a blob's file from its address. Whoever stores the same content from then on puts another
   * file there, and readers still find this one.
   * @returns its path; undefined when it has gone
   */
  setAside(path: string): Promise<string | undefined>
  /** Puts it back, unless there is another one by now. */
  putBack(asidePath: string): Promise<void>
  discard(path: string): Promise<void>
}
