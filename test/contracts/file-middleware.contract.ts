import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ByteSource, FileMiddleware, StoredBytes } from '../../src/domain/ports.js'
import { collect } from './raw-repository.contract.js'

/** What every file middleware must do. `create` gives one that can read and write. */
export function fileMiddlewareContract(name: string, create: () => FileMiddleware): void {
  describe(`${name}: contract of file middleware`, () => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 6 })

    it('has a name that fits its column', () => {
      expect(create().name).toMatch(/^[A-Z_]{1,32}$/)
    })

    it('decodes what it encoded, in whatever pieces', async () => {
      await fc.assert(
        fc.asyncProperty(pieces, fc.integer({ min: 1, max: 97 }), async (plain, size) => {
          const middleware = create()
          const { stored, ...kept } = await encoded(middleware, plain)
          const content = Buffer.concat(plain)
          const whole = { start: 0, end: content.length }
          const again = await collect(middleware.decode(storedBytes(stored, size), whole, kept))
          expect(again).toEqual(content)
        }),
        { numRuns: 60 },
      )
    })

    it('decodes any range of what it encoded', async () => {
      const bound = fc.nat({ max: 1200 })
      await fc.assert(
        fc.asyncProperty(pieces, fc.integer({ min: 1, max: 97 }), bound, bound, async (...args) => {
          const [plain, size, a, b] = args
          const content = Buffer.concat(plain)
          const start = Math.min(a, b, content.length)
          const end = Math.min(Math.max(a, b), content.length)
          const middleware = create()
          const { stored, ...kept } = await encoded(middleware, plain)
          const bytes = storedBytes(stored, size)
          const part = await collect(middleware.decode(bytes, { start, end }, kept))
          expect(part).toEqual(content.subarray(start, end))
        }),
        { numRuns: 60 },
      )
    })

    it('keeps content of many kilobytes, in pieces of every size', async () => {
      const middleware = create()
      const content = Buffer.alloc(300_000)
      for (let i = 0; i < content.length; i++) content[i] = (i * 31 + (i >> 8)) & 0xff
      for (const size of [65_535, 65_536, 65_537, 131_072, 300_000]) {
        const plain = content.subarray(0, size)
        for (const piece of [997, 65_536, 65_552, 70_000, size]) {
          const source = storedBytes(plain, piece).read(0, size)
          const { stored, ...kept } = await encoded(middleware, source)
          for (const [start, end] of [
            [0, size],
            [0, 1],
            [65_530, size],
            [65_535, 65_536],
            [size - 1, size],
          ] as const) {
            const bytes = storedBytes(stored, piece)
            const part = await collect(middleware.decode(bytes, { start, end }, kept))
            expect(part.equals(plain.subarray(start, end)), `${start} to ${end}`).toBe(true)
          }
        }
      }
    })

    it('takes asynchronous sources', async () => {
      const middleware = create()
      async function* later(source: ByteSource): AsyncGenerator<Uint8Array> {
        for await (const piece of source) yield piece
      }
      const plain = [Buffer.from('one '), Buffer.alloc(0), Buffer.from('two')]
      const { stored: bytes, ...kept } = await encoded(middleware, later(plain))
      const { size, read } = storedBytes(bytes, 5)
      const stored = { size, read: (start: number, end: number) => later(read(start, end)) }
      const content = await collect(middleware.decode(stored, { start: 0, end: 7 }, kept))
      expect(content.toString()).toBe('one two')
    })

    it('stores the content itself exactly when it says so', async () => {
      const middleware = create()
      const { stored } = await encoded(middleware, [Buffer.from('content')])
      expect(stored.equals(Buffer.from('content'))).toBe(middleware.transparent)
    })

    it('passes on the errors of its sources', async () => {
      const middleware = create()
      const error = new Error('the source failed')
      async function* failing(): AsyncGenerator<Uint8Array> {
        yield Buffer.from('x')
        throw error
      }
      await expect(encoded(middleware, failing())).rejects.toBe(error)
      const { stored: bytes, ...kept } = await encoded(middleware, [Buffer.from('xy')])
      const stored = { size: bytes.length, read: failing }
      const content = collect(middleware.decode(stored, { start: 0, end: 2 }, kept))
      await expect(content).rejects.toBe(error)
    })

    it('leaves the pieces that it is given as they are', async () => {
      const middleware = create()
      const plain = Buffer.from('content')
      const { stored, ...kept } = await encoded(middleware, [plain])
      const before = Buffer.from(stored)
      await collect(middleware.decode(storedBytes(stored, 3), { start: 0, end: 7 }, kept))
      expect(plain.toString()).toBe('content')
      expect(stored.equals(before)).toBe(true)
    })
  })
}

/** The stored bytes of a content, and what is kept with them. */
export async function encoded(middleware: FileMiddleware, content: ByteSource) {
  let size = 0
  const counted = async function* () {
    for await (const piece of content) {
      size += piece.length
      yield piece
    }
  }
  const { stored, sealedKey } = middleware.encode(counted())
  return { stored: await collect(stored), size, sealedKey }
}

/** Stored bytes in memory, read in pieces of at most `piece` bytes. */
export function storedBytes(bytes: Uint8Array, piece: number): StoredBytes {
  return {
    size: bytes.length,
    read: function* (start, end) {
      for (let at = start; at < end; at += piece) {
        yield bytes.subarray(at, Math.min(at + piece, end))
      }
    },
  }
}
