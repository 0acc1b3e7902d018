import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type HashingAlgorithm, startHash } from '../../src/hashing/hasher.js'

interface Pair {
  id: string
  content_base64: string
  ended_at_stored: string
  sha512: string
  sha224: string
}

const { pairs } = JSON.parse(
  readFileSync(new URL('../fixtures/exchanges/hashes.json', import.meta.url), 'utf8'),
) as { pairs: Pair[] }
const algorithms: HashingAlgorithm[] = ['sha512', 'sha224']
const rows = pairs.flatMap((pair) => algorithms.map((algorithm) => ({ ...pair, algorithm })))
const sha512 = (content: Uint8Array): string =>
  `sha512:${createHash('sha512').update(content).digest('hex')}`

describe('startHash', () => {
  it('has rows', () => {
    expect(pairs.length).toBe(19)
  })

  it.each(rows)('makes the $algorithm of $id', (row) => {
    const content = Buffer.from(row.content_base64, 'base64')
    const hash = startHash(row.algorithm)
    hash.update(content)
    const hashes = hash.finish()
    expect(hashes).toMatchObject({ contentDigest: sha512(content), size: content.length })
    // It may be asked for again.
    expect(hashes.secureHash(row.ended_at_stored)).toBe(row[row.algorithm])
    expect(hashes.secureHash(row.ended_at_stored)).toBe(row[row.algorithm])
  })

  it.each(rows)('makes the $algorithm of $id from single bytes', (row) => {
    const content = Buffer.from(row.content_base64, 'base64')
    const hash = startHash(row.algorithm)
    for (let at = 0; at < content.length; at++) hash.update(content.subarray(at, at + 1))
    const hashes = hash.finish()
    expect(hashes).toMatchObject({ contentDigest: sha512(content), size: content.length })
    // It may be asked for again.
    expect(hashes.secureHash(row.ended_at_stored)).toBe(row[row.algorithm])
    expect(hashes.secureHash(row.ended_at_stored)).toBe(row[row.algorithm])
  })

  it('does not depend on how the content is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 300 })),
        fc.constantFrom(...algorithms),
        (chunks, algorithm) => {
          const whole = startHash(algorithm)
          whole.update(Buffer.concat(chunks))
          const pieces = startHash(algorithm)
          for (const chunk of chunks) pieces.update(chunk)
          const [a, b] = [pieces.finish(), whole.finish()]
          expect(a.contentDigest).toBe(b.contentDigest)
          const time = '2026-01-01T00:10:00Z'
          expect(a.secureHash(time)).toBe(b.secureHash(time))
        },
      ),
    )
  })

  it('is over after finish', () => {
    const hash = startHash('sha224')
    hash.finish()
    expect(() => hash.finish()).toThrow()
    expect(() => hash.update(Buffer.from('a'))).toThrow()
  })

  it('throws for what is no instant', () => {
    expect(() => startHash('sha512').finish().secureHash('2026-01-01')).toThrow(RangeError)
  })
})
