import type { AuditFiles, AuditRows, BlobRow } from '../domain/audit.js'
import { BytesError } from '../domain/errors.js'
import type { Log } from '../domain/ports.js'
import type { ScrubRows } from '../domain/scrub.js'
import { hasCode } from '../raw/durable.js'
import { rest } from './pause.js'

export interface ScrubOptions {
  readonly rows: ScrubRows & Pick<AuditRows, 'rawFilesOf' | 'findBlobRow'>
  readonly files: Pick<AuditFiles, 'verify'>
  /** Of this process; more than 0. */
  readonly bytesPerSecond: number
  /** Whether so much is under way that the disk is better left to others. */
  readonly busy: () => boolean
  readonly log: Log
  /** Counts blobs that are missing or damaged, for the metrics. */
  readonly countBlobError: (code: string) => void
}

export interface Scrub {
  /** Resolves when nothing is read any more. */
  stop(): Promise<void>
}

/** A blob is not read again sooner, in seconds. */
const MIN_AGE_SECONDS = 24 * 60 * 60
/** A blob that is wrong is looked at again after so many seconds: somebody may have healed it. */
const WRONG_AGAIN_SECONDS = 60 * 60
/** Blobs in one claim, and seconds of reading. */
const CLAIM = { limit: 16, seconds: 60 }
/** To open a file costs as much as reading so many bytes: many small ones are no lighter work. */
const OPENING_BYTES = 64 * 1024
/** After each blob that is wrong: a whole disk that is away must not fill the log at once. */
const WRONG_MS = 1_000
/** Of system calls that fail for want of something in the process or the machine: nothing of a blob. */
const OF_THE_PROCESS = ['EMFILE', 'ENFILE', 'ENOMEM']
/** How often it looks for blobs that have come of age, and tries again after a failure, in milliseconds. */
const IDLE_MS = 60_000
const RETRY_MS = 10_000
/** How often it looks whether the traffic is over; and how long it gives way in all, for one blob. */
const YIELD_MS = 200
const LONGEST_YIELD_MS = 60_000

/**
 * Reads blobs again, for ever: the one first that has not been verified for the longest time. What is
 * wrong is told in the log and the metrics. Instances share the blobs by claims.
 */
export function startScrub(options: ScrubOptions): Scrub {
  const { rows, files, bytesPerSecond, busy, log, countBlobError } = options
  const stopping = new AbortController()
  const { signal } = stopping
  let failures = 0
  /** When the next bytes may be read, by the clock of `performance`. */
  let nextAt = 0

  /** Keeps to the rate, and gives way. */
  const pacer = (): ((bytes: number) => Promise<void>) => {
    let yieldLeft = LONGEST_YIELD_MS
    return async (bytes) => {
      nextAt = Math.max(nextAt, performance.now()) + (bytes / bytesPerSecond) * 1000
      const wait = nextAt - performance.now()
      if (wait > 0) await rest(wait, signal)
      // Not for ever: a service that is always busy must find what has gone bad as well.
      for (; busy() && yieldLeft > 0 && !signal.aborted; yieldLeft -= YIELD_MS) {
        await rest(YIELD_MS, signal)
      }
      signal.throwIfAborted()
    }
  }

  /** Undefined when it is right. */
  const problemOf = async (blob: BlobRow): Promise<BytesError | undefined> => {
    try {
      const pace = pacer()
      await pace(OPENING_BYTES)
      await files.verify(blob, pace)
      return undefined
    } catch (error) {
      if (error instanceof BytesError && !hasCode(error.cause, ...OF_THE_PROCESS)) return error
      throw error
    }
  }

  const tell = async (blob: BlobRow, { code, message, cause }: BytesError): Promise<void> => {
    countBlobError(code)
    const { id: blobId, organization, contentDigest, address } = blob
    const rawFileIds = await rows.rawFilesOf(blobId)
    const known = { organization, contentDigest, address, blobId, rawFileIds }
    log.error({ ...known, code, reason: message, ...(cause ? { err: cause } : {}) }, WRONG)
  }

  const check = async (blob: BlobRow): Promise<void> => {
    const problem = await problemOf(blob)
    if (problem === undefined) return rows.verified([blob.id])
    // An upload may have put a whole one in its place, or somebody have deleted it.
    const now = await rows.findBlobRow(blob.id)
    if (now === undefined) return
    const still = now.address === blob.address ? problem : await problemOf(now)
    if (still === undefined) return rows.verified([blob.id])
    await rows.postpone([blob.id], WRONG_AGAIN_SECONDS)
    await tell(now, still)
    await rest(WRONG_MS, signal)
  }

  /** @returns false when there is nothing to do for now */
  const scrub = async (): Promise<boolean> => {
    const claimed = await rows.claim({
      minAgeSeconds: MIN_AGE_SECONDS,
      limit: CLAIM.limit,
      maxBytes: bytesPerSecond * CLAIM.seconds,
      bytesPerSecond,
    })
    const left = new Set(claimed.map(({ id }) => id))
    try {
      for (const blob of claimed) {
        signal.throwIfAborted()
        await check(blob)
        left.delete(blob.id)
      }
    } finally {
      // For others, or for later.
      await rows.postpone([...left], 0)
    }
    return claimed.length > 0
  }

  const run = async (): Promise<void> => {
    while (!signal.aborted) {
      try {
        const more = await scrub()
        if (failures > 0) log.info({ failures }, 'stored content is checked again')
        failures = 0
        if (!more) await rest(IDLE_MS, signal)
      } catch (error) {
        if (signal.aborted) return
        failures += 1
        if (failures === 1) {
          const reason = error instanceof Error ? error.message : String(error)
          log.warn({ reason, err: error }, 'stored content cannot be checked for now')
        }
        await rest(RETRY_MS, signal)
      }
    }
  }

  const running = run()
  return {
    stop: async () => {
      stopping.abort()
      await running
    },
  }
}

const WRONG = 'a stored content is missing or damaged'
