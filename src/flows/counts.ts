import type { BlobKeys } from '../domain/blob-keys.js'
import type { MetaRepository, OrganizationCounts, OutboxState } from '../domain/meta-repository.js'

export interface Counts {
  readonly organizations: readonly OrganizationCounts[]
  readonly outbox: OutboxState
  /** Number of blobs for each key id; under null those that have no key. */
  readonly blobsByKey: ReadonlyMap<string | null, number>
}

/**
 * Counts for the metrics. While a query runs, everyone who asks gets its answer; it never runs
 * twice at once.
 * @param ttlSeconds how long an answer is used again; 0 asks the database each time
 */
export function createCountsReader(
  meta: Pick<MetaRepository, 'countByOrganization' | 'outboxState'>,
  blobKeys: Pick<BlobKeys, 'countByKey'>,
  ttlSeconds: number,
): () => Promise<Counts> {
  let running: Promise<Counts> | undefined
  let cached: { counts: Counts; until: number } | undefined

  const query = async (): Promise<Counts> => {
    const [organizations, outbox, blobsByKey] = await Promise.all([
      meta.countByOrganization(),
      meta.outboxState(),
      blobKeys.countByKey(),
    ])
    const counts = { organizations, outbox, blobsByKey }
    cached = { counts, until: performance.now() + ttlSeconds * 1000 }
    return counts
  }

  return () => {
    if (cached && performance.now() < cached.until) return Promise.resolve(cached.counts)
    running ??= query().finally(() => {
      running = undefined
    })
    return running
  }
}
