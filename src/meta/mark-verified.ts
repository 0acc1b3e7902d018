import type pg from 'pg'
import { repeated } from './repeated.js'

const VERIFIED = `
  UPDATE blob SET verified_at = clock_timestamp(), verify_claimed_until = NULL
  WHERE id = ANY($1::bigint[])`

/** Notes that blobs were read just now and found right, and ends claims of them. */
export async function markVerified(pool: pg.Pool, ids: readonly number[]): Promise<void> {
  if (ids.length > 0) await repeated(() => pool.query(VERIFIED, [ids]))
}
