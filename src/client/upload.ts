/** Upload of content in one request. */
import { createHash, type Hash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { reprDigest } from './digest.js'
import { BytesClientError } from './errors.js'
import { compareStored, type UploadProgress, type UploadResult } from './outcome.js'
import { uploadResumable } from './resumable.js'
import type { Session } from './session.js'
import { openSource, type Source, type UploadSource } from './source.js'

/** A file up to this size is hashed before it is sent, so that the service checks what arrives. */
const HASHED_BEFORE = 16 * 1024 * 1024
/**
 * A longer file is sent in chunks. The service writes those twice, so that up to here one request is
 * faster, although after a break it begins anew.
 */
const RESUMABLE_ABOVE = 1024 * 1024 * 1024

export interface UploadOptions {
  /** Of the job that the file belongs to. */
  readonly jobId: string
  readonly source: UploadSource
  /** Default: `file`. */
  readonly name?: string | undefined
  /** MIME types. */
  readonly tags?: readonly string[] | undefined
  /** Of a stream, in bytes, when it is known. */
  readonly size?: number | undefined
  /** Whether a file is sent in chunks. Default: one of more than 1 GiB. */
  readonly resumable?: boolean | undefined
  readonly onProgress?: ((progress: UploadProgress) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Stores content as a raw file. A job has one raw file for each set of MIME types: the same content
 * again gives the existing one.
 * @throws BytesClientError; `content_differs` when the existing raw file has other content
 */
export async function upload(session: Session, options: UploadOptions): Promise<UploadResult> {
  const { source, jobId, name, tags, size, resumable, onProgress, signal } = options
  if (typeof source === 'string' || source instanceof URL) {
    if (resumable ?? (await isLong(source))) {
      return uploadResumable(session, { jobId, path: source, name, tags, onProgress, signal })
    }
  } else if (resumable === true) {
    throw new BytesClientError('invalid_argument', 'only a file can be sent in chunks')
  }
  const opened = await openSource(source, size, signal)
  try {
    return await send(session, opened, options)
  } finally {
    await opened.close()
  }
}

/** A file that is not there is told when it is opened. */
async function isLong(path: string | URL): Promise<boolean> {
  const found = await stat(path).catch(() => undefined)
  return found?.isFile() === true && found.size > RESUMABLE_ABOVE
}

async function send(
  session: Session,
  source: Source,
  { jobId, source: given, name, tags = [], onProgress, signal }: UploadOptions,
): Promise<UploadResult> {
  const query = new URLSearchParams({ boefje_meta_id: jobId })
  if (name !== undefined) query.set('name', name)
  for (const tag of tags) query.append('tag', tag)

  const { size = Number.POSITIVE_INFINITY } = source
  const hashedBefore = given instanceof Uint8Array || (source.replayable && size <= HASHED_BEFORE)
  const announced = hashedBefore ? await digestOf(source) : undefined
  // Of the last time that the body was sent. An earlier one may still be winding down.
  let last = { hash: createHash('sha512'), sent: 0 }
  const body = async function* (): AsyncGenerator<Uint8Array> {
    const ours = { hash: createHash('sha512'), sent: 0 }
    last = ours
    for await (const chunk of source.read()) {
      ours.hash.update(chunk)
      ours.sent += chunk.byteLength
      onProgress?.({ sent: ours.sent, total: source.size })
      yield chunk
    }
  }
  const { value } = await session.sendForJson({
    method: 'POST',
    path: `bytes/raw?${query}`,
    headers: {
      'content-type': 'application/octet-stream',
      ...(source.size !== undefined && { 'content-length': String(source.size) }),
      ...(announced !== undefined && { 'repr-digest': reprDigest(announced) }),
    },
    body,
    replayable: source.replayable,
    // The same upload again answers the raw file of the first.
    repeated: source.replayable,
    signal,
  })
  const result = { id: onlyId(value), size: last.sent, digest: hexDigest(last.hash) }
  await compareStored(session, result, signal)
  return result
}

const hexDigest = (hash: Hash): string => `sha512:${hash.digest('hex')}`

async function digestOf(source: Source): Promise<string> {
  const hash = createHash('sha512')
  for await (const chunk of source.read()) hash.update(chunk)
  return hexDigest(hash)
}

function onlyId(answer: unknown): string {
  const ids: unknown[] = typeof answer === 'object' && answer ? Object.values(answer) : []
  const [id, ...more] = ids
  if (typeof id === 'string' && more.length === 0) return id
  throw new BytesClientError('unexpected_answer', 'the upload was not answered with one id')
}
