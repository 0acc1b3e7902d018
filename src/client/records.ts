/** Jobs and raw files as the service describes them. */
import { randomUUID } from 'node:crypto'
import { invalid, textOf } from './arguments.js'
import { parseReprDigest } from './digest.js'
import { fileNameOf } from './disposition.js'
import { BytesClientError, reasonOf } from './errors.js'
import { nextLink } from './link.js'
import type { Session } from './session.js'

/** A job that produced files. Times are ISO 8601 in UTC. */
export interface BoefjeMeta {
  readonly id: string
  readonly started_at: string
  readonly ended_at: string
  readonly boefje: { readonly id: string; readonly version: string | null }
  readonly input_ooi: string | null
  /** Any JSON object. Numbers beyond 2^53 lose digits in JavaScript. */
  readonly arguments: Readonly<Record<string, unknown>>
  readonly organization: string
  readonly runnable_hash: string | null
  readonly environment: Readonly<Record<string, string>> | null
}

/** A job to be stored. What is left out: a random id, no arguments, and null. */
export type NewBoefjeMeta = Pick<BoefjeMeta, 'started_at' | 'ended_at' | 'organization'> &
  Partial<Omit<BoefjeMeta, 'boefje'>> & {
    readonly boefje: { readonly id: string; readonly version?: string | null }
  }

/** A raw file. */
export interface RawFileMeta {
  readonly id: string
  readonly boefje_meta: BoefjeMeta
  readonly mime_types: readonly { readonly value: string }[]
  /** `<algorithm>:<hex>` */
  readonly secure_hash: string | null
  readonly signing_provider_url: string | null
  readonly hash_retrieval_link: string | null
}

/** Which raw files to list; what is left out does not narrow. */
export interface RawFileFilter {
  readonly organization?: string | readonly string[]
  readonly boefjeMetaId?: string
  /** Whether a normalizer has consumed them. */
  readonly normalized?: boolean
  /** A raw file must have all of them. */
  readonly mimeTypes?: readonly string[]
  readonly rawIds?: readonly string[]
}

/** What is known of a raw file's content without reading it. */
export interface ContentInfo {
  /** In bytes. */
  readonly size: number
  /** `sha512:<hex>` of the content. */
  readonly digest: string
  /** What the service would name the file; safe to make in a folder. */
  readonly fileName: string | undefined
}

/** Raw files asked for at once. */
const PAGE = 100

interface Waiting {
  readonly signal?: AbortSignal | undefined
}

/**
 * Stores a job. With an id of the caller's it is sent once: that a repetition finds the id taken
 * does not tell by whom.
 * @throws BytesClientError; `invalid_argument` for what cannot be written as JSON
 */
export async function createJob(
  session: Session,
  job: NewBoefjeMeta,
  { signal }: Waiting = {},
): Promise<{ id: string }> {
  const { id, made, body } = written(job)
  const headers = { 'content-type': 'application/json' }
  let sent = 0
  const call = {
    method: 'POST',
    path: 'bytes/boefje_meta',
    headers,
    body: () => {
      sent++
      return body
    },
    repeated: made,
    signal,
  } as const
  try {
    const answer = await session.send(call)
    await answer.body?.cancel()
  } catch (error) {
    const taken = error instanceof BytesClientError && error.status === 400 && sent > 1
    if (!taken) throw error
    // A random id is taken by nobody but us: only the answer was lost.
    await getJob(session, id, { signal })
  }
  return { id }
}

/** A job as JSON, its id, and whether that was made here. What is in it is for the service to check. */
function written(job: NewBoefjeMeta): { id: string; made: boolean; body: string } {
  if (typeof job !== 'object' || job === null) throw invalid('the job must be an object')
  try {
    const given = { arguments: {}, input_ooi: null, ...job }
    const id = textOf(given.id ?? randomUUID(), 'the id of the job')
    // Not a text when the job has a `toJSON` that gives nothing.
    const body: unknown = JSON.stringify({ ...given, id })
    if (typeof body !== 'string') throw new TypeError('its toJSON gives nothing')
    return { id, made: (given.id ?? undefined) === undefined, body }
  } catch (error) {
    if (error instanceof BytesClientError) throw error
    throw invalid(`the job cannot be written as JSON: ${reasonOf(error)}`, error)
  }
}

/** One job. */
export async function getJob(
  session: Session,
  id: string,
  { signal }: Waiting = {},
): Promise<BoefjeMeta> {
  const path = `bytes/boefje_meta/${segment(id)}`
  return (await object(session, path, signal)) as unknown as BoefjeMeta
}

/** One raw file. */
export async function rawFile(
  session: Session,
  id: string,
  { signal }: Waiting = {},
): Promise<RawFileMeta> {
  const path = `bytes/raw/${segment(id)}/meta`
  return (await object(session, path, signal)) as unknown as RawFileMeta
}

/** Raw files, the oldest first, a page at a time. */
export async function* listRawFiles(
  session: Session,
  filter: RawFileFilter = {},
  { signal }: Waiting = {},
): AsyncGenerator<RawFileMeta> {
  const { organization = [], boefjeMetaId, normalized, mimeTypes = [], rawIds = [] } = filter
  const query = new URLSearchParams({ limit: String(PAGE) })
  for (const name of [organization].flat()) query.append('organization', name)
  if (boefjeMetaId !== undefined) query.set('boefje_meta_id', boefjeMetaId)
  if (normalized !== undefined) query.set('normalized', String(normalized))
  for (const type of mimeTypes) query.append('mime_types', type)
  for (const id of rawIds) query.append('raw_ids', id)
  let next: URL | undefined = session.resolve(`bytes/raw?${query}`)
  while (next !== undefined) {
    const call = { method: 'GET', path: next, repeated: true, signal } as const
    const { value: page, headers } = await session.sendForJson(call)
    if (!Array.isArray(page)) throw unexpected('the list of raw files is no JSON array')
    yield* page as RawFileMeta[]
    const link = nextLink(headers.get('link'))
    next = link === undefined ? undefined : session.resolve(link, next)
  }
}

/** Size, digest and name of a raw file's content. */
export async function stat(
  session: Session,
  id: string,
  { signal }: Waiting = {},
): Promise<ContentInfo> {
  const path = `bytes/raw/${segment(id)}`
  // Else a proxy may answer for a compressed form.
  const headers = { 'accept-encoding': 'identity' }
  const answer = await session.send({ method: 'HEAD', path, headers, repeated: true, signal })
  return contentInfo(answer.headers)
}

/**
 * Whether an organization has content with this digest.
 * @param digest `sha512:<hex>` or the hex alone
 */
export async function hasBlob(
  session: Session,
  digest: string,
  organization: string,
  { signal }: Waiting = {},
): Promise<boolean> {
  const query = new URLSearchParams({ organization })
  const path = `bytes/blobs/${segment(digest)}?${query}`
  const answer = await session.send({
    method: 'HEAD',
    path,
    accept: [404],
    repeated: true,
    signal,
  })
  return answer.ok
}

/** @throws BytesClientError `unexpected_answer` when size or digest are not told */
export function contentInfo(headers: Headers): ContentInfo {
  const length = headers.get('content-length') ?? ''
  const digest = parseReprDigest(headers.get('repr-digest'))
  if (!/^\d{1,15}$/.test(length) || digest === undefined) {
    throw unexpected('the size or the Repr-Digest of the content is not told')
  }
  return { size: Number(length), digest, fileName: fileNameOf(headers.get('content-disposition')) }
}

/** A path segment of its own, whatever is in it. @throws BytesClientError `invalid_argument` */
export function segment(text: string): string {
  if (/^\.{0,2}$/.test(text)) {
    throw invalid(`${JSON.stringify(text)} is no id`)
  }
  return encodeURIComponent(text.toWellFormed())
}

async function object(
  session: Session,
  path: string,
  signal: AbortSignal | undefined,
): Promise<object> {
  const { value } = await session.sendForJson({ method: 'GET', path, repeated: true, signal })
  if (typeof value === 'object' && value !== null && 'id' in value) return value
  throw unexpected('the answer is no JSON object with an id')
}

function unexpected(message: string): BytesClientError {
  return new BytesClientError('unexpected_answer', message)
}
