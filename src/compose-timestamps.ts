/** The hash repositories that the settings ask for, and what verifies the links of all of them. */
import type pg from 'pg'
import { BytesError } from './domain/errors.js'
import type { EvidenceRecords } from './domain/evidence-records.js'
import type { HashRepository, HashVerifier } from './domain/hash-repository.js'
import type { PendingHashes } from './domain/pending-hashes.js'
import type { Log } from './domain/ports.js'
import {
  startTimestamper,
  type Timestamper,
  type TimestamperObserver,
} from './flows/timestamper.js'
import { createInMemoryHashRepository } from './hashing/in-memory.js'
import { createPastebinRepository } from './hashing/pastebin.js'
import type { Anchors } from './hashing/rfc3161/anchors.js'
import { createTimestampAuthority } from './hashing/rfc3161/authority.js'
import { createTimestampRepository } from './hashing/rfc3161/repository.js'
import { createTimestampVerifier, type TimestampVerifier } from './hashing/rfc3161/verifier.js'
import { createEvidenceRecords } from './meta/evidence-records.js'
import { createPendingHashes } from './meta/pending-hashes.js'
import type { Settings } from './settings.js'
import type { TimestampSettings } from './timestamp-settings.js'

/** Requests to authorities under way at the same time, where they need not keep a distance. */
const CONCURRENCY = 4
/** What an attempt may take beside its timeout and its turn, in milliseconds. */
const ATTEMPT_MARGIN_MS = 1_000

export interface Timestamps {
  /** Gives links at once; undefined when third parties do, in their time. */
  readonly inline: HashRepository | undefined
  /** The third parties, the preferred one first. */
  readonly repositories: readonly HashRepository[]
  /** Of all kinds: files may have been stamped under other settings. */
  readonly verifiers: readonly HashVerifier[]
  readonly proof: TimestampVerifier['proof']
  readonly records: EvidenceRecords
  readonly pending: PendingHashes
}

/** Builds the hash repositories and verifiers. Nothing is asked of anybody yet. */
export function composeTimestamps(
  settings: TimestampSettings,
  anchors: Anchors,
  pool: pg.Pool,
): Timestamps {
  const records = createEvidenceRecords(pool)
  const verifier = createTimestampVerifier({ anchors, records })
  const timeoutMs = settings.timestampTimeoutSeconds * 1000
  const inMemory = createInMemoryHashRepository()
  const pastebin = createPastebinRepository({
    // Verifying takes none.
    key: settings.pastebinKey ?? '',
    baseUrl: settings.pastebinUrl,
    timeoutMs,
  })
  const authorities = (settings.timestampProviders ?? []).map((url) =>
    createTimestampAuthority({
      url,
      anchors,
      timeoutMs,
      maxSkewMs: settings.timestampMaxSkewSeconds * 1000,
      minIntervalMs: settings.timestampMinIntervalMs,
    }),
  )
  const repositories = {
    IN_MEMORY: [],
    PASTEBIN: [pastebin],
    RFC3161: authorities.map((authority) =>
      createTimestampRepository({ authority, verifier, records }),
    ),
  }
  return {
    inline: settings.hashRepository === 'IN_MEMORY' ? inMemory : undefined,
    repositories: repositories[settings.hashRepository],
    verifiers: [inMemory, pastebin, verifier],
    proof: verifier.proof,
    records,
    pending: createPendingHashes(pool),
  }
}

/**
 * Starts to give pending hashes away.
 * @returns undefined when there is nobody to give them to; hashes that wait all the same are told of
 */
export async function startStamping(
  { repositories, pending }: Pick<Timestamps, 'repositories' | 'pending'>,
  settings: Settings,
  log: Log,
  observer: TimestamperObserver,
): Promise<Timestamper | undefined> {
  if (repositories.length === 0) {
    await tellOfPending(pending, log)
    return undefined
  }
  const { timestampBatchSize: batchSize, timestampMinIntervalMs: minIntervalMs } = settings
  return startTimestamper({
    pending,
    repositories,
    batchSize,
    batchMs: settings.timestampBatchSeconds * 1000,
    concurrency: batchSize > 1 || minIntervalMs > 0 ? 1 : CONCURRENCY,
    attemptMs: settings.timestampTimeoutSeconds * 1000 + minIntervalMs + ATTEMPT_MARGIN_MS,
    log,
    observer,
  })
}

/** Only a word to the operator: a database that is not ready yet is told of by others. */
async function tellOfPending(pending: PendingHashes, log: Log): Promise<void> {
  try {
    const state = await pending.pendingState()
    if (state.pending === 0) return
    log.warn(state, 'files wait for a timestamp, and BYTES_EXT_HASH_REPOSITORY gives none')
  } catch (error) {
    if (!(error instanceof BytesError)) throw error
    log.warn({ reason: error.message }, 'files that wait for a timestamp cannot be counted')
  }
}
