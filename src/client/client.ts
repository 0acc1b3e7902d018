/** The client of a Bytes service: `bytes/client`. It needs Node and nothing else. */
import { type DownloadOptions, download, type TransferOptions } from './download.js'
import { BytesClientError } from './errors.js'
import { evidence, evidenceRecord } from './evidence.js'
import type { UploadResult } from './outcome.js'
import {
  type BoefjeMeta,
  type ContentInfo,
  createJob,
  getJob,
  hasBlob,
  listRawFiles,
  type NewBoefjeMeta,
  type RawFileFilter,
  type RawFileMeta,
  rawFile,
  stat,
} from './records.js'
import { type ResumableOptions, uploadResumable } from './resumable.js'
import { type OnWait, type Pause, pauseByClock } from './retry.js'
import { createSession, type Fetch } from './session.js'
import type { DownloadTarget } from './target.js'
import { type Credentials, isToken } from './tokens.js'
import { type UploadOptions, upload } from './upload.js'
import { type Verification, verify } from './verify.js'

export type { ClientErrorCode } from './errors.js'
export type {
  BoefjeMeta,
  ContentInfo,
  DownloadOptions,
  DownloadTarget,
  NewBoefjeMeta,
  RawFileFilter,
  RawFileMeta,
  ResumableOptions,
  TransferOptions,
  UploadOptions,
  UploadResult,
  Verification,
}
export { BytesClientError }

/** Where the service is, and who asks. */
export type ClientOptions = {
  /** Such as `http://127.0.0.1:8002`; it may have a path. */
  readonly url: string | URL
  /** Default: that of the platform. */
  readonly fetch?: Fetch
  /** How to wait before a repetition. Default: by the clock. */
  readonly pause?: Pause
  /** Is told why the service is waited for, before each wait that takes longer than a moment. */
  readonly onWait?: OnWait
} & ({ readonly username: string; readonly password: string } | { readonly token: string })

interface Waiting {
  readonly signal?: AbortSignal
}

/** A client of one service. Every method throws a `BytesClientError`, and no other. */
export interface BytesClient {
  /** Stores a job; its id is made when there is none. */
  createJob(job: NewBoefjeMeta, options?: Waiting): Promise<{ id: string }>
  getJob(id: string, options?: Waiting): Promise<BoefjeMeta>
  /** Stores content; a file of more than 1 GiB in chunks. */
  upload(options: UploadOptions): Promise<UploadResult>
  /** Stores a file in chunks. */
  uploadResumable(options: ResumableOptions): Promise<UploadResult>
  /** Writes content to a path or a stream, and checks its digest. */
  download(id: string, target: DownloadTarget, options?: DownloadOptions): Promise<ContentInfo>
  /** Size, digest and name of a raw file's content. */
  stat(id: string, options?: Waiting): Promise<ContentInfo>
  /** Whether an organization has content with this digest. */
  hasBlob(digest: string, organization: string, options?: Waiting): Promise<boolean>
  /** Raw files, the oldest first. */
  listRawFiles(filter?: RawFileFilter, options?: Waiting): AsyncIterable<RawFileMeta>
  rawFile(id: string, options?: Waiting): Promise<RawFileMeta>
  /** Writes the evidence bundle of a raw file, a zip archive, to a path or a stream. */
  evidence(id: string, target: DownloadTarget, options?: DownloadOptions): Promise<{ size: number }>
  /** An evidence record (RFC 4998) in DER, by the retrieval link of a raw file. */
  evidenceRecord(link: string, options?: Waiting): Promise<Uint8Array>
  /** Computes the digests of a raw file anew. */
  verify(id: string, options?: TransferOptions): Promise<Verification>
}

/** @throws BytesClientError `invalid_argument` when the URL or the credentials cannot be used */
export function createClient(options: ClientOptions): BytesClient {
  const credentials = credentialsOf(options)
  const { fetch = globalThis.fetch, pause = pauseByClock, onWait } = options
  const session = createSession(baseUrl(options.url), credentials, fetch, pause, onWait)
  return {
    createJob: (job, waiting) => createJob(session, job, waiting),
    getJob: (id, waiting) => getJob(session, id, waiting),
    upload: (given) => upload(session, given),
    uploadResumable: (given) => uploadResumable(session, given),
    download: (id, target, given) => download(session, id, target, given),
    stat: (id, waiting) => stat(session, id, waiting),
    hasBlob: (digest, organization, waiting) => hasBlob(session, digest, organization, waiting),
    listRawFiles: (filter, waiting) => listRawFiles(session, filter, waiting),
    rawFile: (id, waiting) => rawFile(session, id, waiting),
    evidence: (id, target, given) => evidence(session, id, target, given),
    evidenceRecord: (link, waiting) => evidenceRecord(session, link, waiting),
    verify: (id, given) => verify(session, id, given),
  }
}

/** The URL with a slash at its end, so that paths are appended to it. */
function baseUrl(given: string | URL): URL {
  const url = URL.canParse(String(given)) ? new URL(given) : undefined
  const usable = url && /^https?:$/.test(url.protocol) && url.search === '' && url.hash === ''
  if (!usable || url.username !== '' || url.password !== '') {
    // Not shown: there may be a password in it.
    throw new BytesClientError(
      'invalid_argument',
      'the URL of the service must begin with http:// or https:// and have no credentials or query',
    )
  }
  if (!url.pathname.endsWith('/')) url.pathname += '/'
  return url
}

/** The credentials, or the token. Neither is shown when it is wrong. */
function credentialsOf(options: ClientOptions): Credentials | string {
  if ('token' in options) {
    // What was read from a file or a variable may end in a line break.
    const token: unknown = typeof options.token === 'string' ? options.token.trim() : undefined
    if (isToken(token)) return token
    throw new BytesClientError(
      'invalid_argument',
      'the token must be a string of visible ASCII characters',
    )
  }
  const { username, password } = options
  if (typeof username === 'string' && typeof password === 'string') return { username, password }
  throw new BytesClientError(
    'invalid_argument',
    'the credentials must be a token, or a username and a password, each a string',
  )
}
