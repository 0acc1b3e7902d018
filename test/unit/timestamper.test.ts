import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { BytesError } from '../../src/domain/errors.js'
import type { HashRepository } from '../../src/domain/hash-repository.js'
import type { PendingHashes } from '../../src/domain/pending-hashes.js'
import {
  startTimestamper,
  type Timestamper,
  type TimestamperOptions,
} from '../../src/flows/timestamper.js'
import { TimestampError } from '../../src/hashing/rfc3161/errors.js'
import { type MemoryPendingHashes, memoryPendingHashes } from '../support/pending-hashes.js'

const HOUR = 3_600_000
const ATTEMPT_MS = 5_000

type Answer = (hashes: readonly string[], signal: AbortSignal | undefined) => Promise<string[]>
const works: Answer = async (hashes) => hashes.map((hash) => `link to ${hash}`)
const takes =
  (ms: number): Answer =>
  async (hashes, signal) => {
    await new Promise((resolve) => setTimeout(resolve, ms))
    return works(hashes, signal)
  }
const fails: Answer = async () => {
  const cause = new TimestampError('wrong_nonce', 'the nonce is another one')
  throw new BytesError('hash_repository_failed', cause.message, { cause })
}
/** It does not listen to the signal either. */
const hangs: Answer = () => new Promise(() => undefined)

const listens: Answer = (_, signal) =>
  new Promise((_resolve, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
  })

/** A third party whose answers the test chooses. */
function fakeRepository(name: string) {
  const fake = {
    answer: works,
    /** What becomes of the answer to a batch. */
    keep: async (links: readonly string[]) => links,
    /** Hashes of each request. */
    requests: [] as (readonly string[])[],
    underway: 0,
    most: 0,
    repository: undefined as unknown as HashRepository,
  }
  const ask: Answer = async (hashes, signal) => {
    fake.requests.push(hashes)
    fake.underway++
    fake.most = Math.max(fake.most, fake.underway)
    return fake.answer(hashes, signal).finally(() => {
      fake.underway--
    })
  }
  fake.repository = {
    thirdParty: true,
    signingProviderUrl: `https://${name}.example:8443/path?key=hidden`,
    recognizes: () => false,
    verify: async () => [],
    store: async (hash, signal) => (await ask([hash], signal))[0] ?? '',
    storeBatch: async (hashes, signal) => {
      const links = await ask(hashes, signal)
      return () => fake.keep(links)
    },
  }
  return fake
}

let pending: MemoryPendingHashes
let first: ReturnType<typeof fakeRepository>
let second: ReturnType<typeof fakeRepository>
let running: Timestamper | undefined
let logged: { level: string; fields: Record<string, unknown>; message: string }[]
let requests: { provider: string; failure: string | undefined }[]
let stamped: Map<string, number>

beforeEach(() => {
  vi.useFakeTimers()
  // The longest backoff, so that tests know it.
  vi.spyOn(Math, 'random').mockReturnValue(0.999)
  pending = memoryPendingHashes()
  first = fakeRepository('first')
  second = fakeRepository('second')
  logged = []
  requests = []
  stamped = new Map()
})

afterEach(async () => {
  await running?.stop()
  running = undefined
  expect(vi.getTimerCount()).toBe(0)
  vi.useRealTimers()
  vi.restoreAllMocks()
})

function start(options: Partial<TimestamperOptions> = {}): Timestamper {
  const log = (level: string) => (fields: object, message: string) => {
    logged.push({ level, fields: { ...fields }, message })
  }
  running = startTimestamper({
    pending,
    repositories: [first.repository],
    batchSize: 1,
    batchMs: 0,
    concurrency: 1,
    attemptMs: ATTEMPT_MS,
    log: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
    observer: {
      onRequest: ({ provider, failure }) => requests.push({ provider, failure }),
      onStamped: (provider, count) => stamped.set(provider, (stamped.get(provider) ?? 0) + count),
    },
    ...options,
  })
  return running
}

const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms)
const add = (count: number, prefix = 'hash'): string[] =>
  Array.from({ length: count }, (_, n) => pending.add(`sha512:${prefix}${n}`))
const linkOf = (id: string) => pending.files.get(id)?.link
const expectStamped = (ids: readonly string[]): void => {
  for (const id of ids) expect(linkOf(id)).toBe(`link to ${pending.files.get(id)?.secureHash}`)
}
const failing = (times: number, method: keyof PendingHashes, error: Error): PendingHashes => {
  let left = times
  const wrapped = async (...args: unknown[]): Promise<unknown> => {
    if (left-- > 0) throw error
    return (pending[method] as (...rest: unknown[]) => Promise<unknown>)(...args)
  }
  return { ...pending, [method]: wrapped }
}
const GONE = new BytesError('database_unavailable', 'the database cannot be reached')

describe('a timestamper', () => {
  it('gives what waits, one by one, and what comes later when it is woken', async () => {
    const ids = add(3)
    const timestamper = start()
    await pass(0)
    expectStamped(ids)
    expect(first.requests).toEqual([['sha512:hash0'], ['sha512:hash1'], ['sha512:hash2']])
    const { signingProviderUrl } = first.repository
    expect(pending.files.get(ids[0] ?? '')?.signingProviderUrl).toBe(signingProviderUrl)

    const later = add(2, 'later')
    timestamper.wake()
    await pass(0)
    expectStamped(later)
    expect(stamped).toEqual(new Map([['first.example:8443', 5]]))
    expect(logged).toEqual([])
  })

  it('finds what others have left without being woken', async () => {
    start()
    await pass(10)
    const ids = add(1)
    await pass(1_000)
    expectStamped(ids)
  })

  it('does not miss a wake that comes while it is looking', async () => {
    const timestamper = start({
      pending: {
        ...pending,
        claim: async (options) => {
          const claim = await pending.claim(options)
          // Committed just after the look.
          if (!claim && pending.files.size === 0) {
            add(1)
            timestamper.wake()
          }
          return claim
        },
      },
    })
    await pass(0)
    expect(first.requests).toHaveLength(1)
  })

  it.each([1, 4])('has no more than %i requests under way', async (concurrency) => {
    first.answer = takes(100)
    const ids = add(12)
    start({ concurrency })
    await pass((12 / concurrency) * 100)
    expectStamped(ids)
    expect(first.most).toBe(concurrency)
  })

  it('shares hashes with another instance', async () => {
    first.answer = takes(100)
    second.answer = takes(100)
    const ids = add(40)
    const other = startTimestamper({
      pending,
      repositories: [second.repository],
      batchSize: 1,
      batchMs: 0,
      concurrency: 2,
      attemptMs: ATTEMPT_MS,
      log: { debug() {}, info() {}, warn() {}, error() {} },
      observer: { onRequest() {}, onStamped() {} },
    })
    start({ concurrency: 2 })
    await pass(1_000)
    await other.stop()
    expectStamped(ids)
    const given = [...first.requests, ...second.requests].flat()
    expect(given.toSorted()).toEqual(ids.map((id) => pending.files.get(id)?.secureHash).toSorted())
    expect(first.requests.length).toBeGreaterThan(5)
    expect(second.requests.length).toBeGreaterThan(5)
  })
})

describe('batches', () => {
  const batches = { batchSize: 10, batchMs: 10_000 }

  it('are given together when they are full', async () => {
    const ids = add(25)
    start(batches)
    await pass(0)
    expectStamped(ids.slice(0, 20))
    expect(first.requests.map((hashes) => hashes.length)).toEqual([10, 10])
    expect(linkOf(ids[20] ?? '')).toBeNull()
  })

  it('are given when they have waited long enough', async () => {
    const ids = add(3)
    const timestamper = start(batches)
    timestamper.wake()
    await pass(9_000)
    expect(first.requests).toEqual([])
    await pass(3_000)
    expect(first.requests.map((hashes) => hashes.length)).toEqual([3])
    expectStamped(ids)
  })

  it('fill while uploads wake it', async () => {
    const claim = vi.spyOn(pending, 'claim')
    const timestamper = start({ batchSize: 1000, batchMs: 10_000 })
    for (let n = 0; n < 1000; n++) {
      add(1, `${n} `)
      timestamper.wake()
      await pass(4)
    }
    await pass(1_000)
    expect(first.requests.map((hashes) => hashes.length)).toEqual([1000])
    // It does not look at the database for each of them.
    expect(claim.mock.calls.length).toBeLessThan(20)
  })

  it('hold equal hashes once, and give each file its link', async () => {
    const ids = [...add(3), ...add(3), ...add(4, 'other')]
    start(batches)
    await pass(0)
    expect(first.requests).toHaveLength(1)
    expect(new Set(first.requests[0])).toHaveProperty('size', 7)
    expect(first.requests[0]).toHaveLength(7)
    expectStamped(ids)
    expect(stamped.get('first.example:8443')).toBe(10)
  })

  it('need a repository that takes them', () => {
    const { storeBatch: _, ...single } = first.repository
    expect(() => start({ ...batches, repositories: [single] })).toThrow('no batches')
  })

  it('get as many links as they have hashes, or none', async () => {
    let wrong = 1
    first.answer = async (hashes) => (wrong-- > 0 ? hashes.slice(1) : works(hashes, undefined))
    const ids = add(10)
    start({ ...batches })
    await pass(0)
    expect(await pending.pendingState()).toMatchObject({ pending: 10 })
    expect(logged.map(({ level }) => level)).toEqual(['error'])
    await pass(1_000)
    expectStamped(ids)
  })

  it('whose records cannot be kept are no failure of the repository, nor given away again', async () => {
    let outage = 2
    first.keep = async (links) => {
      if (outage-- > 0) throw GONE
      return links
    }
    const ids = add(10)
    start({ ...batches, repositories: [first.repository, second.repository] })
    await pass(5_000)
    expectStamped(ids)
    expect(first.requests).toHaveLength(1)
    expect(second.requests).toEqual([])
    expect(requests).toEqual([{ provider: 'first.example:8443', failure: undefined }])
  })

  it('may take longer to be kept than a request may take', async () => {
    first.keep = (links) =>
      new Promise((resolve) => setTimeout(() => resolve(links), 2 * ATTEMPT_MS))
    const ids = add(10)
    start({ ...batches, repositories: [first.repository, second.repository] })
    await pass(3 * ATTEMPT_MS)
    expectStamped(ids)
    expect(first.requests).toHaveLength(1)
    expect(requests).toEqual([{ provider: 'first.example:8443', failure: undefined }])
  })
})

describe('a repository that fails', () => {
  const both = () => ({ repositories: [first.repository, second.repository] })

  it('is followed by the next, and passed over for a while', async () => {
    first.answer = fails
    const ids = add(5)
    start(both())
    await pass(0)
    expectStamped(ids)
    expect(first.requests).toHaveLength(1)
    expect(second.requests).toHaveLength(5)
    const { signingProviderUrl } = second.repository
    expect(pending.files.get(ids[0] ?? '')?.signingProviderUrl).toBe(signingProviderUrl)
    expect(requests.slice(0, 2)).toEqual([
      { provider: 'first.example:8443', failure: 'wrong_nonce' },
      { provider: 'second.example:8443', failure: undefined },
    ])
  })

  it('is asked again, by one request at a time, and is the preferred one when it works', async () => {
    first.answer = listens
    second.answer = takes(100)
    start({ ...both(), concurrency: 4 })
    add(400)
    await pass(2 * ATTEMPT_MS)
    // All that were under way when it began to hang, and trials.
    expect(first.most).toBe(4)
    const begun = first.requests.length
    first.most = 0
    await pass(20_000)
    expect(first.most).toBe(1)
    expect(first.requests.length).toBeGreaterThan(begun)
    expect(first.requests.length).toBeLessThan(begun + 6)
    first.answer = takes(100)
    add(400, 'more')
    await pass(70_000)
    expect((await pending.pendingState()).pending).toBe(0)
    const [mine, others] = [first.requests.length, second.requests.length]
    const last = add(40, 'last')
    await pass(3_000)
    expectStamped(last)
    expect(second.requests.length).toBe(others)
    expect(first.requests.length).toBe(mine + 40)
  })

  it('is logged once, and once more when it works again', async () => {
    first.answer = fails
    start({ ...both(), concurrency: 4 })
    add(2_000)
    await pass(60_000)
    expect(logged).toEqual([
      {
        level: 'warn',
        fields: {
          provider: 'first.example:8443',
          reason: 'wrong_nonce',
          message: 'the nonce is another one',
        },
        message: 'the hash repository fails: secure hashes wait for it or another',
      },
    ])
    first.answer = works
    add(1)
    await pass(120_000)
    add(1)
    await pass(1_000)
    expect(logged.slice(1)).toMatchObject([
      { level: 'info', message: 'the hash repository works again' },
    ])
    expect(JSON.stringify(logged)).not.toContain('hidden')
  })

  it('costs nothing but time when there is no other', async () => {
    first.answer = fails
    const ids = add(100)
    start({ concurrency: 4 })
    await pass(HOUR)
    // Up to a minute apart, and not all at once.
    expect(first.requests.length).toBeGreaterThan(60)
    expect(first.requests.length).toBeLessThan(90)
    expect(pending.claimed()).toBe(0)
    expect(logged).toHaveLength(1)
    first.answer = works
    await pass(60_000)
    expectStamped(ids)
    expect(new Set(requests.map(({ failure }) => failure))).toEqual(
      new Set(['wrong_nonce', undefined]),
    )
  })

  it('comes back sooner for some than for others', async () => {
    vi.mocked(Math.random).mockReturnValue(0.01)
    first.answer = fails
    add(1)
    start()
    await pass(60_000)
    const jittered = first.requests.length
    expect(jittered).toBeGreaterThan(60)
    // Each of its pauses is a hundredth of the longest one.
    expect(jittered).toBeLessThan(150)
  })

  it('is not asked more often under uploads', async () => {
    first.answer = fails
    const timestamper = start()
    for (let n = 0; n < 1_000; n++) {
      add(1, `${n} `)
      timestamper.wake()
      await pass(10)
    }
    expect(first.requests.length).toBeLessThan(8)
  })

  it('counts other failures as unknown', async () => {
    first.answer = async () => {
      throw new BytesError('hash_repository_failed', 'Bad API request, invalid api_dev_key')
    }
    add(1)
    start(both())
    await pass(0)
    expect(requests[0]).toEqual({ provider: 'first.example:8443', failure: 'unknown' })
    expect(logged[0]?.fields).toMatchObject({ message: 'Bad API request, invalid api_dev_key' })
  })

  it('by hanging is left in time for the next, while the claim lasts', async () => {
    first.answer = hangs
    const claim = vi.spyOn(pending, 'claim')
    const ids = add(1)
    start(both())
    await pass(ATTEMPT_MS - 1)
    expect(second.requests).toEqual([])
    await pass(2)
    expectStamped(ids)
    expect(claim.mock.calls[0]?.[0].leaseMs).toBeGreaterThan(2 * ATTEMPT_MS)
    expect(logged[0]?.fields).toMatchObject({ message: 'no answer within 5 s' })
  })
})

describe('a shutdown', () => {
  it.each([
    ['hangs', hangs],
    ['gives up when it is told to', listens],
  ])('does not wait for a repository that %s, and lets others claim', async (_, answer) => {
    let signal: AbortSignal | undefined
    first.answer = (hashes, given) => {
      signal = given
      return answer(hashes, given)
    }
    add(20)
    const timestamper = start({
      concurrency: 4,
      repositories: [first.repository, second.repository],
    })
    await pass(10)
    expect(pending.claimed()).toBe(4)
    await timestamper.stop()
    expect(signal?.aborted).toBe(true)
    expect(pending.claimed()).toBe(0)
    expect(second.requests).toEqual([])
    // It is no failure.
    expect(logged).toEqual([])
    expect(requests).toEqual([])
    timestamper.wake()
    vi.clearAllTimers()
    expect(first.requests).toHaveLength(4)
  })

  it('keeps the links that are there', async () => {
    let commit: () => void = () => undefined
    const slow: PendingHashes = {
      ...pending,
      complete: async (...args) => {
        await new Promise<void>((resolve) => {
          commit = resolve
        })
        await pending.complete(...args)
      },
    }
    const ids = add(1)
    const timestamper = start({ pending: slow })
    await pass(0)
    const stopped = timestamper.stop()
    commit()
    await stopped
    expectStamped(ids)
  })

  it('gives a link one more try when the database is away', async () => {
    const complete = vi.fn(async () => {
      throw GONE
    })
    add(1)
    const timestamper = start({ pending: { ...pending, complete } })
    await pass(0)
    const before = complete.mock.calls.length
    await timestamper.stop()
    expect(complete.mock.calls.length).toBe(before + 1)
    expect(pending.claimed()).toBe(0)
  })
})

describe('a database that fails', () => {
  it('while links are committed does not cost them', async () => {
    const ids = add(4)
    start({ pending: failing(6, 'complete', GONE), concurrency: 2 })
    await pass(60_000)
    expectStamped(ids)
    expect(first.requests).toHaveLength(4)
    expect(logged.map(({ level }) => level)).toEqual(['warn', 'info'])
  })

  it('for too long costs the links, and not the hashes', async () => {
    const ids = add(1)
    const complete = vi.fn(async () => {
      throw GONE
    })
    start({ pending: { ...pending, complete } })
    await pass(5 * 60_000 + 30_000)
    expect(first.requests.length).toBe(2)
    complete.mockImplementation(pending.complete as never)
    await pass(30_000)
    expectStamped(ids)
  })

  it('while hashes are claimed is waited for', async () => {
    const ids = add(2)
    start({ pending: failing(20, 'claim', GONE) })
    await pass(30_000)
    expect(linkOf(ids[0] ?? '')).toBeNull()
    await pass(10 * 60_000)
    expectStamped(ids)
    expect(logged.map(({ level }) => level)).toEqual(['warn', 'info'])
  })

  it('while a claim is released leaves it to its lease', async () => {
    first.answer = fails
    const ids = add(1)
    start({ pending: failing(1, 'release', GONE) })
    await pass(10)
    expect(pending.claimed()).toBe(1)
    first.answer = works
    await pass(ATTEMPT_MS + 10_000)
    expectStamped(ids)
  })

  it('by refusing a link does not have it asked for in a hurry', async () => {
    add(1)
    const complete = async (): Promise<void> => {
      throw new BytesError('invalid_value', 'a value is malformed')
    }
    start({ pending: { ...pending, complete } })
    await pass(60_000)
    expect(first.requests.length).toBeGreaterThan(3)
    expect(first.requests.length).toBeLessThan(20)
    expect(logged.map(({ level }) => level)).toEqual(['error'])
    expect(pending.claimed()).toBe(0)
  })
})
