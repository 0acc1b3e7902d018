import type { BlobKeys } from '../domain/blob-keys.js'
import type { MetaRepository, OrganizationCounts, OutboxState } from '../domain/meta-repository.js'
import type { PendingHashes, PendingState } from '../domain/pending-hashes.js'
import type { ScrubRows } from '../domain/scrub.js'
import { shared } from '../domain/shared.js'

export interface Counts {
  readonly organizations: readonly OrganizationCounts[]
  readonly outbox: OutboxState
  /** Number of blobs for each key id; under null those that have no key. */
  readonly blobsByKey: ReadonlyMap<string | null, number>
  readonly pendingHashes: PendingState
  readonly oldestUnverifiedSeconds: number
}

/** What is counted. */
export interface CountsPorts {
  readonly meta: Pick<MetaRepository, 'countByOrganization' | 'outboxState'>
  readonly blobKeys: Pick<BlobKeys, 'countByKey'>
  readonly pending: Pick<PendingHashes, 'pendingState'>
  readonly scrub: Pick<ScrubRows, 'oldestUnverifiedSeconds'>
}

/**
 * Counts for the metrics, by one query for all who ask at the same time.
 * @param ttlSeconds how long an answer is used again; 0 asks the database each time
 */
export function createCountsReader(
  { meta, blobKeys, pending, scrub }: CountsPorts,
  ttlSeconds: number,
): () => Promise<Counts> {
  let cached: { counts: Counts; until: number } | undefined
  const query = shared(async (): Promise<Counts> => {
    // A frozen database fails this one soon: no long one must be left waiting for it.
    const outbox = await meta.outboxState()
    // One after the other: two of them read whole tables, for minutes, and would keep the two
    // connections from everybody else that the smallest pool has.
    const pendingHashes = await pending.pendingState()
    const oldestUnverifiedSeconds = await scrub.oldestUnverifiedSeconds()
    const organizations = await meta.countByOrganization()
    const blobsByKey = await blobKeys.countByKey()
    const counts = { organizations, outbox, blobsByKey, pendingHashes, oldestUnverifiedSeconds }
    cached = { counts, until: performance.now() + ttlSeconds * 1000 }
    return counts
  })
  return () =>
    cached && performance.now() < cached.until ? Promise.resolve(cached.counts) : query()
}
