import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { BlobRow } from '../../src/domain/audit.js'
import { BytesError } from '../../src/domain/errors.js'
import { type Scrub, type ScrubOptions, startScrub } from '../../src/flows/scrub.js'

const MIB = 1024 * 1024

let scrub: Scrub | undefined

afterEach(async () => {
  vi.useRealTimers()
  await scrub?.stop()
  scrub = undefined
})

const blobOf = (id: number): BlobRow => ({
  id,
  organization: 'org',
  contentDigest: `sha512:${id}`,
  address: `${id}`,
  storedSize: 4 * MIB,
})

/** A scrub over some blobs, each of four pieces of a MiB, and what it does. */
function begin(
  count: number,
  { verify, ...given }: Partial<ScrubOptions> & { verify?: (blob: BlobRow) => Promise<void> } = {},
) {
  const did = { claims: 0, pieces: 0, verified: [] as number[], postponed: [] as number[] }
  const told: unknown[] = []
  const warned: unknown[] = []
  let waiting = Array.from({ length: count }, (_, i) => blobOf(i + 1))
  scrub = startScrub({
    rows: {
      claim: async () => {
        did.claims += 1
        return waiting.splice(0, 2)
      },
      verified: async (ids) => {
        did.verified.push(...ids)
      },
      postpone: async (ids, seconds) => {
        did.postponed.push(...ids)
        if (seconds === 0) waiting = [...ids.map(blobOf), ...waiting]
      },
      oldestUnverifiedSeconds: async () => 0,
      rawFilesOf: async () => [],
      findBlobRow: async (id) => blobOf(id),
    },
    files: {
      verify: async (place, pace) => {
        await verify?.(place as BlobRow)
        for (let i = 0; i < 4; i++) {
          did.pieces += 1
          await pace?.(MIB)
        }
      },
    },
    bytesPerSecond: 1e12,
    busy: () => false,
    log: {
      debug: () => undefined,
      info: () => undefined,
      warn: (...args: unknown[]) => warned.push(args),
      error: (...args: unknown[]) => told.push(args),
    },
    countBlobError: () => undefined,
    ...given,
  })
  return { did, told, warned }
}

describe('the scrub', () => {
  it('reads nothing while there is much traffic, for a minute a blob, and goes on after it', async () => {
    vi.useFakeTimers()
    let busy = true
    const { did } = begin(3, { busy: () => busy })
    await vi.advanceTimersByTimeAsync(59_000)
    expect(did.pieces).toBe(0)
    busy = false
    await vi.advanceTimersByTimeAsync(1_000)
    expect(did.verified).toEqual([1, 2, 3])
  })

  it('gives way in the middle of a blob, and not for ever', async () => {
    vi.useFakeTimers()
    let busy = false
    const { did } = begin(1, { busy: () => busy || did?.pieces === 2 })
    await vi.advanceTimersByTimeAsync(50_000)
    expect(did.pieces).toBe(2)
    busy = true
    await vi.advanceTimersByTimeAsync(20_000)
    expect(did.verified).toEqual([1])
  })

  it('keeps to its rate', async () => {
    vi.useFakeTimers()
    const { did } = begin(10, { bytesPerSecond: MIB })
    await vi.advanceTimersByTimeAsync(10_000)
    // Each blob is four MiB, and 64 KiB for the opening.
    expect(did.pieces).toBe(10)
    await vi.advanceTimersByTimeAsync(100_000)
    expect(did.verified).toHaveLength(10)
  })

  it('rests when there is nothing to do', async () => {
    vi.useFakeTimers()
    const { did } = begin(0)
    await vi.advanceTimersByTimeAsync(10 * 60_000)
    expect(did.claims).toBeLessThanOrEqual(11)
  })

  it('reads a blob that is wrong once, tells of it, and goes on', async () => {
    vi.useFakeTimers()
    const { did, told } = begin(3, {
      verify: async ({ id }) => {
        if (id === 2) throw new BytesError('blob_damaged', 'its digest is wrong')
      },
    })
    await vi.advanceTimersByTimeAsync(60_000)
    expect(told).toHaveLength(1)
    expect(did.verified).toEqual([1, 3])
    expect(did.postponed).toEqual([2])
  })

  it('does not call a content damaged that this process had no file descriptor for', async () => {
    vi.useFakeTimers()
    let few = true
    const { did, told, warned } = begin(2, {
      verify: async () => {
        const cause = Object.assign(new Error('EMFILE'), { code: 'EMFILE' })
        if (few) throw new BytesError('storage_unavailable', 'storage failed (EMFILE)', { cause })
      },
    })
    await vi.advanceTimersByTimeAsync(25_000)
    expect([told.length, warned.length]).toEqual([0, 1])
    // Each try claims them anew, some seconds after the last one.
    expect(did.claims).toBeLessThan(5)
    few = false
    await vi.advanceTimersByTimeAsync(15_000)
    expect(did.verified).toEqual([1, 2])
    expect(told).toEqual([])
  })

  it.each([
    ['it gives way', { busy: () => true }],
    ['it keeps to a low rate', { bytesPerSecond: 1 }],
    ['there is nothing to do', undefined],
  ])('ends at once while %s, and gives its claims back', async (_, options) => {
    const { did } = begin(options ? 2 : 0, options)
    await sleep(20)
    await scrub?.stop()
    const { claims } = did
    expect(did.postponed).toEqual(options ? [1, 2] : [])
    expect(did.verified).toEqual([])
    await sleep(20)
    expect(did.claims).toBe(claims)
  })
})
