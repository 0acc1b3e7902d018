import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hasLoneSurrogate, memberTexts, nestingDepth } from '../../src/domain/json-text.js'

interface Exchange {
  id: string
  request: { body?: string }
  response: { json?: unknown }
}

const { exchanges } = JSON.parse(
  readFileSync(new URL('../fixtures/exchanges/exchanges.json', import.meta.url), 'utf8'),
) as { exchanges: Exchange[] }
const body = (id: string): string => exchanges.find((e) => e.id === id)?.request.body ?? ''
const answer = (id: string): Record<string, unknown> =>
  exchanges.find((e) => e.id === id)?.response.json as Record<string, unknown>

/** Writes JSON with white space and escapes where they make no difference. */
function spread(value: unknown, next: () => number): string {
  const space = (): string => ['', '', ' ', '\n', '\t', '\r\n  '][next() % 6] ?? ''
  const string = (text: string): string => {
    const plain = JSON.stringify(text)
    if (next() % 2 === 0) return plain
    const units = Array.from({ length: text.length }, (_, i) => text.charCodeAt(i))
    return `"${units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('')}"`
  }
  const write = (item: unknown): string => {
    if (typeof item === 'string') return string(item)
    if (Array.isArray(item))
      return `[${space()}${item.map(write).join(`${space()},${space()}`)}${space()}]`
    if (typeof item === 'object' && item !== null) {
      const members = Object.entries(item).map(
        ([key, member]) => `${string(key)}${space()}:${space()}${write(member)}`,
      )
      return `{${space()}${members.join(`${space()},${space()}`)}${space()}}`
    }
    return JSON.stringify(item)
  }
  return space() + write(value) + space()
}

const units = fc.infiniteStream(fc.nat({ max: 1000 }))
const anyString = fc.string({
  unit: fc.constantFrom(...'a"\\/{}[],: \n\u0000é😀', '\u2028'),
  maxLength: 8,
})
const { value: jsonTree } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    anyString,
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => (Object.is(n, -0) ? 0 : n)),
    fc.constantFrom<unknown>(true, false, null, '', 0),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(anyString, tie('value'), { maxKeys: 4 }),
  ),
}))

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  return 1 + Math.max(0, ...Object.values(value).map(depthOf))
}

describe('memberTexts', () => {
  it('keeps numbers, order and strings of a recording', () => {
    const texts = memberTexts(body('bm-full'), ['arguments', 'environment', 'organization'])
    expect(texts.get('arguments')).toBe(
      '{"z":1,"a":[true,false,null,{"deep":[[],{}]}],"text":"é😀 <>&\'\\"\\\\/\u2028\\t\\n","f":0.1,"one":1.0,"big":123456789012345678901234567890,"neg":-9007199254740993,"":"empty key"}',
    )
    expect(texts.get('environment')).toBe('{"Z_LAST":"1","A_FIRST":"","naïve":"😀"}')
    expect(texts.get('organization')).toBe('"create"')
    expect(JSON.parse(texts.get('arguments') ?? '')).toEqual(answer('bm-full-get').arguments)
  })

  it('resolves the escapes of a recording', () => {
    const text = memberTexts(body('bm-strings'), ['arguments']).get('arguments')
    expect(text).toBe(
      '{"é":"😀","nul":"\\u0000","del":"\x7f","__proto__":{"a":1},"constructor":2,"nested":[[[[[[[[1]]]]]]]]}',
    )
  })

  it.each([
    ['{"a":1.0}', '1.0'],
    ['{ "a" : -0 }', '-0'],
    ['{"a":1E+22,"b":2}', '1E+22'],
    ['{"a": 123456789012345678901234567890 }', '123456789012345678901234567890'],
    ['{"a":\n[ 1.50 ,\t2e-0 ]\r}', '[1.50,2e-0]'],
    ['{"a":{"k":1,"k" :2}}', '{"k":1,"k":2}'],
    ['{"a":1,"b":[{"a":9}],"a":2}', '2'],
    ['{"\\u0061":1}', '1'],
    ['{"a":"\\/\\u00e9\\u0007 x"}', '"/é\\u0007 x"'],
    ['{"a":"\\\\","b":"\\""}', '"\\\\"'],
    ['{"a":"\\ud83d"}', '"\\ud83d"'],
    ['{"b":"{\\"a\\":1}","a":null}', 'null'],
    ['{"b":"]},","a":true}', 'true'],
    ['  {"a":false}  ', 'false'],
    ['{"a":""}', '""'],
  ])('finds a in %s', (text, expected) => {
    expect(() => JSON.parse(text)).not.toThrow()
    expect(memberTexts(text, ['a']).get('a')).toBe(expected)
  })

  it.each(['{}', ' { } ', '{"b":{"a":1}}', '{"A":1}'])('finds no a in %s', (text) => {
    expect([...memberTexts(text, ['a'])]).toEqual([])
  })

  it('finds names that objects have by nature', () => {
    const texts = memberTexts('{"__proto__":[1],"constructor":2}', [
      '__proto__',
      'constructor',
      'toString',
    ])
    expect([...texts]).toEqual([
      ['__proto__', '[1]'],
      ['constructor', '2'],
    ])
  })

  it('agrees with JSON.parse and JSON.stringify, and is idempotent', () => {
    fc.assert(
      fc.property(fc.dictionary(anyString, jsonTree, { maxKeys: 5 }), units, (object, stream) => {
        const text = spread(object, () => stream.next().value)
        const parsed = JSON.parse(text) as Record<string, unknown>
        const names = Object.keys(parsed)
        const texts = memberTexts(text, names)
        expect(texts.size).toBe(names.length)
        for (const name of names) {
          // Own keys in the order of the text, which JSON.stringify has for all but integer keys.
          const compact = texts.get(name) ?? ''
          expect(JSON.parse(compact)).toEqual(parsed[name])
          expect(compact).toBe(JSON.stringify(object[name]))
          expect(memberTexts(`{"x":${compact}}`, ['x']).get('x')).toBe(compact)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('agrees with JSON.parse on any JSON', () => {
    fc.assert(
      fc.property(fc.json(), (json) => {
        const compact = memberTexts(`{"x":${json}}`, ['x']).get('x') ?? ''
        expect(JSON.parse(compact)).toEqual(JSON.parse(json))
      }),
    )
  })

  it('keeps the spelling of numbers', () => {
    const number = fc.stringMatching(/^-?(0|[1-9]\d{0,40})(\.\d{1,30})?([eE][+-]?\d{1,4})?$/)
    fc.assert(
      fc.property(fc.array(number), (numbers) => {
        const text = `{"x" : [ ${numbers.join(' , ')} ] }`
        expect(memberTexts(text, ['x']).get('x')).toBe(`[${numbers.join(',')}]`)
      }),
    )
  })

  it('copes with nesting a million deep', () => {
    const depth = 1_000_000
    const text = `{"skipped":${'['.repeat(depth)}${']'.repeat(depth)},"x": ${'[ '.repeat(depth)}${' ]'.repeat(depth)}}`
    expect(memberTexts(text, ['x']).get('x')).toBe('['.repeat(depth) + ']'.repeat(depth))
    expect(nestingDepth(text)).toBe(depth + 1)
  })

  it('takes time in proportion to strings full of quotes', () => {
    const text = `{"a":"${'\\"\\\\'.repeat(500_000)}","b":1}`
    expect(memberTexts(text, ['b']).get('b')).toBe('1')
    expect(nestingDepth(text)).toBe(1)
  })
})

describe('nestingDepth', () => {
  it.each([
    ['', 0],
    ['1', 0],
    ['"[[["', 0],
    ['[]', 1],
    ['[[],[[]],{}]', 3],
    ['{"a":{"]":[]}}', 3],
    ['"\\"[[["', 0],
    ['["\\\\",[]]', 2],
    ['["unterminated [[[', 1],
    ['["unterminated \\"[', 1],
    [']]]][', 0],
    ['[[[[', 4],
  ])('%s', (text, depth) => {
    expect(nestingDepth(text)).toBe(depth)
  })

  it('counts the recorded body', () => {
    expect(nestingDepth(body('bm-deep'))).toBe(depthOf(JSON.parse(body('bm-deep'))))
    expect(nestingDepth(body('bm-deep'))).toBeGreaterThan(300)
  })

  it('agrees with the parsed value', () => {
    fc.assert(
      fc.property(jsonTree, units, (value, stream) => {
        const text = spread(value, () => stream.next().value)
        expect(nestingDepth(text)).toBe(depthOf(JSON.parse(text)))
      }),
    )
  })

  it('takes any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'[]{}"\\a') }), (text) => {
        expect(nestingDepth(text)).toBeLessThanOrEqual(text.length)
      }),
    )
  })
})

describe('hasLoneSurrogate', () => {
  it.each([
    ['"\\ud83d\\ude00"', false],
    ['"\\uD83D\\uDE00\\ud83d\\ude00"', false],
    ['"😀"', false],
    ['"\\\\ud83d"', false],
    ['"\\\\\\ud83d"', true],
    ['"\\ud83d"', true],
    ['"\\ude00"', true],
    ['"\\ude00\\ud83d"', true],
    ['"\\ud83d\\ud83d\\ude00"', true],
    ['"\\ud83d \\ude00"', true],
    ['["\\ud83d","\\ude00"]', true],
    ['{"\\ud83d":1}', true],
    ['"\\ud7ff\\ue000"', false],
    ['"\\ud83d\\n\\ude00"', true],
    ['"\\ud83d\\\\ude00"', true],
  ])('%s: %s', (text, lone) => {
    expect(hasLoneSurrogate(text)).toBe(lone)
  })

  it('agrees with isWellFormed', () => {
    const piece = fc.constantFrom(
      '\\ud83d',
      '\\uDE00',
      '\\\\',
      'u',
      'ud83d',
      '\\n',
      '😀',
      '\\"',
      '\\u0041',
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        const text = `"${pieces.join('')}"`
        expect(hasLoneSurrogate(text)).toBe(!(JSON.parse(text) as string).isWellFormed())
      }),
      { numRuns: 2000 },
    )
  })
})
