import type { SecureHash, Uuid } from './models.js'

/** The secure hash of a raw file that has no retrieval link yet. */
export interface PendingHash {
  readonly rawFileId: Uuid
  readonly secureHash: SecureHash
}

/** Pending hashes that nobody else takes while the claim lasts. */
export interface Claim {
  readonly id: Uuid
  /** The oldest first. */
  readonly hashes: readonly PendingHash[]
}

export interface ClaimOptions {
  /** Most hashes. */
  readonly limit: number
  /** Milliseconds until others may claim them again, if they are neither stamped nor released. */
  readonly leaseMs: number
  /** Fewer than `limit` are claimed only when the oldest has waited for so many milliseconds. */
  readonly waitMs: number
}

export interface PendingState {
  readonly pending: number
  /** Age of the oldest in seconds, 0 when there is none. */
  readonly oldestAgeSeconds: number
}

/**
 * The secure hashes that wait for a hash repository, committed together with their raw files.
 * Every method throws BytesError `database_unavailable` when the database cannot be reached.
 */
export interface PendingHashes {
  /** The claim is committed when this resolves. @returns undefined when there is nothing to claim */
  claim(options: ClaimOptions): Promise<Claim | undefined>
  /**
   * Gives raw files of a claim their retrieval links; they wait no longer. One that has a link by
   * now, because the claim had ended, keeps it. One whose row somebody else has locked is not waited
   * for: it stays pending, and claimed.
   */
  complete(
    claim: Claim,
    signingProviderUrl: string | null,
    links: ReadonlyMap<Uuid, string>,
  ): Promise<void>
  /** Lets others claim what is left of a claim at once, without what somebody else has locked. */
  release(claim: Claim): Promise<void>
  isPending(rawFileId: Uuid): Promise<boolean>
  pendingState(): Promise<PendingState>
}
