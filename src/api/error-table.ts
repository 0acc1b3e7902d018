import { BytesError, type ErrorCode } from '../domain/errors.js'
import { HttpProblem, RETRY_LATER } from './problems.js'

const INTEGRITY = { status: 'failed', message: 'Integrity error: object might already exist' }

/** The one table from domain errors to HTTP: status, and the body where it is not `{"detail": message}`. */
const TABLE: Readonly<Record<ErrorCode, readonly [status: number, body?: (m: string) => object]>> =
  {
    already_exists: [400, () => INTEGRITY],
    reference_missing: [400, () => INTEGRITY],
    mime_types_not_unique: [400],
    boefje_meta_not_found: [404],
    normalizer_meta_not_found: [404],
    raw_file_not_found: [404],
    blob_not_found: [404],
    invalid_value: [422, (message) => ({ value: message })],
    blob_missing: [500],
    blob_damaged: [500],
    key_missing: [503],
    storage_full: [507],
    storage_unavailable: [503],
    database_unavailable: [503],
    database_conflict: [503],
    database_timeout: [503],
    broker_unavailable: [503],
    hash_repository_failed: [503],
    proof_not_found: [404],
    busy: [503],
  }

/** How an error is answered; undefined for one that nobody expected. */
export function toHttpProblem(error: unknown): HttpProblem | undefined {
  if (error instanceof HttpProblem) return error
  if (!(error instanceof BytesError)) return undefined
  const [status, body] = TABLE[error.code]
  const headers = status === 503 ? RETRY_LATER : {}
  return new HttpProblem(status, body?.(error.message) ?? { detail: error.message }, headers)
}
