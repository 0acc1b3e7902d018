import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeBase64 } from '../../src/domain/base64.js'

interface Exchange {
  id: string
  request: { method: string; body?: string }
  response: { status: number; json?: { files?: { content: string }[] } }
}

const { exchanges } = JSON.parse(
  readFileSync(new URL('../fixtures/exchanges/exchanges.json', import.meta.url), 'utf8'),
) as { exchanges: Exchange[] }
const contents = (id: string): string[] => {
  const body = exchanges.find((e) => e.id === id)?.request.body ?? '{"files":[]}'
  return (JSON.parse(body) as { files: { content: string }[] }).files.map((file) => file.content)
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** Bit by bit, and so slow that nothing can be wrong with it. */
function reference(text: string): Buffer | undefined {
  let bits = ''
  let letters = 0
  let padding = 0
  for (const character of text) {
    if (' \t\n\v\f\r'.includes(character)) continue
    if (character === '=') {
      padding++
      continue
    }
    const value = ALPHABET.indexOf(character)
    if (value === -1 || padding > 0) return undefined
    letters++
    bits += value.toString(2).padStart(6, '0')
  }
  const needed = [0, undefined, 2, 1][letters % 4]
  if (needed === undefined || padding < needed) return undefined
  const bytes: number[] = []
  for (let at = 0; at + 8 <= bits.length; at += 8) {
    bytes.push(Number.parseInt(bits.slice(at, at + 8), 2))
  }
  return Buffer.from(bytes)
}

describe('decodeBase64', () => {
  it('reads the lenient spellings of the recordings', () => {
    const list = exchanges.find((e) => e.id === 'b64-lenient-get')?.response.json?.files
    expect(list?.length).toBe(6)
    expect(contents('b64-lenient').map((text) => decodeBase64(text)?.toString('base64'))).toEqual(
      list?.map((file) => file.content),
    )
  })

  const malformed = exchanges.filter(
    (e) => /^b64-(bad|junk|url-safe)/.test(e.id) && e.request.method === 'POST',
  )

  it('has recordings of malformed text', () => {
    expect(malformed.length).toBe(9)
  })

  it.each(malformed)('$id', (e) => {
    expect(contents(e.id).some((text) => decodeBase64(text) === undefined)).toBe(true)
  })

  it.each([
    ['', ''],
    ['=', ''],
    ['====', ''],
    [' \t\n\v\f\r', ''],
    ['AB==', '00'],
    ['AAH=', '0001'],
    ['AA = \n =', '00'],
    ['AA===', '00'],
    ['AAA==', '0000'],
    ['AAAA=', '000000'],
    ['+/+/', 'fbffbf'],
  ])('reads %j', (text, hex) => {
    expect(decodeBase64(text)?.toString('hex')).toBe(hex)
  })

  it.each([
    'A',
    'AA',
    'AAA',
    'AAAAA===',
    'A===',
    'A=A=',
    'AA=A',
    '=AAA',
    'AA==AA==',
    'AAA-',
    'AA_A',
    'AAA\u00a0A',
    'AAA\u0000',
    'AAA%',
    // The low bytes of these are letters.
    '\u0141\u0141\u0141\u0141',
    'AAA\u0141',
    'AAA\u{1f600}',
    'AAA\ud841',
  ])('refuses %j', (text) => {
    expect(decodeBase64(text)).toBeUndefined()
  })

  it('undoes what Buffer does', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const buffer = Buffer.from(bytes)
        expect(decodeBase64(buffer.toString('base64'))).toEqual(buffer)
      }),
    )
  })

  it('agrees with the reference on any text', () => {
    const unit = fc.oneof(
      { weight: 20, arbitrary: fc.constantFrom(...ALPHABET) },
      { weight: 3, arbitrary: fc.constantFrom(' ', '\n', '\r', '\t', '\v', '\f') },
      { weight: 1, arbitrary: fc.constantFrom('-', '_', '%', '\u0141', '\u00c1', '\0', '😀', '=') },
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
      fc.property(text, (input) => {
        const expected = reference(input)
        if (expected === undefined) refused++
        else read++
        expect(decodeBase64(input)).toEqual(expected)
      }),
      { numRuns: 5000 },
    )
    expect(read).toBeGreaterThan(300)
    expect(refused).toBeGreaterThan(300)
  })

  it('agrees with the reference on damaged text', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 40 }),
        fc.nat(),
        fc.constantFrom('-', '_', '=', '!', '\u0141', ' ', 'A', ''),
        (bytes, where, put) => {
          const good = Buffer.from(bytes).toString('base64')
          const at = where % good.length
          const text = good.slice(0, at) + put + good.slice(at + 1)
          expect(decodeBase64(text)).toEqual(reference(text))
        },
      ),
      { numRuns: 3000 },
    )
  })

  it('copes with 200 MB, clean, in lines and damaged', () => {
    const block = Buffer.from(Array.from({ length: 57 * 256 }, (_, i) => (i * 7919) & 0xff))
    const line = block.toString('base64')
    const count = Math.floor(200e6 / line.length)
    const clean = line.repeat(count)
    expect(decodeBase64(clean)?.length).toBe(block.length * count)
    expect(decodeBase64(`${line}\r\n`.repeat(count))?.length).toBe(block.length * count)
    expect(decodeBase64(`${clean}A`)).toBeUndefined()
    expect(decodeBase64(`${clean}AAA-`)).toBeUndefined()
  })
})
