/**
 * Every way in which the product can refuse or fail, as a closed set. The HTTP status of each is
 * in `api/error-table.ts`, the SQLSTATE that leads to it in `meta/sqlstate.ts`.
 */
export type ErrorCode =
  | 'already_exists'
  | 'reference_missing'
  | 'boefje_meta_not_found'
  | 'normalizer_meta_not_found'
  | 'raw_file_not_found'
  | 'blob_not_found'
  | 'mime_types_not_unique'
  | 'invalid_value'
  | 'blob_missing'
  | 'blob_damaged'
  | 'key_missing'
  | 'storage_full'
  | 'storage_unavailable'
  | 'database_unavailable'
  | 'database_conflict'
  | 'database_timeout'
  | 'broker_unavailable'
  | 'hash_repository_failed'
  | 'proof_not_found'
  | 'busy'

/** An expected failure. `message` is meant for the client: it holds no secret and no path. */
export class BytesError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'BytesError'
    this.code = code
  }
}
