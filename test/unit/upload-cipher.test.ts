import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { UploadCipher } from '../../src/raw/upload-cipher.js'

const cipher = new UploadCipher('a secret that only tests know')

/** Turns pieces that follow each other. */
function turned(id: string, offset: number, pieces: readonly Uint8Array[]): Buffer {
  const turn = cipher.at(id, offset)
  return Buffer.concat(pieces.map(turn))
}

it('gives back what it was given, from any offset and however it is cut', () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 6 })
  fc.assert(
    fc.property(pieces, fc.nat({ max: 200 }), fc.uuid(), (given, skipped, id) => {
      const plain = Buffer.concat(given)
      const stored = turned(id, 0, given)
      expect(stored.length).toBe(plain.length)
      expect(turned(id, 0, [stored])).toEqual(plain)
      const offset = Math.min(skipped, plain.length)
      expect(turned(id, offset, [stored.subarray(offset)])).toEqual(plain.subarray(offset))
    }),
  )
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
  const streams = [cipher.at(id, 0), cipher.at(randomUUID(), 0), other.at(id, 0)]
  const stored = streams.map((turn) => turn(zeros).toString('hex'))
  expect(new Set([...stored, zeros.toString('hex')]).size).toBe(4)
  expect(cipher.id).toBe(new UploadCipher('a secret that only tests know').id)
  expect(cipher.id).not.toBe(other.id)
})
