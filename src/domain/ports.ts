import type { RawFileEvent } from './events.js'
import type { ContentDigest, MiddlewareName, SealedKey } from './models.js'

/** Structured log of a tier. The message is constant text; what varies goes into `fields`. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Plain content or stored bytes, in pieces of any size. */
export type ByteSource = Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/** Part of a content: from byte `start`, counted from 0, up to but without byte `end`. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** Stored bytes that can be read from any place, as a middleware sees them. */
export interface StoredBytes {
  /** Number of stored bytes. */
  readonly size: number
  /** The stored bytes from `start` up to but without `end`. What fails is thrown while they are read. */
  read(start: number, end: number): ByteSource
}

/** What `FileMiddleware.encode` makes of a content. */
export interface EncodedContent {
  readonly stored: ByteSource
  /** To be kept with the blob: `decode` needs it. */
  readonly sealedKey: SealedKey | null
}

/** Transforms bytes on the way to and from storage. */
export interface FileMiddleware {
  readonly name: MiddlewareName
  /** True when the stored bytes are the plain content, so that both have the same digest. */
  readonly transparent: boolean
  /** True when `decode` itself finds every change of the stored bytes before it passes on what is wrong. */
  readonly authenticated: boolean
  /**
   * Whether the key of a content, which `decode` lacks, is with others: it encodes for them. Otherwise
   * the content is lost.
   */
  presumesKey(sealedKey: SealedKey | null): boolean
  /** Plain content to stored bytes. */
  encode(plain: ByteSource): EncodedContent
  /**
   * Stored bytes to plain content. Reads no more of them than the range needs, as nearly as its
   * format allows. Throws `blob_damaged` for bytes that `encode` cannot have written.
   * Throws `key_missing` at once when it lacks the key.
   * @param range of the plain content, and inside it
   */
  decode(
    stored: StoredBytes,
    range: ByteRange,
    content: Pick<BlobLocation, 'size' | 'sealedKey'>,
  ): ByteSource
}

/** Where a blob's bytes are and what they must be like. */
export interface BlobLocation {
  readonly organization: string
  /** Number of bytes of the plain content. */
  readonly size: number
  /** SHA-512 of the stored bytes, in lower-case hex: the file's name. */
  readonly address: string
  /** Number of stored bytes. */
  readonly storedSize: number
  readonly middleware: MiddlewareName
  /** Null when the middleware uses no key. */
  readonly sealedKey: SealedKey | null
}

/** Stored bytes that are durable, and not yet kept under their address. */
export interface StagedBlob extends Omit<BlobLocation, 'organization'> {
  /** Removes the bytes at once; after `publish` it does nothing. Never rejects. */
  discard(): Promise<void>
}

/** Keeps the bytes of blobs. Knows nothing of raw files or jobs. */
export interface RawRepository {
  /**
   * Writes content. When the promise resolves, the bytes have been fsynced; they are to be published
   * or discarded. When it rejects, nothing is left of them. Of the content some 512 KiB are held at
   * most, beside its own pieces: a disk that is slow slows the reading of `content`.
   * @param content in pieces that are not changed after they were given
   * @param digest gives the content digest; called once, after the last byte of `content` was read.
   * @throws BytesError `storage_full`, `storage_unavailable`, or whatever `content` throws
   */
  stage(content: ByteSource, digest: () => ContentDigest): Promise<StagedBlob>
  /**
   * Keeps staged blobs for an organization, each under its address. When the promise resolves,
   * their names have been fsynced. When it rejects, some may be kept all the same: that is what a
   * crash leaves as well.
   * @returns the blobs, in order
   * @throws BytesError `storage_full`, `storage_unavailable`
   */
  publish(organization: string, staged: readonly StagedBlob[]): Promise<BlobLocation[]>
  /**
   * Opens the plain content of a blob, or a range of it. The caller must consume or `return()` the
   * source. Gives exactly as many bytes as were asked for, or fails. A read of the whole content is
   * checked against the address: the last piece comes only after the digest of all stored bytes was
   * right. Of a range only the size of the file is checked.
   * @param range lies inside the content; without it the whole
   * @throws BytesError `blob_missing` when there is no such file, `blob_damaged` when its size is
   *   wrong, `key_missing`, `storage_unavailable`. While reading: `blob_damaged`, `storage_unavailable`
   */
  get(blob: BlobLocation, range?: ByteRange): Promise<AsyncIterable<Uint8Array>>
  /**
   * Address under which a content with this digest is kept; null when that is another one each
   * time, so that nothing takes the place of a blob that is there.
   */
  addressOf(contentDigest: ContentDigest): string | null
  /**
   * Renews the time of a blob's file, so that no sweep takes it for one that nobody wants. To be
   * called before a row is committed for a file that was there already.
   * @returns false when there is no file under its address
   * @throws BytesError `storage_unavailable`
   */
  touch(blob: BlobLocation): Promise<boolean>
  /**
   * Whether the stored bytes of a blob are there, have the digest that is their address, and can be
   * decoded, if not here then where others are presumed to have the key: one that is lost is not intact.
   * @throws BytesError `storage_unavailable`
   */
  intact(blob: BlobLocation): Promise<boolean>
  /** Removes the stored bytes of a blob, if they are there. @throws BytesError `storage_unavailable` */
  remove(blob: BlobLocation): Promise<void>
  /**
   * Checks that content of so many bytes could be written now.
   * @throws BytesError `storage_full`, `storage_unavailable`
   */
  ensureRoom(bytes: number): Promise<void>
  /**
   * Checks that a file can be written, and tells the free bytes.
   * @throws BytesError `storage_full`, `storage_unavailable`
   */
  check(): Promise<{ freeBytes: number }>
}

/** An event as it goes to the broker. */
export interface OutgoingEvent {
  /** Stable over repeated deliveries: consumers can tell a repetition by it. */
  readonly messageId: string
  readonly eventId: RawFileEvent['event_id']
  /** Creation time, in seconds since 1970. */
  readonly timestamp: number
  /** The exact JSON text of the body. */
  readonly body: string
  readonly headers: Readonly<Record<string, string | number>>
}

/** Publishes events to the broker that schedulers consume from. */
export interface EventManager {
  /**
   * Publishes in order and waits until the broker has confirmed.
   * @returns for each event whether the broker confirmed it and routed it to a queue. An event
   *   that is not confirmed may or may not have arrived: publish it again.
   * @throws BytesError `broker_unavailable` when there is no connection; nothing was published then
   */
  publish(events: readonly OutgoingEvent[]): Promise<boolean[]>
  /** True while a connection to the broker is open and not blocked. */
  readonly connected: boolean
  close(): Promise<void>
}
