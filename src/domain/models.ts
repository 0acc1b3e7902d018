import type { Instant } from './instant.js'

/** Lower-case UUID with hyphens. */
export type Uuid = string
/** JSON text that is kept as it was sent, so that numbers lose no digits. */
export type JsonText = string
/** `sha512:` and the SHA-512 of the plain content in lower-case hex. */
export type ContentDigest = string
/** `<algorithm>:` and hex of the digest of content followed by the job's end time. */
export type SecureHash = string
/** Name of the file middleware that wrote a blob. */
export type MiddlewareName = 'IDENTITY' | 'NACL_SEALBOX'

/** The key of one blob's content, sealed to a public key: only its private key opens it. */
export interface SealedKey {
  /** Tells the key pair; see `keyIdOf`. */
  readonly keyId: string
  readonly sealed: Uint8Array
}

/** The longest values that the database columns take, in characters (Unicode code points). */
export const LIMITS = {
  boefjeId: 64,
  boefjeVersion: 16,
  organization: 32,
  inputOoi: 1024,
  runnableHash: 64,
  normalizerId: 64,
  normalizerVersion: 16,
  mimeType: 64,
} as const

/** Most MIME types of one raw file. */
export const MAX_MIME_TYPES = 1000
/**
 * Longest `arguments` and `environment` in bytes of JSON text: each event of a job carries them,
 * and brokers refuse messages that are too long (RabbitMQ 4: 16 MiB unless it is told otherwise).
 */
export const MAX_JSON_BYTES = 1024 * 1024

/** The job that produced files. */
export interface BoefjeMeta {
  readonly id: Uuid
  readonly startedAt: Instant
  readonly endedAt: Instant
  readonly boefje: { readonly id: string; readonly version: string | null }
  readonly inputOoi: string | null
  /** A JSON object. */
  readonly arguments: JsonText
  readonly organization: string
  readonly runnableHash: string | null
  /** A JSON object with string values. */
  readonly environment: JsonText | null
}

/** What is known of one raw file. */
export interface RawFile {
  readonly id: Uuid
  readonly boefjeMeta: BoefjeMeta
  /** Without repetitions, in code point order. */
  readonly mimeTypes: readonly string[]
  readonly secureHash: SecureHash | null
  readonly signingProviderUrl: string | null
  readonly hashRetrievalLink: string | null
}

/** The stored bytes that one or several raw files of an organization share. */
export interface Blob {
  readonly organization: string
  readonly contentDigest: ContentDigest
  /** Bytes of the plain content. */
  readonly size: number
  /** SHA-512 of the stored bytes in lower-case hex. */
  readonly address: string
  /** Bytes as stored. */
  readonly storedSize: number
  readonly middleware: MiddlewareName
  /** Null when the middleware that wrote the blob uses no key. */
  readonly sealedKey: SealedKey | null
}

/** A raw file together with where its content is. */
export interface StoredRawFile {
  readonly rawFile: RawFile
  /** Name to save the content under, made safe by `safeFileName`; null when the upload gave none. */
  readonly fileName: string | null
  readonly blob: Blob
}

/** What an answer with the content of a raw file needs to know: not its job, which may be long. */
export interface StoredContent {
  readonly rawFile: Pick<RawFile, 'id' | 'mimeTypes'>
  readonly blob: Blob
}

/** A job that consumed one raw file. */
export interface NormalizerMeta {
  readonly id: Uuid
  readonly startedAt: Instant
  readonly endedAt: Instant
  readonly normalizer: { readonly id: string; readonly version: string | null }
  readonly rawFile: RawFile
}
