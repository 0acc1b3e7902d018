import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HashThreads, hashHere, type PieceHash } from '../../src/raw/hash-threads.js'

const threads = new HashThreads()

async function digestOf(hash: PieceHash, pieces: readonly Uint8Array[]): Promise<string> {
  for (const piece of pieces) {
    const own = Buffer.from(piece)
    await hash.update(own)
    // It is the caller's again.
    own.fill(0)
  }
  return hash.digest()
}

const expected = (pieces: readonly Uint8Array[]): string =>
  createHash('sha512').update(Buffer.concat(pieces)).digest('hex')

describe.each([
  ['on this thread', hashHere],
  ['on another', () => threads.start()],
])('a hash %s', (_, start) => {
  it('is the SHA-512 of all pieces in their order', async () => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(pieces, async (given) => {
        expect(await digestOf(start(), given)).toBe(expected(given))
      }),
      { numRuns: 50 },
    )
  })

  it('takes pieces of any size', async () => {
    const pieces = [1, 300_000, 262_144, 0, 1_000_001].map((size) => Buffer.alloc(size, `${size}`))
    expect(await digestOf(start(), pieces)).toBe(expected(pieces))
  })

  it('is not mixed up with those at the same time', async () => {
    const contents = Array.from({ length: 30 }, (_, i) =>
      Array.from({ length: i % 7 }, (_, j) => Buffer.from(`piece ${j} of ${i}`)),
    )
    const digests = await Promise.all(contents.map((pieces) => digestOf(start(), pieces)))
    expect(digests).toEqual(contents.map(expected))
  })

  it('may be dropped at any time', async () => {
    start().drop()
    const begun = start()
    await begun.update(Buffer.alloc(10))
    begun.drop()
    begun.drop()
    const ended = start()
    await ended.digest()
    ended.drop()
    expect(await digestOf(start(), [Buffer.from('x')])).toBe(expected([Buffer.from('x')]))
  })
})

it('a thread that fails fails its hashes, and another takes its place', async () => {
  const own = new HashThreads()
  const hash = own.start()
  // Its length is more than a thread finds in its memory.
  const lying = Buffer.from('x')
  Object.defineProperties(lying, {
    length: { value: 2 ** 20 },
    subarray: { value: () => lying },
  })
  await hash.update(lying).catch(() => undefined)
  await expect(hash.digest()).rejects.toThrow()
  await expect(hash.update(Buffer.alloc(1))).rejects.toThrow()
  hash.drop()
  expect(await digestOf(own.start(), [Buffer.from('x')])).toBe(expected([Buffer.from('x')]))
})
