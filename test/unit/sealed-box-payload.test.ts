import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  CHUNK_SIZE,
  decrypt,
  encrypt,
  payloadSize,
} from '../../src/raw/middleware/sealed-box/payload.js'
import { PieceReader } from '../../src/raw/middleware/sealed-box/piece-reader.js'
import { storedBytes } from '../contracts/file-middleware.contract.js'
import { collect } from '../contracts/raw-repository.contract.js'
import { decrypted, flipped, patternOf, payloadOf } from '../support/sealed-content.js'

const STORED_CHUNK = CHUNK_SIZE + 16
const fileKey = randomBytes(16)

describe('a payload', () => {
  it.each([
    [0, 32],
    [1, 33],
    [65_535, 65_567],
    [65_536, 65_568],
    [65_537, 65_585],
    [131_072, 131_120],
    [200_000, 200_080],
  ])('of %i bytes of content has %i', async (size, length) => {
    expect(payloadSize(size)).toBe(length)
    const payload = await payloadOf(patternOf(size), fileKey)
    expect(payload).toHaveLength(length)
    const { plain, error } = await decrypted(payload, size, fileKey)
    expect(error).toBeUndefined()
    expect(plain.equals(patternOf(size))).toBe(true)
  })

  it('is another one each time', async () => {
    const [one, other] = [
      await payloadOf(patternOf(40), fileKey),
      await payloadOf(patternOf(40), fileKey),
    ]
    expect(one.subarray(0, 16)).not.toEqual(other.subarray(0, 16))
    expect(one.subarray(16)).not.toEqual(other.subarray(16))
  })

  it('does not depend on the pieces of the content', async () => {
    const content = patternOf(3 * CHUNK_SIZE)
    for (const piece of [1_000, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, content.length]) {
      const pieces = storedBytes(content, piece).read(0, content.length)
      const payload = await collect(encrypt(pieces, Buffer.from(fileKey)))
      expect(payload).toHaveLength(payloadSize(content.length))
      expect((await decrypted(payload, content.length, fileKey)).plain.equals(content)).toBe(true)
    }
  })

  it('is made while the content comes, two chunks behind it', async () => {
    let given = 0
    let ended = false
    async function* endless() {
      try {
        for (;;) {
          given += 10_000
          yield Buffer.alloc(10_000)
        }
      } finally {
        ended = true
      }
    }
    let taken = 0
    for await (const piece of encrypt(endless(), Buffer.from(fileKey))) {
      taken += piece.length
      expect(given).toBeLessThan(taken + 2 * CHUNK_SIZE + 20_000)
      if (taken > 20 * CHUNK_SIZE) break
    }
    expect(ended).toBe(true)
  })

  it('is read while the content is taken, and no further', async () => {
    const content = patternOf(10 * CHUNK_SIZE)
    const payload = await payloadOf(content, fileKey)
    let given = 0
    let ended = false
    const stored = {
      size: payload.length,
      read: function* (start: number, end: number) {
        try {
          for (; start < end; start += 10_000) {
            given += 10_000
            yield payload.subarray(start, Math.min(start + 10_000, end))
          }
        } finally {
          ended = true
        }
      },
    }
    const whole = { start: 0, end: content.length }
    let taken = 0
    for await (const piece of decrypt(stored, whole, content.length, Buffer.from(fileKey))) {
      taken += piece.length
      expect(given).toBeLessThan(taken + 20_000)
      if (taken > 3 * CHUNK_SIZE) break
    }
    expect(ended).toBe(true)
    expect(given).toBeLessThan(5 * CHUNK_SIZE)
  })
})

describe('a range of a payload', () => {
  const edges = [0, 1, 2, 3, 4].flatMap((n) => [-1, 0, 1].map((d) => n * CHUNK_SIZE + d))
  const place = fc.oneof(fc.constantFrom(...edges), fc.nat({ max: 4 * CHUNK_SIZE }))

  it('is that of the content, and takes the nonce and its chunks only', async () => {
    const content = patternOf(4 * CHUNK_SIZE + 1)
    const payloads = new Map<number, Promise<Buffer>>()
    const payloadOfSize = (size: number): Promise<Buffer> => {
      const payload = payloads.get(size) ?? payloadOf(content.subarray(0, size), fileKey)
      payloads.set(size, payload)
      return payload
    }
    const sizes = fc.constantFrom(...edges.filter((edge) => edge >= 0), 200_000)
    await fc.assert(
      fc.asyncProperty(sizes, place, place, fc.integer({ min: 1_000 }), async (size, a, b, n) => {
        const start = Math.min(Math.max(Math.min(a, b), 0), size)
        const end = Math.min(Math.max(a, b, 0), size)
        const asked: [number, number][] = []
        const bytes = storedBytes(await payloadOfSize(size), n)
        const stored = {
          size: bytes.size,
          read: (from: number, to: number) => {
            asked.push([from, to])
            return bytes.read(from, to)
          },
        }
        const { plain, error } = await decrypted(stored, size, fileKey, { start, end })
        expect(error).toBeUndefined()
        expect(plain.equals(content.subarray(start, end))).toBe(true)

        if (start === end) return
        const first = Math.floor(start / CHUNK_SIZE)
        const last = Math.floor((end - 1) / CHUNK_SIZE)
        const from = 16 + first * STORED_CHUNK
        const to = Math.min(16 + (last + 1) * STORED_CHUNK, bytes.size)
        const needed = [
          [0, 16],
          [from, to],
        ]
        expect(asked).toEqual(first === 0 ? [[0, to]] : needed)
      }),
      { numRuns: 200 },
    )
  })

  it('does not give what is wrong in its chunks, whatever the others are', async () => {
    const content = patternOf(3 * CHUNK_SIZE)
    const payload = await payloadOf(content, fileKey)
    const range = { start: CHUNK_SIZE + 5, end: CHUNK_SIZE + 10 }
    for (const chunk of [0, 1, 2]) {
      const changed = flipped(payload, 16 + chunk * STORED_CHUNK + 3)
      const { plain, error } = await decrypted(changed, content.length, fileKey, range)
      if (chunk === 1) {
        expect(error).toMatchObject({ code: 'blob_damaged' })
        expect(plain).toHaveLength(0)
      } else {
        expect(plain).toEqual(content.subarray(range.start, range.end))
      }
    }
  })
})

describe('file keys', () => {
  it('are wiped as soon as they were taken', async () => {
    const content = patternOf(10)
    const key = Buffer.from(fileKey)
    const encrypted = encrypt([content], key)
    expect(key).toEqual(Buffer.alloc(16))
    const payload = await collect(encrypted)

    fileKey.copy(key)
    const whole = { start: 0, end: 10 }
    const plain = decrypt(storedBytes(payload, 7), whole, 10, key)
    expect(key).toEqual(Buffer.alloc(16))
    expect(await collect(plain)).toEqual(content)

    fileKey.copy(key)
    expect(() => decrypt(storedBytes(payload, 7), whole, 9, key)).toThrow()
    expect(key).toEqual(Buffer.alloc(16))
  })
})

describe('a piece reader', () => {
  it('gives the sizes that are asked for', async () => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 10 })
    const counts = fc.array(fc.nat({ max: 30 }), { maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(pieces, counts, async (source, sizes) => {
        const all = Buffer.concat(source)
        const reader = new PieceReader(source)
        let at = 0
        for (const size of sizes) {
          const piece = await reader.take(size)
          expect(Buffer.from(piece)).toEqual(all.subarray(at, at + size))
          at += piece.length
        }
      }),
    )
  })

  it('copies nothing that one piece has', async () => {
    const piece = Buffer.alloc(10)
    const reader = new PieceReader([piece])
    expect([await reader.take(4), await reader.take(9)].map(({ buffer }) => buffer)).toEqual([
      piece.buffer,
      piece.buffer,
    ])
  })
})
