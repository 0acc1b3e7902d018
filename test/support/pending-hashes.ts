/** Pending hashes in memory, for tests of what uses them. */
import { randomUUID } from 'node:crypto'
import type { PendingHashes } from '../../src/domain/pending-hashes.js'

interface MemoryFile {
  readonly secureHash: string
  link: string | null
  signingProviderUrl: string | null
}

interface Waiting {
  claimId: string | undefined
  claimedUntil: number
  readonly since: number
}

export interface MemoryPendingHashes extends PendingHashes {
  /** Raw files by id. One that is deleted does not wait any longer. */
  readonly files: ReadonlyMap<string, Readonly<MemoryFile>>
  /** Adds a raw file that waits. @returns its id */
  add(secureHash: string): string
  delete(rawFileId: string): void
  /** How many of the waiting are claimed now. */
  claimed(): number
}

/** @param now milliseconds of the clock that leases and waiting are measured with */
export function memoryPendingHashes(
  now: () => number = () => performance.now(),
): MemoryPendingHashes {
  const files = new Map<string, MemoryFile>()
  // In order of insertion.
  const waiting = new Map<string, Waiting>()
  const isFree = (row: Waiting): boolean => row.claimId === undefined || row.claimedUntil <= now()
  return {
    files,
    add: (secureHash) => {
      const id = randomUUID()
      files.set(id, { secureHash, link: null, signingProviderUrl: null })
      waiting.set(id, { claimId: undefined, claimedUntil: 0, since: now() })
      return id
    },
    delete: (rawFileId) => {
      files.delete(rawFileId)
      waiting.delete(rawFileId)
    },
    claimed: () => [...waiting.values()].filter((row) => !isFree(row)).length,
    claim: async ({ limit, leaseMs, waitMs }) => {
      const free = [...waiting].filter(([, row]) => isFree(row)).slice(0, limit)
      const oldest = free[0]?.[1].since ?? Number.POSITIVE_INFINITY
      if (free.length < limit && oldest > now() - waitMs) return undefined
      const id = randomUUID()
      for (const [, row] of free) Object.assign(row, { claimId: id, claimedUntil: now() + leaseMs })
      const hashes = free.map(([rawFileId]) => ({
        rawFileId,
        secureHash: files.get(rawFileId)?.secureHash ?? '',
      }))
      return { id, hashes }
    },
    complete: async (_claim, signingProviderUrl, links) => {
      for (const [rawFileId, link] of links) {
        const file = files.get(rawFileId)
        if (file?.link === null) Object.assign(file, { link, signingProviderUrl })
        waiting.delete(rawFileId)
      }
    },
    release: async (claim) => {
      for (const row of waiting.values()) if (row.claimId === claim.id) row.claimId = undefined
    },
    isPending: async (rawFileId) => waiting.has(rawFileId),
    pendingState: async () => {
      const since = Math.min(...[...waiting.values()].map((row) => row.since))
      const oldestAgeSeconds = waiting.size === 0 ? 0 : Math.max(0, now() - since) / 1000
      return { pending: waiting.size, oldestAgeSeconds }
    },
  }
}
