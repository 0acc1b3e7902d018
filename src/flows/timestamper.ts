import type { Uuid } from '../domain/models.js'
import type { Claim, PendingHashes } from '../domain/pending-hashes.js'
import type { Log } from '../domain/ports.js'
import { createPause, rest } from './pause.js'
import {
  createRepositoryRota,
  type Given,
  isDatabaseFailure,
  type RequestObserver,
  type RotaOptions,
} from './repository-rota.js'

/** How often it looks for hashes that another instance has left, in milliseconds. */
const POLL_MS = 1_000
/** After a wake it waits at least so long for a batch to fill. */
const BATCH_LINGER_MS = 25
/** Longest pause after failures of the database. */
const MAX_BACKOFF_MS = 10_000
/** How long links are kept for a database that is away: they have had their price. */
const KEEP_MS = 5 * 60_000
/** What a lease has for claiming and completing, beside the requests. */
const LEASE_MARGIN_MS = 5_000

export interface TimestamperObserver extends RequestObserver {
  /** So many raw files have got their links. */
  onStamped(provider: string, hashes: number): void
}

export interface TimestamperOptions extends Omit<RotaOptions, 'batches'> {
  readonly pending: PendingHashes
  /** Most hashes that are given away together; 1 gives each by itself. */
  readonly batchSize: number
  /** How long a hash waits at most for a batch to fill, in milliseconds. */
  readonly batchMs: number
  /** Most claims that are under way at the same time. */
  readonly concurrency: number
  readonly log: Log
  readonly observer: TimestamperObserver
}

export interface Timestamper {
  /** There may be a pending hash: look at once. */
  wake(): void
  /** Gives up what is under way, and lets others claim it; resolves when that is done. */
  stop(): Promise<void>
}

/**
 * Gives pending hashes to hash repositories, for ever. A hash is claimed for longer than all
 * repositories may take, given away outside any transaction, and pending until its link is
 * committed: a crash in between lets it be claimed again when the lease has ended.
 */
export function startTimestamper(options: TimestamperOptions): Timestamper {
  const { pending, batchSize, concurrency, log, observer } = options
  const rota = createRepositoryRota({ ...options, batches: batchSize > 1 })
  const claimOptions = {
    limit: batchSize,
    leaseMs: options.repositories.length * options.attemptMs + LEASE_MARGIN_MS,
    waitMs: batchSize > 1 ? options.batchMs : 0,
  }
  const lingerMs =
    batchSize > 1 ? Math.min(POLL_MS, Math.max(BATCH_LINGER_MS, options.batchMs / 10)) : 0
  const stopping = new AbortController()
  const stopped = (): boolean => stopping.signal.aborted
  const pause = createPause()
  const underway = new Set<Promise<void>>()
  let woken = false
  let idling = false
  /** Of the database. */
  let failures = 0
  let readyAt = 0

  const recovered = (): void => {
    if (failures > 0) log.info({ failures }, 'the timestamper has its database again')
    failures = 0
  }

  const failed = (error: unknown): void => {
    failures++
    // Full jitter, so that instances do not come back all at once.
    const longest = Math.min(MAX_BACKOFF_MS, 100 * 2 ** Math.min(failures, 10))
    readyAt = performance.now() + Math.random() * longest
    if (failures > 1) return
    if (isDatabaseFailure(error)) {
      log.warn({ reason: error.message }, 'the timestamper lacks its database: hashes wait')
    } else log.error({ err: error }, 'the timestamper failed: hashes wait')
  }

  /** The one pause that a wake ends: a backoff must not become a busy loop under uploads. */
  const idle = async (): Promise<void> => {
    idling = true
    if (!woken && !stopped()) await pause.wait(POLL_MS)
    idling = false
    if (woken && lingerMs > 0 && !stopped()) await pause.wait(lingerMs)
  }

  /** @returns false when the links cannot be kept and committed */
  const complete = async (claim: Claim, hashes: readonly string[], given: Given) => {
    const deadline = performance.now() + KEEP_MS
    let links: ReadonlyMap<Uuid, string> | undefined
    for (;;) {
      try {
        links ??= linksOf(claim, hashes, await given.keep())
        await pending.complete(claim, given.signingProviderUrl, links)
        observer.onStamped(given.provider, links.size)
        recovered()
        return true
      } catch (error) {
        failed(error)
        if (!isDatabaseFailure(error) || stopped() || performance.now() > deadline) return false
        // A shutdown leaves it a last try.
        await rest(readyAt - performance.now(), stopping.signal)
      }
    }
  }

  const stamp = async (claim: Claim): Promise<void> => {
    try {
      // Files of equal content and time have equal hashes.
      const hashes = [...new Set(claim.hashes.map(({ secureHash }) => secureHash))]
      const given = await rota.give(hashes, stopping.signal)
      if (given && (await complete(claim, hashes, given))) return
    } catch (error) {
      if (!stopped()) failed(error)
    }
    // If that fails, the lease ends by itself.
    await pending.release(claim).catch(failed)
  }

  const claimNext = async (): Promise<void> => {
    woken = false
    const claim = await pending.claim(claimOptions)
    if (claim === undefined) {
      if (underway.size === 0) recovered()
      return idle()
    }
    const work = stamp(claim).finally(() => {
      underway.delete(work)
      pause.end()
    })
    underway.add(work)
  }

  const run = async (): Promise<void> => {
    while (!stopped()) {
      const waitMs = Math.max(rota.readyIn(), readyAt - performance.now())
      // What is under way ends the pause.
      if (underway.size >= concurrency || waitMs === Number.POSITIVE_INFINITY) {
        await pause.wait(POLL_MS)
      } else if (waitMs > 0) await pause.wait(waitMs)
      else await claimNext().catch(failed)
    }
    await Promise.all(underway)
  }

  for (const provider of rota.providers) observer.onStamped(provider, 0)
  const running = run()
  return {
    wake: () => {
      woken = true
      if (idling) pause.end()
    },
    stop: async () => {
      stopping.abort(new Error('the timestamper stops'))
      pause.end()
      await running
    },
  }
}

function linksOf(
  claim: Claim,
  hashes: readonly string[],
  links: readonly string[],
): Map<Uuid, string> {
  const byHash = new Map(hashes.map((hash, i) => [hash, links[i]]))
  const found = new Map<Uuid, string>()
  for (const { rawFileId, secureHash } of claim.hashes) {
    const link = byHash.get(secureHash)
    if (link !== undefined) found.set(rawFileId, link)
  }
  return found
}
