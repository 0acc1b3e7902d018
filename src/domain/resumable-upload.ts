import type { Uuid } from './models.js'
import type { ByteSource } from './ports.js'

/** What is told of a resumable upload when it is created. */
export interface NewUpload {
  readonly id: Uuid
  /** Bytes of the whole file. */
  readonly size: number
  readonly boefjeMetaId: Uuid
  readonly name: string
  /** MIME types, in any order and with repetitions. */
  readonly tags: readonly string[]
  /** The header that the client described the file with, to be told again. */
  readonly metadata: string
  /** The header that promises the digest of the whole file. */
  readonly reprDigest: string | null
}

/** A file that comes in parts. */
export interface ResumableUpload extends NewUpload {
  /** Milliseconds since 1970. */
  readonly createdAt: number
  /** Bytes that have been received and count. */
  readonly offset: number
  /** The raw file that it has become; the received bytes are gone then. */
  readonly rawId: Uuid | null
}

/** Keeps uploads until they are complete. It leaves to others that only one at a time writes to one. */
export interface UploadStore {
  /** @throws BytesError `storage_full`, `storage_unavailable`, as all methods do */
  create(upload: NewUpload): Promise<void>
  find(id: Uuid): Promise<ResumableUpload | undefined>
  /**
   * Adds a chunk where the upload ends. When the chunk breaks off, what came of it counts: but
   * nothing of it does with `confirm`, not even after a crash.
   * @param offset that of `find`
   * @param confirm called after the last byte; when it throws, the chunk does not count
   * @returns the offset after the chunk
   * @throws what `chunk` and `confirm` throw
   */
  append(id: Uuid, offset: number, chunk: ByteSource, confirm?: () => void): Promise<number>
  /** The bytes of a complete upload. */
  read(upload: ResumableUpload): AsyncIterable<Uint8Array>
  /** Notes which raw file an upload has become, and removes its bytes. */
  finish(upload: ResumableUpload, rawId: Uuid): Promise<void>
  /** @returns false when there is no such upload */
  remove(id: Uuid): Promise<boolean>
  /** How many uploads have bytes, or may get some. */
  countUnfinished(): Promise<number>
  /** All that may be uploads, damaged ones too, with the time of the last change in milliseconds since 1970. */
  list(): Promise<{ readonly id: Uuid; readonly changedAt: number }[]>
}
