import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { contentRange, parseRanges } from '../../src/api/ranges.js'

/** What a header comes to: `whole`, `refused`, or the ranges as `start..end`. */
function told(header: string | undefined, size: number): string | string[] {
  const parsed = parseRanges(header, size)
  if (parsed.kind === 'whole') return 'whole'
  if (parsed.kind === 'unsatisfiable') return 'refused'
  return parsed.ranges.map(({ start, end }) => `${start}..${end}`)
}

describe('a Range header', () => {
  const HUGE = '9'.repeat(400)
  it.each<[string, number, string | string[]]>([
    ['bytes=0-0', 10, ['0..1']],
    ['bytes=0-9', 10, ['0..10']],
    ['bytes=0-10', 10, ['0..10']],
    ['bytes=0-', 10, ['0..10']],
    ['bytes=9-', 10, ['9..10']],
    ['bytes=10-', 10, 'refused'],
    ['bytes=-1', 10, ['9..10']],
    ['bytes=-10', 10, ['0..10']],
    ['bytes=-11', 10, ['0..10']],
    ['bytes=-0', 10, 'refused'],
    ['bytes=007-008', 10, ['7..9']],
    ['BYTES=1-2', 10, ['1..3']],
    [`bytes=5-${HUGE}`, 10, ['5..10']],
    [`bytes=-${HUGE}`, 10, ['0..10']],
    [`bytes=${HUGE}-`, 10, 'refused'],
    [`bytes=${HUGE}1-${HUGE}0`, 10, 'whole'],
    ['bytes=9007199254740993-9007199254740992', 10, 'whole'],
    ['bytes=0-1,3-4', 10, ['0..2', '3..5']],
    ['bytes=3-4,0-1', 10, ['3..5', '0..2']],
    ['bytes= 0-1 ,\t3-4 ', 10, ['0..2', '3..5']],
    ['bytes=,0-1,,3-4,', 10, ['0..2', '3..5']],
    ['bytes=0-1,20-', 10, ['0..2']],
    ['bytes=20-,30-', 10, 'refused'],
    ['bytes=0-5,5-9', 10, 'refused'],
    ['bytes=0-5,3-4', 10, ['0..6', '3..5']],
    ['bytes=0-,-1', 10, 'refused'],
    ['bytes=0-', 0, 'refused'],
    ['bytes=-0', 0, 'refused'],
    ['bytes=-5', 0, 'whole'],
  ])('%s of %i bytes', (header, size, expected) => {
    expect(told(header, size)).toEqual(expected)
  })

  it.each([
    undefined,
    '',
    'bytes',
    'bytes=',
    'bytes=,',
    'bytes=-',
    'bytes=2-1',
    'bytes=a-b',
    'bytes=1 - 2',
    'bytes =1-2',
    'bytes=1-2;',
    'bytes=1-2-3',
    'bytes=--1',
    'bytes=+1-2',
    'bytes=1.0-2',
    'bytes=0x1-2',
    'bytes=1-2,x',
    'bytes=1-2 3-4',
    'bytes=\u0661-2',
    'octets=1-2',
    'items=1-2',
    'none',
    '1-2',
    'bytes=0-1, bytes=2-3',
  ])('%j is ignored', (header) => {
    expect(told(header, 10)).toBe('whole')
  })

  it('may have 100 ranges and no more', () => {
    const header = (n: number) =>
      `bytes=${Array.from({ length: n }, (_, i) => `${i}-${i}`).join(',')}`
    expect(told(header(100), 1000)).toHaveLength(100)
    expect(parseRanges(header(101), 1000)).toEqual({
      kind: 'unsatisfiable',
      reason: '101 ranges are too many: ask for at most 100',
    })
  })

  it('gives what a plain reading of the standard gives', () => {
    const position = fc.nat({ max: 12 })
    const spec = fc.oneof(
      fc.tuple(position, position).map(([first, last]) => ({ first, last })),
      position.map((first) => ({ first, last: undefined })),
      position.map((suffix) => ({ suffix })),
    )
    fc.assert(
      fc.property(fc.array(spec, { minLength: 1, maxLength: 4 }), position, (specs, size) => {
        const header = specs.map((each) =>
          'suffix' in each ? `-${each.suffix}` : `${each.first}-${each.last ?? ''}`,
        )
        const bytes = Array.from({ length: size }, (_, i) => i)
        const parts = specs.map((each) =>
          bytes.filter((at) =>
            'suffix' in each
              ? at >= size - each.suffix
              : at >= each.first && at <= (each.last ?? size),
          ),
        )
        const malformed = specs.some(
          (each) => 'first' in each && each.last !== undefined && each.last < each.first,
        )
        const emptySuffix = specs.some((each) => size === 0 && 'suffix' in each && each.suffix > 0)
        const found = parts.filter((part) => part.length > 0)
        const expected =
          malformed || emptySuffix
            ? 'whole'
            : found.length === 0 || found.flat().length > size
              ? 'refused'
              : found.map((part) => `${part[0]}..${(part.at(-1) ?? 0) + 1}`)
        expect(told(`bytes=${header.join(',')}`, size)).toEqual(expected)
      }),
      { numRuns: 3000 },
    )
  })

  it('takes no longer for a long one than it is worth', () => {
    for (const text of [' '.repeat(15_000), `1-2${' '.repeat(15_000)}`, '0'.repeat(15_000)]) {
      expect(told(`bytes=${text}x`, 10)).toBe('whole')
    }
  })

  it('of any text never fails, and gives ranges inside the content only', () => {
    const text = fc.string({ unit: fc.constantFrom(...'0123456789-, \tbytes=') })
    fc.assert(
      fc.property(text, fc.nat({ max: 100 }), (set, size) => {
        const parsed = parseRanges(`bytes=${set}`, size)
        if (parsed.kind !== 'ranges') return
        for (const { start, end } of parsed.ranges) {
          expect(0 <= start && start < end && end <= size).toBe(true)
        }
      }),
      { numRuns: 3000 },
    )
  })
})

it('a Content-Range tells the last byte and not the one after it', () => {
  expect(contentRange({ start: 0, end: 1 }, 10)).toBe('bytes 0-0/10')
})
