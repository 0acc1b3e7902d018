/** Download of content, checked on the way. */
import { createHash } from 'node:crypto'
import { abortedError, BytesClientError, reasonOf } from './errors.js'
import { type ContentInfo, contentInfo, segment } from './records.js'
import { isTransient, patience } from './retry.js'
import type { Session } from './session.js'
import type { Sink } from './sink.js'
import { type DownloadTarget, openTarget } from './target.js'

/** Bytes that have come, and in all. */
export interface DownloadProgress {
  readonly received: number
  readonly total: number
  /** What the service would name the file; safe to make in a folder. */
  readonly fileName: string | undefined
}

export interface TransferOptions {
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

export interface DownloadOptions extends TransferOptions {
  /** False: a regular file that has the name is left as it is. Default: true. */
  readonly overwrite?: boolean | undefined
}

/** Content that came, and what it is. */
export interface Transferred extends ContentInfo {
  /** `sha512:<hex>` of what came; `digest` is what was announced. */
  readonly found: string
}

/**
 * Writes the content of a raw file. A file appears at a path only when it is complete and right. A
 * stream, a pipe and a device get the last 64 KiB only when all of it was right: whoever reads them
 * never gets a complete content that is wrong.
 * @throws BytesClientError; `digest_mismatch` when the content is not what was announced,
 * `target_exists` when there is a file that was not to be replaced
 */
export async function download(
  session: Session,
  id: string,
  to: DownloadTarget,
  { overwrite = true, ...options }: DownloadOptions = {},
): Promise<ContentInfo> {
  const target = await openTarget(to, overwrite, options.signal)
  try {
    const { found, ...info } = await transfer(session, id, target, options)
    if (found !== info.digest) {
      throw new BytesClientError(
        'digest_mismatch',
        `what came of raw file ${id} is not what was announced: ${found} instead of ${info.digest}`,
      )
    }
    await target.commit()
    return info
  } finally {
    await target.close()
  }
}

/**
 * Reads the content of a raw file to its end; goes on after a break where the sink allows it. The
 * digest is computed, and not compared.
 * @throws BytesClientError; `incomplete` when it ends too early
 */
export async function transfer(
  session: Session,
  id: string,
  sink: Sink,
  { onProgress, signal }: TransferOptions,
): Promise<Transferred> {
  let hash = createHash('sha512')
  let received = 0
  let known: ContentInfo | undefined
  let etag: string | null = null
  const ours = patience(session.waiting)
  /** Whether a break can be mended. */
  let mendable = true

  /** Asks for what is still to come, or for all of it again. */
  async function request(): Promise<{ info: ContentInfo; body: Response['body'] }> {
    const headers: Record<string, string> = { 'accept-encoding': 'identity' }
    // A weak one does not promise the same bytes (RFC 9110, section 13.1.5).
    const resumed = received > 0 && etag?.startsWith('"') ? known : undefined
    if (resumed !== undefined && etag !== null) {
      headers.range = `bytes=${received}-`
      headers['if-range'] = etag
    }
    const path = `bytes/raw/${segment(id)}`
    const answer = await session.send({ method: 'GET', path, headers, signal })
    try {
      if (resumed !== undefined && answer.status === 206) {
        const expected = `bytes ${received}-${resumed.size - 1}/${resumed.size}`
        if (answer.headers.get('content-range') !== expected) {
          throw unexpected('another part of the content came than was asked for')
        }
        return { info: resumed, body: answer.body }
      }
      if (answer.status !== 200) throw unexpected(`content came with status ${answer.status}`)
      const info = contentInfo(answer.headers)
      if (received > 0) await restart()
      known = info
      etag = answer.headers.get('etag')
      return { info, body: answer.body }
    } catch (error) {
      await answer.body?.cancel()
      throw error
    }
  }

  async function restart(): Promise<void> {
    if (sink.restart === undefined) {
      mendable = false
      throw new BytesClientError('incomplete', 'the content broke off and cannot be taken up again')
    }
    await sink.restart()
    hash = createHash('sha512')
    received = 0
  }

  async function take(chunk: Uint8Array, { size, fileName }: ContentInfo): Promise<void> {
    received += chunk.byteLength
    if (received > size) {
      throw new BytesClientError('digest_mismatch', `more came than the ${size} bytes announced`)
    }
    hash.update(chunk)
    await sink.write(chunk)
    onProgress?.({ received, total: size, fileName })
  }

  for (;;) {
    const before = received
    try {
      const { info, body } = await request()
      if (body !== null) {
        for await (const chunk of chunksOf(body, signal)) await take(chunk, info)
      }
      if (received === info.size) return { ...info, found: `sha512:${hash.digest('hex')}` }
      throw new BytesClientError(
        'incomplete',
        `the content ended after ${received} of ${info.size} bytes`,
      )
    } catch (error) {
      if (!(error instanceof BytesClientError)) throw error
      const broke = error.code === 'incomplete' && mendable
      if (!broke && !isTransient(error)) throw error
      if (received > before) ours.renew()
      await ours.wait(error, signal)
    }
  }
}

/**
 * The pieces of a body.
 * @throws BytesClientError `incomplete` when the connection breaks
 */
export async function* chunksOf(
  body: ReadableStream<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const reader = body.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error: unknown) => {
        if (signal?.aborted) throw abortedError(signal)
        throw new BytesClientError('incomplete', `the content broke off: ${reasonOf(error)}`, {
          cause: error,
        })
      })
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}

function unexpected(message: string): BytesClientError {
  return new BytesClientError('unexpected_answer', message)
}
