import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Page } from '../../src/domain/meta-repository.js'
import { type ListSource, openList } from '../../src/flows/lists.js'

/** A list of numbers that are their own keys, of which a slice holds so many. */
function numbers(all: Set<number>, most: number) {
  const asked: number[] = []
  const follow = ({ after = -1, offset = 0 }: Page<number>): number[] =>
    [...all]
      .sort((a, b) => a - b)
      .filter((n) => n > after)
      .slice(offset)
  const source: ListSource<number, number> = {
    slice: async (page) => {
      asked.push(page.limit)
      const found = follow(page).filter((n) => n <= (page.until ?? Infinity))
      const rows = found.slice(0, Math.min(page.limit, most))
      return { rows, next: found.length > rows.length ? rows.at(-1) : undefined }
    },
    end: async (page) => {
      const found = follow(page)
      return { last: found.slice(0, page.limit).at(-1), more: found.length > page.limit }
    },
  }
  return { source, asked }
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n)

async function collect(rows: AsyncIterable<number>, after = async () => {}): Promise<number[]> {
  const found: number[] = []
  for await (const row of rows) {
    found.push(row)
    await after()
  }
  return found
}

it('has the rows and the end that one statement would have', async () => {
  const sizes = fc.record({
    count: fc.nat(400),
    limit: fc.integer({ min: 0, max: 450 }),
    offset: fc.nat(50),
    most: fc.integer({ min: 1, max: 150 }),
  })
  const check = fc.asyncProperty(sizes, async ({ count, limit, offset, most }) => {
    const all = upTo(count)
    const { source, asked } = numbers(new Set(all), most)
    const list = await openList(source, { limit, offset })
    const expected = all.slice(offset, offset + limit)
    const more = limit > 0 && count > offset + limit
    expect(list.next).toBe(more ? expected.at(-1) : undefined)
    expect(await collect(list.rows)).toEqual(expected)
    expect(await collect(list.rows)).toEqual(expected)
    if (list.whole) expect(list.whole).toEqual(expected)
    expect(Math.max(...asked)).toBeLessThanOrEqual(100)
  })
  await fc.assert(check, { numRuns: 300 })
})

it('is read by one slice where that is all', async () => {
  const { source, asked } = numbers(new Set(upTo(100)), 100)
  const list = await openList(source, { limit: 100, offset: 0 })
  await collect(list.rows)
  expect([list.whole, asked]).toEqual([upTo(100), [100]])
})

it('asks for little more than there is room for', async () => {
  const { source, asked } = numbers(new Set(upTo(60)), 8)
  await collect((await openList(source, { limit: 1000, offset: 0 })).rows)
  expect(asked).toEqual([100, 16, 16, 16, 16, 16, 16, 16])
})

it('ends where it would have ended, whatever comes and goes, and has no row twice', async () => {
  const changes = fc.record({
    gone: fc.array(fc.nat(400), { maxLength: 60 }),
    added: fc.array(fc.nat(900), { maxLength: 60 }),
  })
  const check = fc.asyncProperty(changes, async ({ gone, added }) => {
    const all = new Set(upTo(400).map((n) => 2 * n))
    const { source } = numbers(all, 70)
    const list = await openList(source, { limit: 300, offset: 0 })
    const begun = [...all].filter((n) => n <= (list.next ?? 0))
    expect(begun).toHaveLength(300)
    const doomed = [...gone]
    const found = await collect(list.rows, async () => {
      const [less, more] = [gone.pop(), added.pop()]
      if (less !== undefined) all.delete(2 * less)
      if (more !== undefined) all.add(2 * more + 1)
    })
    expect(found).toEqual([...new Set(found)].sort((a, b) => a - b))
    expect(found.at(-1) ?? 0).toBeLessThanOrEqual(list.next ?? 0)
    const stayed = begun.filter((n) => !doomed.includes(n / 2))
    expect(found).toEqual(expect.arrayContaining(stayed))
  })
  await fc.assert(check, { numRuns: 100 })
})

it('gives no row and reads no slice when its signal has aborted', async () => {
  const { source, asked } = numbers(new Set(upTo(400)), 10)
  const gone = new AbortController()
  const list = await openList(source, { limit: 400, offset: 0 }, gone.signal)
  const found: number[] = []
  const read = async () => {
    for await (const row of list.rows) {
      found.push(row)
      if (row === 13) gone.abort()
    }
  }
  await expect(read()).rejects.toMatchObject({ name: 'AbortError' })
  expect([found.length, asked.length]).toEqual([14, 2])
  await expect(openList(source, { limit: 1, offset: 0 }, gone.signal)).rejects.toMatchObject({
    name: 'AbortError',
  })
  expect(asked).toHaveLength(2)
})
