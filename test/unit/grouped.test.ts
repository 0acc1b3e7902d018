import { expect, it } from 'vitest'
import { BytesError } from '../../src/domain/errors.js'
import { grouped } from '../../src/meta/grouped.js'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Doubles its items; runs one group at a time, each of which waits to be released. */
function doubler(fails: (items: readonly number[]) => Error | undefined = () => undefined) {
  const groups: number[][] = []
  const call = grouped<number, number>(
    { concurrency: 1, weight: 3, weigh: () => 1 },
    async (items) => {
      groups.push([...items])
      await turn()
      const error = fails(items)
      if (error) throw error
      return items.map((item) => item * 2)
    },
  )
  return { call, groups }
}

it('calls at once for the first, and once for those that come meanwhile', async () => {
  const { call, groups } = doubler()
  const results = await Promise.all([1, 2, 3, 4, 5].map(call))
  expect(results).toEqual([2, 4, 6, 8, 10])
  expect(groups).toEqual([[1], [2, 3, 4], [5]])
})

it('closes a group before its items weigh too much together', async () => {
  const groups: number[][] = []
  const call = grouped<number, number>(
    { concurrency: 1, weight: 3, weigh: (item) => item },
    async (items) => {
      groups.push([...items])
      await turn()
      return items
    },
  )
  const items = [1, 2, 1, 1, 7, 0, 3, 0, 2, 2]
  expect(await Promise.all(items.map(call))).toEqual(items)
  expect(groups).toEqual([[1], [2, 1], [1], [7], [0, 3, 0], [2], [2]])
})

it('fails only the item that is at fault', async () => {
  const { call, groups } = doubler((items) => (items.includes(3) ? new Error('three') : undefined))
  const results = await Promise.allSettled([1, 2, 3, 4].map(call))
  expect(results.map((r) => (r.status === 'fulfilled' ? r.value : r.reason.message))).toEqual([
    2,
    4,
    'three',
    8,
  ])
  expect(groups).toEqual([[1], [2, 3, 4], [2], [3], [4]])
})

it('does not ask again for each when the database is gone', async () => {
  const gone = new BytesError('database_unavailable', 'gone')
  const { call, groups } = doubler(() => gone)
  const results = await Promise.allSettled([1, 2, 3].map(call))
  expect(results).toEqual(Array(3).fill({ status: 'rejected', reason: gone }))
  expect(groups).toEqual([[1], [2, 3]])
})

it('goes on after a failure', async () => {
  let failing = true
  const { call } = doubler(() => (failing ? new Error('once') : undefined))
  await expect(call(1)).rejects.toThrow('once')
  failing = false
  expect(await call(2)).toBe(4)
})
