/**
 * Upload of a file in chunks that can go on after a break: a client of tus 1.0.0
 * (https://tus.io/protocols/resumable-upload) with the extensions creation and termination.
 *
 * It does not use `Upload-Checksum`: that goes before its chunk, so that each chunk would be read
 * twice, and hashed twice on both sides. The SHA-512 of what is sent is computed on the way, and
 * compared with that of the raw file at the end.
 */
import { BytesClientError } from './errors.js'
import { FileDigest } from './file-digest.js'
import { compareStored, type UploadProgress, type UploadResult } from './outcome.js'
import { isTransient, patience } from './retry.js'
import type { Session } from './session.js'
import { openFile, type SourceFile } from './source.js'

const DEFAULT_CHUNK = 32 * 1024 * 1024
const TUS = { 'tus-resumable': '1.0.0' }
/** Statuses after which the offset is asked for: late, conflict, locked, failure. */
const ASK_AGAIN: readonly (number | undefined)[] = [408, 409, 423, 500]
/** How long the removal of an upload that failed may take, in milliseconds. */
const REMOVAL_MS = 10_000

export interface ResumableOptions {
  /** Of the job that the file belongs to. */
  readonly jobId: string
  /** Of a regular file. */
  readonly path: string | URL
  /** Default: `file`. */
  readonly name?: string | undefined
  /** MIME types. */
  readonly tags?: readonly string[] | undefined
  /** Bytes sent in one request. Default: 32 MiB. */
  readonly chunkSize?: number | undefined
  /** `sent` may go back: a chunk that broke is sent again. */
  readonly onProgress?: ((progress: UploadProgress) => void) | undefined
  /** Is given the URL of the upload, with which another process may go on. */
  readonly onUploadUrl?: ((url: string) => void) | undefined
  /** URL of an upload of this file that was begun before. */
  readonly resumeFrom?: string | undefined
  /**
   * True: an upload that fails or is aborted stays on the service, to be taken up with `resumeFrom`.
   * Default: false, it is removed, unless it was begun before.
   */
  readonly keep?: boolean | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Stores a file as a raw file. What breaks is taken up again where the service has got to, as long
 * as that brings the upload forward within five minutes. An upload that is gone is begun anew once.
 * @throws BytesClientError
 */
export async function uploadResumable(
  session: Session,
  options: ResumableOptions,
): Promise<UploadResult> {
  const { chunkSize = DEFAULT_CHUNK, signal } = options
  const file = await openFile(options.path, signal)
  try {
    const { size } = file
    if (size === undefined) {
      throw new BytesClientError('source_failed', `${options.path} is no regular file`)
    }
    const whole = new FileDigest(file, signal)
    const id = await transfer({ session, file, size, whole, chunkSize, options })
    const digest = await whole.finish(size)
    await compareStored(session, { id, size, digest }, signal)
    return { id, size, digest }
  } finally {
    await file.close()
  }
}

interface Transfer {
  readonly session: Session
  readonly file: SourceFile
  readonly size: number
  readonly whole: FileDigest
  readonly chunkSize: number
  readonly options: ResumableOptions
}

/** What the service knows of an upload. */
interface State {
  /** Bytes that it has. */
  readonly offset: number
  /** Once the upload is complete. */
  readonly rawId: string | undefined
}

/** @returns the id of the raw file */
async function transfer(t: Transfer): Promise<string> {
  const { session, options } = t
  let begunHere: URL | undefined
  try {
    return await advance(t, (url) => {
      begunHere = url
      options.onUploadUrl?.(url.href)
    })
  } catch (error) {
    if (begunHere !== undefined && options.keep !== true) await remove(session, begunHere)
    throw error
  }
}

/** What cannot be removed now expires. */
async function remove(session: Session, url: URL): Promise<void> {
  const signal = AbortSignal.timeout(REMOVAL_MS)
  const call = { method: 'DELETE', path: url, headers: TUS, signal } as const
  await session.send(call).then(
    (answer) => answer.body?.cancel(),
    () => undefined,
  )
}

/** Takes the upload to its end. @returns the id of the raw file */
async function advance(t: Transfer, onBegun: (url: URL) => void): Promise<string> {
  const { session, size, options } = t
  const ours = patience(session.waiting)
  let url = options.resumeFrom === undefined ? undefined : session.resolve(options.resumeFrom)
  let state: State | undefined
  let mayBeginAnew = true
  /** The farthest that the service has got. */
  let best = -1
  const noteProgress = (offset: number): void => {
    if (offset <= best) return
    best = offset
    ours.renew()
  }
  for (;;) {
    try {
      if (url === undefined) {
        const created = await create(t)
        url = created.url
        state = created.state
        onBegun(url)
      }
      // Complete, and not told as what: the service may have ended before it could say.
      if (state?.offset === size && state.rawId === undefined) state = undefined
      state ??= await ask(t, url)
      noteProgress(state.offset)
      options.onProgress?.({ sent: state.offset, total: size })
      if (state.rawId !== undefined) return state.rawId
      const begun = state.offset
      state = await sendChunk(t, url, begun)
      noteProgress(state.offset)
      // Not compared with the farthest: the service may have come back with less than it had.
      if (state.offset <= begun && state.rawId === undefined) {
        throw unexpected('the upload does not go on, though its parts are accepted')
      }
    } catch (error) {
      if (!(error instanceof BytesClientError)) throw error
      if (error.code === 'not_found' && url !== undefined && mayBeginAnew) {
        mayBeginAnew = false
        url = undefined
        best = -1
        continue
      }
      if (!isTransient(error) && !ASK_AGAIN.includes(error.status)) throw error
      state = undefined
      await ours.wait(error, options.signal)
    }
  }
}

async function create({ session, size, options }: Transfer): Promise<{ url: URL; state: State }> {
  const { jobId, name, tags = [], signal } = options
  const metadata: Record<string, string> = { boefje_meta_id: jobId }
  if (name !== undefined) metadata.filename = name
  if (tags.length > 0) metadata.tags = JSON.stringify(tags)
  const answer = await session.send({
    method: 'POST',
    path: 'bytes/uploads',
    headers: {
      ...TUS,
      'upload-length': String(size),
      'upload-metadata': Object.entries(metadata)
        .map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`)
        .join(','),
    },
    body: () => '',
    signal,
  })
  await answer.body?.cancel()
  const location = answer.headers.get('location')
  if (location === null) throw unexpected('the upload was begun without an address')
  const url = session.resolve(location, session.resolve('bytes/uploads'))
  return { url, state: { offset: 0, rawId: rawIdOf(answer) } }
}

async function ask({ session, size, options }: Transfer, url: URL): Promise<State> {
  const { signal } = options
  const answer = await session.send({ method: 'HEAD', path: url, headers: TUS, signal })
  const length = answer.headers.get('upload-length')
  if (length !== null && length !== String(size)) {
    throw new BytesClientError(
      'invalid_argument',
      `the upload is one of ${length} bytes, and the file has ${size}: begin a new upload`,
    )
  }
  return stateOf(answer, size)
}

/** Sends the chunk that begins at `offset`; an empty one when that is the end. */
async function sendChunk(t: Transfer, url: URL, offset: number): Promise<State> {
  const { session, file, size, whole, chunkSize, options } = t
  const end = Math.min(offset + chunkSize, size)
  // What the service has from before is not sent from here.
  await whole.readUpTo(offset)
  const body = async function* (): AsyncGenerator<Uint8Array> {
    let sent = offset
    for await (const bytes of file.read(offset, end)) {
      whole.take(sent, bytes)
      sent += bytes.byteLength
      options.onProgress?.({ sent, total: size })
      yield bytes
    }
  }
  const answer = await session.send({
    method: 'PATCH',
    path: url,
    headers: {
      ...TUS,
      'upload-offset': String(offset),
      'content-type': 'application/offset+octet-stream',
      'content-length': String(end - offset),
    },
    body,
    signal: options.signal,
  })
  await answer.body?.cancel()
  return stateOf(answer, size)
}

function stateOf(answer: Response, size: number): State {
  const text = answer.headers.get('upload-offset') ?? ''
  const offset = Number(text)
  if (!/^\d{1,15}$/.test(text) || offset > size) {
    throw unexpected('the service does not tell how much of the upload it has')
  }
  return { offset, rawId: rawIdOf(answer) }
}

const rawIdOf = (answer: Response): string | undefined =>
  answer.headers.get('bytes-raw-id') ?? undefined

function unexpected(message: string): BytesClientError {
  return new BytesClientError('unexpected_answer', message)
}
