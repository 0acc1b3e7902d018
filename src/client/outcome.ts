/** How an upload goes on, and what came of it. */
import { BytesClientError } from './errors.js'
import { stat } from './records.js'
import type { Session } from './session.js'

/** Bytes handed to the network so far, and in all where that is known. */
export interface UploadProgress {
  readonly sent: number
  readonly total: number | undefined
}

/** A raw file whose content was compared with what was sent. */
export interface UploadResult {
  /** Of the raw file. */
  readonly id: string
  /** In bytes. */
  readonly size: number
  /** `sha512:<hex>` of the content. */
  readonly digest: string
}

/**
 * Asks the service for the digest of a raw file that was just uploaded.
 * @throws BytesClientError `content_differs`
 */
export async function compareStored(
  session: Session,
  { id, digest }: UploadResult,
  signal: AbortSignal | undefined,
): Promise<void> {
  const stored = await stat(session, id, { signal })
  if (stored.digest === digest) return
  throw new BytesClientError(
    'content_differs',
    `raw file ${id} has other content than what was sent: ` +
      'the job had a raw file with the same MIME types already, or the content was damaged on its ' +
      'way; use other tags or another job',
  )
}
