/** What proves the time of a raw file, as the service keeps it. */
import { parseUuid } from '../domain/uuid.js'
import { chunksOf, type DownloadOptions } from './download.js'
import { BytesClientError, networkError } from './errors.js'
import { segment } from './records.js'
import type { Session } from './session.js'
import type { Target } from './sink.js'
import { type DownloadTarget, openTarget } from './target.js'

/** More than an evidence record can be. */
const MAX_BYTES = 4 * 1024 * 1024
/** A bundle that breaks off again and again has damaged content in it. */
const MOST_BREAKS = 3

/**
 * An evidence record (RFC 4998) in DER.
 * @param link the retrieval link of a raw file, `/bytes/evidence_records/<uuid>`
 * @throws BytesClientError `invalid_argument` for another link
 */
export async function evidenceRecord(
  session: Session,
  link: string,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<Uint8Array> {
  const id = /^\/bytes\/evidence_records\/([^/]+)$/.exec(link)?.[1]
  if (parseUuid(id) === undefined) {
    throw new BytesClientError('invalid_argument', 'the link does not name an evidence record')
  }
  const path = `bytes/evidence_records/${id}`
  const answer = await session.send({ method: 'GET', path, repeated: true, signal })
  const pieces: Uint8Array[] = []
  let size = 0
  try {
    for await (const piece of answer.body ?? []) {
      pieces.push(piece)
      size += piece.length
      if (size > MAX_BYTES) break
    }
  } catch (error) {
    throw networkError(error, 'the service')
  }
  if (size <= MAX_BYTES) return Buffer.concat(pieces)
  throw new BytesClientError('unexpected_answer', 'what came is too long for an evidence record')
}

/**
 * Writes the evidence bundle of a raw file: a zip archive. What breaks off is begun again. A file
 * appears at a path only when it is complete.
 * @returns bytes of the archive
 * @throws BytesClientError; `incomplete` when it ends too early again and again, `target_exists` when
 * there is a file that was not to be replaced
 */
export async function evidence(
  session: Session,
  id: string,
  to: DownloadTarget,
  { overwrite = true, onProgress, signal }: DownloadOptions = {},
): Promise<{ size: number }> {
  const target = await openTarget(to, overwrite, signal)
  try {
    for (let breaks = 1; ; breaks++) {
      try {
        const size = await receive(session, id, target, { onProgress, signal })
        await target.commit()
        return { size }
      } catch (error) {
        const broke = error instanceof BytesClientError && error.code === 'incomplete'
        if (!broke || target.restart === undefined || breaks === MOST_BREAKS) throw error
        await target.restart()
      }
    }
  } finally {
    await target.close()
  }
}

async function receive(
  session: Session,
  id: string,
  target: Target,
  { onProgress, signal }: Pick<DownloadOptions, 'onProgress' | 'signal'>,
): Promise<number> {
  const path = `bytes/raw/${segment(id)}/evidence`
  const headers = { 'accept-encoding': 'identity' }
  const answer = await session.send({ method: 'GET', path, headers, repeated: true, signal })
  const total = Number(answer.headers.get('content-length') ?? Number.NaN)
  if (!Number.isSafeInteger(total)) {
    await answer.body?.cancel()
    throw new BytesClientError('unexpected_answer', 'the length of the bundle was not announced')
  }
  let received = 0
  if (answer.body !== null) {
    for await (const chunk of chunksOf(answer.body, signal)) {
      received += chunk.byteLength
      await target.write(chunk)
      onProgress?.({ received, total, fileName: undefined })
    }
  }
  if (received === total) return total
  throw new BytesClientError('incomplete', `the bundle ended after ${received} of ${total} bytes`)
}
