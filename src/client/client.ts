/** The client of a Bytes service: `bytes/client`. It needs Node and nothing else. */
import {
  ANYTHING,
  CALLBACK,
  FLAG,
  membersOf,
  type Rule,
  SIGNAL,
  TEXT,
  TEXTS,
  textOf,
} from './arguments.js'
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

/**
 * A client of one service. Every method throws a `BytesClientError`, and no other, except for what
 * the functions throw that it is given, such as `onProgress`.
 */
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
  const given = membersOf<GivenOptions>(options, 'the options', CLIENT)
  const { fetch = globalThis.fetch, pause = pauseByClock, onWait } = given
  const session = createSession(baseUrl(given.url), credentialsOf(given), fetch, pause, onWait)
  const idOf = (id: string): string => textOf(id, 'the id')
  const waitingOf = (waiting: Waiting | undefined): Waiting =>
    membersOf(waiting, 'the options', WAITING)
  // These are async so that what they refuse is a rejection as well.
  return {
    createJob: async (job, waiting) => createJob(session, job, waitingOf(waiting)),
    getJob: async (id, waiting) => getJob(session, idOf(id), waitingOf(waiting)),
    upload: async (options) => upload(session, membersOf(options, 'the options', UPLOAD)),
    uploadResumable: async (options) =>
      uploadResumable(session, membersOf(options, 'the options', RESUMABLE)),
    download: async (id, target, options) =>
      download(session, idOf(id), target, membersOf(options, 'the options', DOWNLOAD)),
    stat: async (id, waiting) => stat(session, idOf(id), waitingOf(waiting)),
    hasBlob: async (digest, organization, waiting) =>
      hasBlob(
        session,
        textOf(digest, 'the digest'),
        textOf(organization, 'the organization'),
        waitingOf(waiting),
      ),
    async *listRawFiles(filter, waiting) {
      const checked = membersOf(filter, 'the filter', FILTER)
      yield* listRawFiles(session, checked, waitingOf(waiting))
    },
    rawFile: async (id, waiting) => rawFile(session, idOf(id), waitingOf(waiting)),
    evidence: async (id, target, options) =>
      evidence(session, idOf(id), target, membersOf(options, 'the options', DOWNLOAD)),
    evidenceRecord: async (link, waiting) =>
      evidenceRecord(session, textOf(link, 'the link'), waitingOf(waiting)),
    verify: async (id, options) =>
      verify(session, idOf(id), membersOf(options, 'the options', TRANSFER)),
  }
}

/** `ClientOptions` with all that may be in them. */
type GivenOptions = Pick<ClientOptions, 'url' | 'fetch' | 'pause' | 'onWait'> &
  Partial<Credentials> & { readonly token?: string }

/** The URL and the credentials have checks of their own, which show nothing of them. */
const CLIENT: { readonly [K in keyof Required<GivenOptions>]: Rule } = {
  url: ANYTHING,
  username: ANYTHING,
  password: ANYTHING,
  token: ANYTHING,
  fetch: CALLBACK,
  pause: CALLBACK,
  onWait: CALLBACK,
}
const WAITING = { signal: SIGNAL }
const TRANSFER = { ...WAITING, onProgress: CALLBACK }
const DOWNLOAD = { ...TRANSFER, overwrite: FLAG }
const JOB_ID: Rule = {
  allows: (value) => typeof value === 'string' && value !== '',
  what: 'the id of a job',
  required: true,
}
const SIZE: Rule = {
  allows: (value) => Number.isSafeInteger(value) && Number(value) >= 0,
  what: 'a whole number of bytes',
}
const CHUNK_SIZE: Rule = {
  allows: (value) => Number.isSafeInteger(value) && Number(value) > 0,
  what: 'a whole number above 0',
}
const UPLOAD = {
  ...TRANSFER,
  jobId: JOB_ID,
  source: ANYTHING,
  name: TEXT,
  tags: TEXTS,
  size: SIZE,
  resumable: FLAG,
}
const RESUMABLE = {
  ...TRANSFER,
  jobId: JOB_ID,
  path: ANYTHING,
  name: TEXT,
  tags: TEXTS,
  chunkSize: CHUNK_SIZE,
  onUploadUrl: CALLBACK,
  resumeFrom: TEXT,
  keep: FLAG,
}
const FILTER = {
  organization: {
    allows: (value: unknown) => TEXT.allows(value) || TEXTS.allows(value),
    what: 'a string or an array of strings',
  },
  boefjeMetaId: TEXT,
  normalized: FLAG,
  mimeTypes: TEXTS,
  rawIds: TEXTS,
}
/** The URL with a slash at its end, so that paths are appended to it. */
function baseUrl(given: unknown): URL {
  let text = ''
  try {
    text = String(given)
  } catch {
    // Then it is no URL.
  }
  const url = URL.canParse(text) ? new URL(text) : undefined
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
function credentialsOf({ token, username, password }: GivenOptions): Credentials | string {
  if (token !== undefined) {
    // What was read from a file or a variable may end in a line break.
    const bare: unknown = typeof token === 'string' ? token.trim() : undefined
    if (isToken(bare)) return bare
    throw new BytesClientError(
      'invalid_argument',
      'the token must be a string of visible ASCII characters',
    )
  }
  if (typeof username === 'string' && typeof password === 'string') return { username, password }
  throw new BytesClientError(
    'invalid_argument',
    'the credentials must be a token, or a username and a password, each a string',
  )
}
