import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { expect, it, vi } from 'vitest'
import { fromBufferPromise } from 'yauzl'
import { type LazyContent, zipStream } from '../../src/flows/zip-stream.js'
import { PATIENCE } from '../support/patience.js'

const TIME = new Date('2026-01-02T03:04:05Z')
const lazy = (size: number, pieces: readonly string[]): LazyContent => ({
  size,
  open: async function* () {
    for (const piece of pieces) yield Buffer.from(piece)
  },
})
const read = (stream: AsyncIterable<Uint8Array>): Promise<Buffer> => buffer(Readable.from(stream))

it('holds the files in order, stored as they are, with the given time', async () => {
  const { size, pieces } = zipStream(
    [
      { name: 'a', content: Buffer.from('first') },
      { name: 'folder/b', content: lazy(7, ['sec', 'ond', '!']) },
      { name: 'c', content: Buffer.of() },
    ],
    TIME,
  )
  const archive = await read(pieces)
  expect(archive.length).toBe(size)
  const zip = await fromBufferPromise(archive)
  const found: unknown[] = []
  for await (const entry of zip.eachEntry()) {
    const content = await buffer(await zip.openReadStreamPromise(entry))
    found.push([entry.fileName, content.toString(), entry.compressionMethod])
    expect(entry.getLastModDate()).toEqual(TIME)
    expect(entry.externalFileAttributes >>> 16).toBe(0o100644)
  }
  expect(found).toEqual([
    ['a', 'first', 0],
    ['folder/b', 'second!', 0],
    ['c', '', 0],
  ])
})

it.each([
  '0001-01-01T00:00:00Z',
  '1969-12-31T23:59:59Z',
  '1970-01-01T00:00:00Z',
  '2038-01-19T03:14:08Z',
  '2107-12-31T23:59:58Z',
  '9999-12-31T23:59:59Z',
])('can be of the time %s, as near as the format has it', async (time) => {
  const { size, pieces } = zipStream([{ name: 'a', content: lazy(1, ['a']) }], new Date(time))
  const archive = await read(pieces)
  expect(archive.length).toBe(size)
  const zip = await fromBufferPromise(archive)
  const names: string[] = []
  for await (const entry of zip.eachEntry()) {
    names.push(entry.fileName)
    const nearest = time < '1970' ? 1970 : Math.min(2038, new Date(time).getUTCFullYear())
    expect(entry.getLastModDate().getUTCFullYear()).toBe(nearest)
  }
  expect(names).toEqual(['a'])
})

it('tells the size of an archive that is larger than 4 GiB', async () => {
  const { size } = zipStream([{ name: 'a', content: lazy(5 * 2 ** 30, []) }], TIME)
  // Local header, data descriptor, central directory and end, in their long forms.
  expect(size).toBe(5 * 2 ** 30 + 31 + 24 + (47 + 9 + 28) + 56 + 20 + 22)
})

it.each([
  ['shorter', ['abc']],
  ['longer', ['abc', 'def']],
])('fails for a content that is %s than announced', async (_, pieces) => {
  const { pieces: archive } = zipStream([{ name: 'a', content: lazy(5, pieces) }], TIME)
  await expect(read(archive)).rejects.toThrow(/unexpected number of bytes/)
})

it('opens nothing before it is read, and closes what it has opened', async () => {
  let open = 0
  const content: LazyContent = {
    size: 1e9,
    open: async function* () {
      open += 1
      try {
        for (;;) yield Buffer.alloc(1000)
      } finally {
        open -= 1
      }
    },
  }
  const { pieces } = zipStream([{ name: 'a', content }], TIME)
  expect(open).toBe(0)
  for await (const _ of pieces) if (open > 0) break
  await vi.waitUntil(() => open === 0, PATIENCE)
})

it('passes on why a content cannot be read', async () => {
  const reason = new Error('the reason')
  const failing: LazyContent = {
    size: 10,
    open: async function* () {
      yield Buffer.from('abc')
      throw reason
    },
  }
  const { pieces } = zipStream([{ name: 'a', content: failing }], TIME)
  await expect(read(pieces)).rejects.toBe(reason)
})
