/**
 * No text makes a regular expression of the source take long. A matcher counts steps instead of
 * time, so that the outcome is always the same: twice the text may take about twice the steps.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { isFull } from '../support/fault-report.js'
import { tallyOf } from '../support/tally.js'
import { type Literal, literalsIn } from './regexp-source.js'
import { MOST_STEPS, type Pump, pumped, pumpsOf, stepsOf } from './regexp-steps.js'
import { parsePattern, type Tree } from './regexp-tree.js'

const SOURCE = fileURLToPath(new URL('../../src', import.meta.url))
const TURNS = isFull ? 200 : 80
/** Signs that are repeated, and pairs of them, of each expression. */
const MOST = isFull ? { signs: 24, pairs: 200 } : { signs: 12, pairs: 40 }
/** Steps of a text of twice the length by those of the text: 2 is linear, 4 is square. */
const MOST_GROWTH = 2.5
/** Steps for each sign below which growth says nothing: `{1,128}` fails only on more than 128. */
const FEW_STEPS = 8

const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .sort()
const textOf = (file: string): string => readFileSync(resolve(SOURCE, file), 'utf8')

interface Finding {
  readonly growth: number
  readonly steps: number
  readonly pump: string
}

/**
 * The steps of a text of so many turns, and of one of twice as many. Where the stack of the matcher
 * is not deep enough for these, of half as many.
 */
function stepsOfTwo(
  tree: Tree,
  flags: string,
  pump: Pump,
  turns: number,
): { short: number; long: number; signs: number } {
  const text = pumped(pump, turns * 2)
  try {
    const long = stepsOf(tree, flags, text)
    return { short: stepsOf(tree, flags, pumped(pump, turns)), long, signs: text.length }
  } catch (error) {
    if (!(error instanceof RangeError) || turns < 40) throw error
    return stepsOfTwo(tree, flags, pump, Math.floor(turns / 2))
  }
}

/** The text that makes an expression's steps grow most. */
function worst(source: string, flags: string): Finding & { tried: number } {
  const tree = parsePattern(source, flags)
  let found: Finding = { growth: 0, steps: 0, pump: '' }
  let tried = 0
  for (const pump of pumpsOf(tree, MOST)) {
    tried++
    const { short, long, signs } = stepsOfTwo(tree, flags, pump, TURNS)
    if (long < FEW_STEPS * signs) continue
    const growth = long >= MOST_STEPS ? Infinity : long / short
    if (growth > found.growth) found = { growth, steps: long, pump: JSON.stringify(pump) }
    if (growth === Infinity) break
  }
  return { ...found, tried }
}

describe('the search', () => {
  it.each<[string, string]>([
    ['^(a+)+$', ''],
    ['^(\\w+\\s?)*$', ''],
    ['^([a-z]|[a-y])*$', 'i'],
    ['(?:a|b|ab)*c', ''],
    ['\\s+$', ''],
    ['^a*a*a*$', ''],
    ['"[^x]*$', 'g'],
  ])('finds fault with /%s/%s', (source, flags) => {
    expect(worst(source, flags).growth).toBeGreaterThan(MOST_GROWTH)
  })

  it.each<[string, string]>([
    ['^a+$', ''],
    ['[ab]+', 'g'],
    ['^(?:a|b)*$', ''],
    ['^\\s*x(;|$)', 'i'],
    ['^[^"]{1,70}"', ''],
  ])('finds none with /%s/%s', (source, flags) => {
    expect(worst(source, flags).growth).toBeLessThan(MOST_GROWTH)
  })

  it('finds literals wherever they stand, and nothing else', () => {
    const hole = '$' + '{'
    const text = [
      'const a = b / c / d // not /this/',
      `/* nor /this/g */ const s = '/x/' + \`/y/${hole}f(/in[/]side\\//g, \`${hole}1}\`)}/z/\``,
      'return /re"t/u.test(x) && !/n\\/ot/i.test(y)',
    ].join('\n')
    expect(literalsIn('x', text).map(({ source }) => source)).toEqual([
      'in[/]side\\/',
      're"t',
      'n\\/ot',
    ])
  })

  it('counts like the real matcher where that is known', () => {
    const tree = parsePattern('^a*$', '')
    expect(stepsOf(tree, '', 'a'.repeat(100))).toBeLessThan(500)
    expect(stepsOf(tree, '', `${'a'.repeat(100)}b`)).toBeLessThan(2000)
  })
})

describe('the source', () => {
  const literals = files.flatMap((file) => literalsIn(file, textOf(file)))

  it('builds regular expressions from texts only where it is known', () => {
    const built = files.filter((file) => /\bRegExp\(/.test(textOf(file)))
    // From the patterns of routes, whose parameters become `[^/]+`; and from a constant.
    expect(built).toEqual(['api/dispatch.ts', 'client/link.ts'])
  })

  it('has none that takes long', () => {
    const tally = tallyOf('abuse', 'texts against regular expressions')
    const parameter = /String\.raw`([^`]*)`/.exec(textOf('client/link.ts'))?.[1] ?? ''
    expect(parameter).not.toBe('')
    const all: Literal[] = [
      ...literals,
      { file: 'api/dispatch.ts', line: 0, source: '^/bytes/[^/]+/meta/[^/]+$', flags: '' },
      { file: 'client/link.ts', line: 0, source: parameter, flags: 'gy' },
      { file: 'client/link.ts', line: 0, source: `<([^<>]*)>((?:${parameter})*)`, flags: 'g' },
    ]
    expect(all.length).toBeGreaterThan(70)
    for (const { file, line, source, flags } of all) {
      const found = worst(source, flags)
      tally.tried += found.tried
      if (found.growth < MOST_GROWTH) continue
      tally.violations.push(
        `${file}:${line} /${source}/${flags} grows by ${found.growth} on ${found.pump}`,
      )
    }
    expect(tally.violations).toEqual([])
  })
})
