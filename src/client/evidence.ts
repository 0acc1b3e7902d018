/** What proves the time of a raw file, as the service keeps it. */
import { parseUuid } from '../domain/uuid.js'
import { chunksOf, type DownloadOptions } from './download.js'
import { BytesClientError, networkError, throwIfAborted } from './errors.js'
import { segment } from './records.js'
import type { Session } from './session.js'
import type { Target } from './sink.js'
import { type DownloadTarget, openTarget } from './target.js'
import { printable } from './text.js'

/** More than an evidence record can be. */
const MAX_BYTES = 4 * 1024 * 1024
/** A bundle that breaks off again and again has damaged content in it. */
const MOST_BREAKS = 3
/** How long the service may look for the reason of the breaks, in milliseconds: it reads the content. */
const REASON_MS = 60_000

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
 * @throws BytesClientError; `incomplete` when it ends too early again and again, with a `serverText`
 * when the service finds the content damaged; `target_exists` when there is a file that was not to be
 * replaced
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
        if (!broke) throw error
        if (target.restart === undefined || breaks === MOST_BREAKS) {
          throw await explained(session, id, error, signal)
        }
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
  let why: string
  let cause: unknown
  try {
    if (answer.body !== null) {
      for await (const chunk of chunksOf(answer.body, signal)) {
        received += chunk.byteLength
        await target.write(chunk)
        onProgress?.({ received, total, fileName: undefined })
      }
    }
    if (received === total) return total
    why = `it ended after ${received} of ${total} bytes`
  } catch (error) {
    if (!(error instanceof BytesClientError) || error.code !== 'incomplete') throw error
    why = error.message
    cause = error
  }
  const requestId = answer.headers.get('x-request-id') ?? undefined
  const what = `the evidence bundle of raw file ${id} did not come whole: ${why}`
  throw new BytesClientError('incomplete', what + inRequest(requestId), { requestId, cause })
}

const inRequest = (id: string | undefined): string =>
  id === undefined ? '' : ` (request ${printable(id)})`

/**
 * The error of a bundle that broke off for good, with what is wrong with the content: the service
 * tells that only when it is asked, as the bundle was under way when it was found.
 * @throws BytesClientError `aborted`
 */
async function explained(
  session: Session,
  id: string,
  broke: BytesClientError,
  signal: AbortSignal | undefined,
): Promise<BytesClientError> {
  const late = AbortSignal.timeout(REASON_MS)
  const until = signal === undefined ? late : AbortSignal.any([signal, late])
  const path = `bytes/raw/${segment(id)}/verify`
  const answer = await session.sendForJson({ method: 'GET', path, signal: until }).catch(() => {
    // What is known of the break is told all the same.
    throwIfAborted(signal)
    return undefined
  })
  const damage = damageIn(answer?.value)
  if (damage === undefined) return broke
  const { requestId } = broke
  return new BytesClientError('incomplete', damage + inRequest(requestId), {
    requestId,
    serverText: damage,
    cause: broke,
  })
}

/** What a verification says of the content, when that is not right. */
function damageIn(verification: unknown): string | undefined {
  const checks: unknown = memberOf(verification, 'checks')
  if (!Array.isArray(checks)) return undefined
  const content: unknown = checks.find((check) => memberOf(check, 'name') === 'content_digest')
  const detail = memberOf(content, 'detail')
  const damaged = memberOf(content, 'passed') === false && typeof detail === 'string'
  return damaged ? printable(detail) : undefined
}

const memberOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
