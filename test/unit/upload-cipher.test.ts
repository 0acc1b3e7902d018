import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { anew, type KeyStream, UploadCipher } from '../../src/raw/upload-cipher.js'

const cipher = new UploadCipher('a secret that only tests know')

/** Turns pieces that follow each other. */
function turned(
  id: string,
  offset: number,
  pieces: readonly Uint8Array[],
  streams: readonly KeyStream[] = [],
): Buffer {
  const turn = cipher.at(id, streams, offset)
  return Buffer.concat(pieces.map(turn))
}

it('gives back what it was given, from any offset and however it is cut', () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 6 })
  const dropped = fc.array(fc.nat({ max: 200 }), { maxLength: 4 })
  fc.assert(
    fc.property(pieces, dropped, fc.nat({ max: 200 }), fc.uuid(), (given, from, skipped, id) => {
      const plain = Buffer.concat(given)
      const streams = from.reduce<readonly KeyStream[]>(anew, [])
      const stored = turned(id, 0, given, streams)
      expect(stored.length).toBe(plain.length)
      expect(turned(id, 0, [stored], streams)).toEqual(plain)
      const offset = Math.min(skipped, plain.length)
      expect(turned(id, offset, [stored.subarray(offset)], streams)).toEqual(plain.subarray(offset))
    }),
  )
})

it('turns what takes the place of other bytes by another key, and what was before by the old one', () => {
  const id = randomUUID()
  const zeros = Buffer.alloc(300)
  const first = turned(id, 0, [zeros])
  const second = turned(id, 0, [zeros], anew([], 100))
  const third = turned(id, 0, [zeros], anew(anew([], 100), 100))
  const fourth = turned(id, 0, [zeros], anew(anew([], 200), 100))
  const parts = [first, second, third, fourth]
  for (const part of parts) expect(part.subarray(0, 100)).toEqual(first.subarray(0, 100))
  for (const [from, to] of [
    [100, 200],
    [200, 300],
  ]) {
    expect(new Set(parts.map((part) => part.toString('hex', from, to))).size).toBe(4)
  }
})

it('goes on far behind the beginning', () => {
  const id = randomUUID()
  const offset = 5 * 1024 ** 3 + 3
  const both = turned(id, offset - 100, [Buffer.alloc(200)])
  expect(turned(id, offset, [Buffer.alloc(100)])).toEqual(both.subarray(100))
})

it('is another one for each upload and each secret, and its id tells the secret', () => {
  const zeros = Buffer.alloc(64)
  const id = randomUUID()
  const other = new UploadCipher('another secret')
  const streams = [cipher.at(id, [], 0), cipher.at(randomUUID(), [], 0), other.at(id, [], 0)]
  const stored = streams.map((turn) => turn(zeros).toString('hex'))
  expect(new Set([...stored, zeros.toString('hex')]).size).toBe(4)
  expect(cipher.id).toBe(new UploadCipher('a secret that only tests know').id)
  expect(cipher.id).not.toBe(other.id)
})
