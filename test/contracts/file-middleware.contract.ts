import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ByteSource, FileMiddleware } from '../../src/domain/ports.js'
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
          const stored = await collect(middleware.encode(plain))
          const again = await collect(middleware.decode(inPieces(stored, size)))
          expect(again).toEqual(Buffer.concat(plain))
        }),
        { numRuns: 60 },
      )
    })

    it('takes asynchronous sources', async () => {
      const middleware = create()
      async function* later(source: ByteSource): AsyncGenerator<Uint8Array> {
        for await (const piece of source) yield piece
      }
      const plain = [Buffer.from('one '), Buffer.alloc(0), Buffer.from('two')]
      const stored = await collect(middleware.encode(later(plain)))
      expect((await collect(middleware.decode(later([stored])))).toString()).toBe('one two')
    })

    it('stores the content itself exactly when it says so', async () => {
      const middleware = create()
      const stored = await collect(middleware.encode([Buffer.from('content')]))
      expect(stored.equals(Buffer.from('content'))).toBe(middleware.transparent)
    })

    it('passes on the errors of its sources', async () => {
      const middleware = create()
      const error = new Error('the source failed')
      async function* failing(): AsyncGenerator<Uint8Array> {
        yield Buffer.from('x')
        throw error
      }
      await expect(collect(middleware.encode(failing()))).rejects.toBe(error)
      await expect(collect(middleware.decode(failing()))).rejects.toBe(error)
    })

    it('leaves the pieces that it is given as they are', async () => {
      const middleware = create()
      const plain = Buffer.from('content')
      const stored = await collect(middleware.encode([plain]))
      const kept = Buffer.from(stored)
      await collect(middleware.decode([stored]))
      expect(plain.toString()).toBe('content')
      expect(stored.equals(kept)).toBe(true)
    })
  })
}

function* inPieces(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}
