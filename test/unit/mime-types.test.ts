import { expect, it } from 'vitest'
import type { MimeTypeCount, RawFileFilter, Slice } from '../../src/domain/meta-repository.js'
import { openMimeTypes } from '../../src/flows/mime-types.js'

const FILTER: RawFileFilter = { organizations: ['org'], rawIds: [], mimeTypes: [] }

/** A repository with so many MIME types, which counts how often it is asked, and for how many. */
function repository(types: number) {
  const all = Array.from({ length: types }, (_, n) => String(n).padStart(9, '0'))
  const asked: number[] = []
  const found = ({ after = '', until }: Slice<string>): string[] =>
    all.filter((type) => type > after && (until === undefined || type <= until))
  return {
    all,
    asked,
    countMimeTypes: async (filter: RawFileFilter, slice: Slice<string>) => {
      expect(filter).toBe(FILTER)
      asked.push(slice.limit)
      const rest = found(slice)
      const rows = rest.slice(0, slice.limit).map((mimeType) => ({ mimeType, files: 1 }))
      const next = rest.length > rows.length ? rows.at(-1)?.mimeType : undefined
      return { rows, next, length: 50 * rows.length }
    },
    endOfMimeTypes: async (filter: RawFileFilter, slice: Slice<string>) => {
      expect(filter).toBe(FILTER)
      asked.push(0)
      const rest = found(slice)
      return { last: rest.slice(0, slice.limit).at(-1), more: rest.length > slice.limit }
    },
  }
}

async function typesOf(counts: AsyncIterable<MimeTypeCount>): Promise<string[]> {
  const types: string[] = []
  for await (const { mimeType } of counts) types.push(mimeType)
  return types
}

const holding: Parameters<typeof openMimeTypes>[2] = { holdPart: (read) => read() }

it.each([
  [0, [20_000]],
  [20_000, [20_000]],
  [20_001, [20_000, 0, 20_000]],
  [100_000, [20_000, 0, 20_000, 20_000, 20_000, 20_000]],
])('of %i are read in parts, and in few of them', async (types, expected) => {
  const meta = repository(types)
  const { signal } = new AbortController()
  const { rows } = await openMimeTypes(meta, FILTER, holding, signal)
  expect(await typesOf(rows)).toEqual(meta.all)
  expect(meta.asked).toEqual(expected)
})

it.each([100_001, 400_000])('of %i are refused before the first is sent', async (types) => {
  const meta = repository(types)
  const { signal } = new AbortController()
  await expect(openMimeTypes(meta, FILTER, holding, signal)).rejects.toMatchObject({
    code: 'invalid_value',
    message: 'the raw files have more than 100000 MIME types: ask for fewer files',
  })
  expect(meta.asked).toEqual([20_000, 0])
})
