import { BytesError, type ErrorCode } from '../domain/errors.js'
import type { HashRepository, KeepLinks } from '../domain/hash-repository.js'
import type { SecureHash } from '../domain/models.js'
import type { Log } from '../domain/ports.js'
import { TimestampError } from '../hashing/rfc3161/errors.js'

/** Longest pause before a repository that has failed is asked again, in milliseconds. */
const MAX_BACKOFF_MS = 60_000
/** Longest pause after the first failure. */
const FIRST_BACKOFF_MS = 500

/** What is told of every request to a hash repository. `provider` is the host of its URL. */
export interface RequestObserver {
  onRequest(request: {
    readonly provider: string
    readonly seconds: number
    /** A TimestampErrorCode, or `unknown`; undefined when the request succeeded. */
    readonly failure: string | undefined
  }): void
}

export interface RotaOptions {
  /** The first is asked while it works. */
  readonly repositories: readonly HashRepository[]
  /** Hashes are given to `storeBatch`. */
  readonly batches: boolean
  /** Longest time for one request, in milliseconds. To keep what it gave takes its own. */
  readonly attemptMs: number
  readonly log: Pick<Log, 'info' | 'warn'>
  readonly observer: RequestObserver
}

/** What a repository has given. */
export interface Given {
  /** Throws Error, too, when there are not as many links as hashes. */
  readonly keep: KeepLinks
  readonly provider: string
  readonly signingProviderUrl: string | null
}

/** Hash repositories of which the next is asked when one fails. */
export interface RepositoryRota {
  readonly providers: readonly string[]
  /** Milliseconds until there is one to ask; infinite while the only ones are being tried out. */
  readyIn(): number
  /**
   * Gives hashes away.
   * @param hashes all different; one unless the rota is for batches
   * @returns undefined when none of the repositories has taken them
   * @throws the reason of `signal`
   */
  give(hashes: readonly SecureHash[], signal: AbortSignal): Promise<Given | undefined>
}

interface Member {
  readonly repository: HashRepository
  readonly provider: string
  /** Since it last worked. Requests that were under way when one failed are not counted again. */
  failures: number
  failedAt: number
  /** When it may be asked again. */
  readyAt: number
  /** After a failure it is asked by one at a time. */
  trying: boolean
}

/**
 * One that has failed is passed over for a time that grows, with full jitter, so that instances do
 * not come back all at once. Its outage is logged at the beginning and at the end.
 */
export function createRepositoryRota(options: RotaOptions): RepositoryRota {
  const { log, observer, attemptMs, batches } = options
  const members = options.repositories.map((repository): Member => {
    if (batches && !repository.storeBatch) throw new Error('this hash repository takes no batches')
    const provider = providerOf(repository)
    return { repository, provider, failures: 0, failedAt: 0, readyAt: 0, trying: false }
  })

  const readyIn = ({ failures, readyAt, trying }: Member): number => {
    if (failures === 0) return 0
    return trying ? Number.POSITIVE_INFINITY : Math.max(0, readyAt - performance.now())
  }

  const worked = (member: Member): void => {
    const { provider, failures } = member
    if (failures > 0) log.info({ provider, failures }, 'the hash repository works again')
    member.failures = 0
  }

  const failed = (member: Member, startedAt: number, error: unknown): void => {
    if (member.failures > 0 && startedAt < member.failedAt) return
    const { provider } = member
    member.failures++
    member.failedAt = performance.now()
    const longest = FIRST_BACKOFF_MS * 2 ** Math.min(member.failures - 1, 10)
    member.readyAt = member.failedAt + Math.random() * Math.min(MAX_BACKOFF_MS, longest)
    if (member.failures > 1) return
    const message = error instanceof Error ? error.message : String(error)
    const fields = { provider, reason: reasonOf(error), message }
    log.warn(fields, 'the hash repository fails: secure hashes wait for it or another')
  }

  const request = async (
    { repository }: Member,
    hashes: readonly SecureHash[],
    signal: AbortSignal,
  ): Promise<KeepLinks> => {
    if (batches && repository.storeBatch) return repository.storeBatch(hashes, signal)
    const links = await Promise.all(hashes.map((hash) => repository.store(hash, signal)))
    return async () => links
  }

  /** @returns undefined when this one has failed */
  const ask = async (
    member: Member,
    hashes: readonly SecureHash[],
    signal: AbortSignal,
  ): Promise<Given | undefined> => {
    const { provider, repository } = member
    const startedAt = performance.now()
    const seconds = (): number => (performance.now() - startedAt) / 1000
    const trial = member.failures > 0
    if (trial) member.trying = true
    try {
      const kept = await within(attemptMs, signal, (inner) => request(member, hashes, inner))
      observer.onRequest({ provider, seconds: seconds(), failure: undefined })
      worked(member)
      const keep = async (): Promise<readonly string[]> => {
        const links = await kept()
        if (links.length === hashes.length) return links
        throw new Error(`${provider} gave ${links.length} links for ${hashes.length} hashes`)
      }
      return { keep, provider, signingProviderUrl: repository.signingProviderUrl }
    } catch (error) {
      signal.throwIfAborted()
      observer.onRequest({ provider, seconds: seconds(), failure: reasonOf(error) })
      failed(member, startedAt, error)
      return undefined
    } finally {
      if (trial) member.trying = false
    }
  }

  return {
    providers: members.map(({ provider }) => provider),
    readyIn: () => Math.min(...members.map(readyIn)),
    give: async (hashes, signal) => {
      for (const member of members) {
        signal.throwIfAborted()
        const given = readyIn(member) === 0 ? await ask(member, hashes, signal) : undefined
        if (given) return given
      }
      return undefined
    },
  }
}

/** Path and query of a URL may tell what is not meant for everybody. */
function providerOf({ signingProviderUrl }: HashRepository): string {
  return signingProviderUrl === null ? 'none' : new URL(signingProviderUrl).host
}

function reasonOf(error: unknown): string {
  if (error instanceof TimestampError) return error.code
  return error instanceof Error && error.cause instanceof TimestampError
    ? error.cause.code
    : 'unknown'
}

const DATABASE_FAILURES: readonly ErrorCode[] = [
  'database_unavailable',
  'database_conflict',
  'database_timeout',
  'storage_full',
]

/** Failures of the database that end by themselves. What else it refuses, it will refuse again. */
export function isDatabaseFailure(error: unknown): error is BytesError {
  return error instanceof BytesError && DATABASE_FAILURES.includes(error.code)
}

/** Runs something that is given up after a time, and with `outer`, whether it listens or not. */
async function within<T>(
  ms: number,
  outer: AbortSignal,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const inner = new AbortController()
  const late = new BytesError('hash_repository_failed', `no answer within ${ms / 1000} s`)
  const timer = setTimeout(() => inner.abort(late), ms)
  const onAbort = (): void => inner.abort(outer.reason)
  outer.addEventListener('abort', onAbort)
  const aborted = new Promise<never>((_, reject) => {
    inner.signal.addEventListener('abort', () => reject(inner.signal.reason), { once: true })
  })
  try {
    return await Promise.race([run(inner.signal), aborted])
  } finally {
    clearTimeout(timer)
    outer.removeEventListener('abort', onAbort)
  }
}
