/** SQL of when a blob was last verified, or else stored: the expression of the index ix_blob_verified. */
export const SINCE = 'coalesce(verified_at, created_at)'
