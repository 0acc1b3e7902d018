/** What proves the time of a raw file, as the service keeps it. */
import { parseUuid } from '../domain/uuid.js'
import { BytesClientError, networkError } from './errors.js'
import type { Session } from './session.js'

/** More than an evidence record can be. */
const MAX_BYTES = 4 * 1024 * 1024

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
