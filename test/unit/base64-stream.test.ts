import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeBase64 } from '../../src/domain/base64.js'
import { Base64Decoder, MalformedBase64 } from '../../src/domain/base64-stream.js'

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
const SPACE = ' \t\n\v\f\r'

/** What the decoder makes of the pieces; undefined when it refuses. */
function decodeInPieces(pieces: readonly Uint8Array[]): Buffer | undefined {
  const decoder = new Base64Decoder()
  const parts: Buffer[] = []
  try {
    for (const piece of pieces) parts.push(decoder.update(piece))
    decoder.end()
  } catch (error) {
    if (error instanceof MalformedBase64) return undefined
    throw error
  }
  return Buffer.concat(parts)
}

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b)
  return [...at, bytes.length].map((end, i) => bytes.subarray(at[i - 1] ?? 0, end))
}

const cuts = fc.array(fc.nat(), { maxLength: 6 })

describe('Base64Decoder', () => {
  it.each([
    '',
    '=',
    '====',
    SPACE,
    'AB==',
    'AAH=',
    'AA = \n =',
    'AA===',
    'AAAA=',
    '+/+/',
    'A',
    'AA',
    'AAA',
    'AA=',
    'A===',
    'A=A=',
    'AA=A',
    'AA==AA==',
    '=AAA',
    'AAA-',
    'AA_A',
    'AAAAA-==',
    'AAA\u0000',
    'AAA\u00c1',
    'AAAA\u00c1\u00c1\u00c1\u00c1',
    'AAA%',
  ])('reads or refuses %j as decodeBase64 does, wherever it is cut', (text) => {
    const bytes = Buffer.from(text, 'latin1')
    const expected = decodeBase64(text)
    expect(decodeInPieces([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(expected)
    for (let at = 0; at <= bytes.length; at++) {
      expect(decodeInPieces([bytes.subarray(0, at), bytes.subarray(at)])).toEqual(expected)
    }
  })

  it('agrees with decodeBase64 on any text and any cuts', () => {
    const unit = fc.oneof(
      { weight: 30, arbitrary: fc.constantFrom(...ALPHABET) },
      { weight: 3, arbitrary: fc.constantFrom(...SPACE) },
      { weight: 1, arbitrary: fc.constantFrom('-', '_', '%', '\u00c1', '\u00a0', '\0', '=') },
    )
    const text = fc
      .tuple(
        fc.array(unit, { maxLength: 24 }),
        fc.array(fc.constantFrom('=', '=', ' '), { maxLength: 4 }),
      )
      .map(([head, tail]) => [...head, ...tail].join(''))
    let read = 0
    let refused = 0
    fc.assert(
      fc.property(text, cuts, (input, places) => {
        const expected = decodeBase64(input)
        if (expected === undefined) refused++
        else read++
        expect(decodeInPieces(cut(Buffer.from(input, 'latin1'), places))).toEqual(expected)
      }),
      { numRuns: 20_000 },
    )
    expect(read).toBeGreaterThan(1000)
    expect(refused).toBeGreaterThan(1000)
  })

  it('agrees with decodeBase64 on any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), cuts, (bytes, places) => {
        const input = Buffer.from(bytes)
        expect(decodeInPieces(cut(input, places))).toEqual(decodeBase64(input.toString('latin1')))
      }),
      { numRuns: 3000 },
    )
  })

  it('agrees with decodeBase64 about every byte', () => {
    for (let byte = 0; byte < 256; byte++) {
      const text = Buffer.from('AAAAAAAA')
      text[5] = byte
      const expected = decodeBase64(text.toString('latin1'))
      expect(decodeInPieces([text]), `byte ${byte}`).toEqual(expected)
      expect(decodeInPieces(cut(text, [6])), `byte ${byte}`).toEqual(expected)
    }
  })

  it('undoes what Buffer does, in large pieces', () => {
    const bytes = Buffer.from(Array.from({ length: 300_001 }, (_, i) => (i * 7919) & 0xff))
    const clean = bytes.toString('base64')
    const lines = clean.replace(/.{76}/g, '$&\r\n')
    for (const text of [clean, lines]) {
      const input = Buffer.from(text)
      for (const size of [65_536, 65_537, 1000]) {
        const count = Math.ceil(input.length / size)
        const pieces = Array.from({ length: count }, (_, i) =>
          input.subarray(i * size, (i + 1) * size),
        )
        expect(decodeInPieces(pieces)?.equals(bytes)).toBe(true)
      }
    }
  })

  it('gives the last bytes as soon as their padding is there', () => {
    const decoder = new Base64Decoder()
    expect(decoder.update(Buffer.from('AQI')).length).toBe(0)
    expect(decoder.update(Buffer.from('=')).toString('hex')).toBe('0102')
  })

  it('is left as it was by a piece that is not clean', () => {
    const decoder = new Base64Decoder()
    expect(decoder.updateClean(Buffer.from('AQ'))).toEqual(Buffer.alloc(0))
    for (const piece of ['I ', 'ID-', 'IDB_', '\u00c1', 'I=D']) {
      expect(decoder.updateClean(Buffer.from(piece, 'latin1'))).toBeUndefined()
    }
    expect(decoder.updateClean(Buffer.from('ID'))).toEqual(Buffer.of(1, 2, 3))
  })

  it('tells malformed text by a code', () => {
    const decoder = new Base64Decoder()
    expect(() => decoder.update(Buffer.from('A-'))).toThrow(
      expect.objectContaining({ name: 'MalformedBase64', code: 'malformed_base64' }),
    )
  })
})
