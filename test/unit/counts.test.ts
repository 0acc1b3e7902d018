import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createCountsReader } from '../../src/flows/counts.js'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] })
})

afterEach(() => {
  vi.useRealTimers()
})

/** A database that answers when it is told to; each answer has its number in it. */
function fakeMeta() {
  let queries = 0
  const waiting: { resolve: () => void; reject: (error: Error) => void }[] = []
  return {
    get queries() {
      return queries
    },
    answer: () => {
      for (const query of waiting.splice(0)) query.resolve()
    },
    fail: (error: Error) => {
      for (const query of waiting.splice(0)) query.reject(error)
    },
    countByOrganization: async () => [],
    outboxState: () => {
      const depth = ++queries
      return new Promise<{ depth: number; oldestAgeSeconds: number }>((resolve, reject) => {
        waiting.push({ resolve: () => resolve({ depth, oldestAgeSeconds: 0 }), reject })
      })
    },
  }
}

const others = {
  blobKeys: { countByKey: async () => new Map() },
  pending: { pendingState: async () => ({ pending: 3, oldestAgeSeconds: 2 }) },
  scrub: { oldestUnverifiedSeconds: async () => 7 },
}

const depthOf = async (counts: Promise<{ outbox: { depth: number } }>): Promise<number> =>
  (await counts).outbox.depth

it('asks once for all who ask at the same time', async () => {
  const meta = fakeMeta()
  const read = createCountsReader({ meta, ...others }, 0)
  const readers = [read(), read(), read()]
  await Promise.resolve()
  readers.push(read())
  expect(meta.queries).toBe(1)
  meta.answer()
  expect(await Promise.all(readers.map(depthOf))).toEqual([1, 1, 1, 1])
})

it('asks each time when nothing may be used again', async () => {
  const meta = fakeMeta()
  const read = createCountsReader({ meta, ...others }, 0)
  for (const number of [1, 2, 3]) {
    const counts = depthOf(read())
    meta.answer()
    expect(await counts).toBe(number)
  }
})

it('uses an answer again for the time that is set, and no longer', async () => {
  const meta = fakeMeta()
  const read = createCountsReader({ meta, ...others }, 10)
  const first = depthOf(read())
  meta.answer()
  expect(await first).toBe(1)
  vi.advanceTimersByTime(9_999)
  expect(await depthOf(read())).toBe(1)
  expect(meta.queries).toBe(1)
  vi.advanceTimersByTime(2)
  const later = depthOf(read())
  meta.answer()
  expect(await later).toBe(2)
})

it('forgets an error', async () => {
  const meta = fakeMeta()
  const read = createCountsReader({ meta, ...others }, 10)
  const failures = [read(), read()].map((counts) => expect(counts).rejects.toThrow('no answer'))
  meta.fail(new Error('no answer'))
  await Promise.all(failures)
  const counts = depthOf(read())
  expect(meta.queries).toBe(2)
  meta.answer()
  expect(await counts).toBe(2)
  expect(await depthOf(read())).toBe(2)
})

it('takes one connection at a time', async () => {
  let [running, most] = [0, 0]
  const counting = async <T>(result: T): Promise<T> => {
    running += 1
    most = Math.max(most, running)
    await new Promise((resolve) => setImmediate(resolve))
    running -= 1
    return result
  }
  const counts = await createCountsReader(
    {
      meta: {
        countByOrganization: () => counting([]),
        outboxState: () => counting({ depth: 0, oldestAgeSeconds: 0 }),
      },
      blobKeys: { countByKey: () => counting(new Map()) },
      pending: { pendingState: () => counting({ pending: 3, oldestAgeSeconds: 2 }) },
      scrub: { oldestUnverifiedSeconds: () => counting(7) },
    },
    0,
  )()
  expect(counts).toMatchObject({ pendingHashes: { pending: 3 }, oldestUnverifiedSeconds: 7 })
  expect(most).toBe(1)
})
