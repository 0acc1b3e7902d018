import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { evaluate, ifRangeMatches } from '../../src/api/conditional.js'

const ETAG = '"sha512:ab"'
const ifNoneMatch = (header: string) => evaluate({ ifMatch: undefined, ifNoneMatch: header }, ETAG)
const ifMatch = (header: string) => evaluate({ ifMatch: header, ifNoneMatch: undefined }, ETAG)

/** A list, with whether it holds the tag as a strong one and as one of any kind. */
const LISTS: [header: string, strong: boolean, weak: boolean][] = [
  ['*', true, true],
  [' * ', true, true],
  [ETAG, true, true],
  [`W/${ETAG}`, false, true],
  [`"x", ${ETAG}`, true, true],
  [`"x",W/${ETAG} , "y"`, false, true],
  [`,, ${ETAG} ,`, true, true],
  ['"x"', false, false],
  [`"x,${ETAG.slice(1)}`, false, false],
  ['""', false, false],
  ['', false, false],
  ['sha512:ab', false, false],
  [`w/${ETAG}`, false, false],
  [`${ETAG} "x"`, false, false],
  [`${ETAG}, x`, false, false],
  [`*, ${ETAG}`, false, false],
  ['"SHA512:AB"', false, false],
]

describe('conditions', () => {
  it.each(LISTS)('If-None-Match: %s', (header, _, weak) => {
    expect(ifNoneMatch(header)).toBe(weak ? 304 : undefined)
  })

  it.each(LISTS)('If-Match: %s', (header, strong) => {
    expect(ifMatch(header)).toBe(strong ? undefined : 412)
  })

  it('that are not there let the request pass', () => {
    expect(evaluate({ ifMatch: undefined, ifNoneMatch: undefined }, ETAG)).toBeUndefined()
  })

  it('are taken in order: If-Match first', () => {
    expect(evaluate({ ifMatch: '"x"', ifNoneMatch: ETAG }, ETAG)).toBe(412)
    expect(evaluate({ ifMatch: ETAG, ifNoneMatch: ETAG }, ETAG)).toBe(304)
  })

  it('find the tag wherever it stands in a list', () => {
    const tag = fc.string({ unit: fc.constantFrom('a', ',', 'W', '/', ':') }).map((x) => `"${x}"`)
    const list = fc.array(fc.tuple(fc.constantFrom('', 'W/'), tag), { maxLength: 5 })
    fc.assert(
      fc.property(list, tag, fc.constantFrom(',', ' , ', ',,\t'), (tags, etag, separator) => {
        const header = tags.map((each) => each.join('')).join(separator)
        const found = tags.some(([, opaque]) => opaque === etag)
        const strong = tags.some(([weak, opaque]) => weak === '' && opaque === etag)
        const none = { ifMatch: undefined, ifNoneMatch: header }
        expect(evaluate(none, etag)).toBe(found ? 304 : undefined)
        const match = { ifMatch: header, ifNoneMatch: undefined }
        expect(evaluate(match, etag)).toBe(strong ? undefined : 412)
      }),
      { numRuns: 1000 },
    )
  })

  it('take no longer for a long list than it is worth', () => {
    expect(ifNoneMatch(`"x"${' '.repeat(15_000)}z`)).toBeUndefined()
    expect(ifNoneMatch(`,${' '.repeat(15_000)}z`)).toBeUndefined()
  })
})

it.each<[string | undefined, boolean]>([
  [undefined, true],
  [ETAG, true],
  [`W/${ETAG}`, false],
  ['"x"', false],
  [`${ETAG}, "x"`, false],
  ['*', false],
  ['Sat, 21 Nov 2026 10:00:00 GMT', false],
  ['', false],
])('If-Range: %s', (header, counts) => {
  expect(ifRangeMatches(header, ETAG)).toBe(counts)
})
