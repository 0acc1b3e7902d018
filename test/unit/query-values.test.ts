import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseBoolean, parseLimit } from '../../src/domain/query-values.js'

interface Exchange {
  id: string
  request: { path: string }
  response: { status: number; json?: unknown }
  deviation?: unknown
}

const { exchanges } = JSON.parse(
  readFileSync(new URL('../fixtures/exchanges/exchanges.json', import.meta.url), 'utf8'),
) as { exchanges: Exchange[] }

/** The last value of a query parameter in a recorded path. */
function parameter(e: Exchange, name: string): string | undefined {
  return new URL(e.request.path, 'http://localhost').searchParams.getAll(name).at(-1)
}

describe('parseBoolean', () => {
  const recorded = exchanges.filter((e) => e.id.startsWith('raw-list-bool-'))
  const good = recorded.filter((e) => e.response.status === 200)
  const bad = recorded.filter((e) => e.response.status === 422)
  // The same list as for a spelling whose meaning is certain.
  const listOf = (id: string): string =>
    JSON.stringify(recorded.find((e) => e.id === id)?.response.json)

  it('has recordings', () => {
    expect(good.length).toBe(12)
    expect(bad.length).toBe(5)
    expect(listOf('raw-list-bool-TRUE')).not.toBe(listOf('raw-list-bool-False'))
  })

  it.each(good)('$id', (e) => {
    const meaning = parseBoolean(parameter(e, 'normalized') ?? '')
    expect(meaning).toBeDefined()
    expect(JSON.stringify(e.response.json)).toBe(
      listOf(meaning ? 'raw-list-bool-TRUE' : 'raw-list-bool-False'),
    )
  })

  it.each(bad)('$id', (e) => {
    expect(parseBoolean(parameter(e, 'normalized') ?? 'true')).toBeUndefined()
  })

  it.each([
    ...['true', 'tRUE', '1', 'yes', 'YES', 'on', 'oN', 't', 'y'].map((text) => [text, true]),
    ...['false', 'FaLsE', '0', 'no', 'off', 'f', 'N'].map((text) => [text, false]),
    ...['2', '', 'true ', 'ye', 'tr', 'null', '00', 'ｙ'].map((text) => [text, undefined]),
  ] as [string, boolean | undefined][])('%j is %s', (text, value) => {
    expect(parseBoolean(text)).toBe(value)
  })
})

describe('parseLimit', () => {
  const recorded = exchanges.filter(
    (e) =>
      /limit-/.test(e.id) && parameter(e, 'limit') !== undefined && e.id !== 'mime-limit-ignored',
  )

  it('has recordings', () => {
    expect(recorded.length).toBeGreaterThanOrEqual(16)
  })

  it.each(recorded)('$id', (e) => {
    const parsed = parseLimit(parameter(e, 'limit') ?? '')
    if (e.deviation !== undefined) expect(parsed).toMatchObject({ ok: false, kind: 'range' })
    else if (e.response.status === 422) expect(parsed).toMatchObject({ ok: false, kind: 'shape' })
    else expect(parsed).toMatchObject({ ok: true })
  })

  it.each([
    ['0', 0n],
    ['000', 0n],
    ['0010', 10n],
    ['9223372036854775807', 9223372036854775807n],
    [`${'0'.repeat(100)}9223372036854775807`, 9223372036854775807n],
  ])('reads %s', (text, value) => {
    expect(parseLimit(text)).toEqual({ ok: true, value })
  })

  it.each([
    ['9223372036854775808', 'at most 9223372036854775807'],
    ['9'.repeat(5000), 'at most 9223372036854775807'],
    ['-1', '0 or more'],
    ['-0', '0 or more'],
    ['+02', 'digits only'],
    ['1_0', 'digits only'],
    ['1_0_0', 'digits only'],
    ['1.0', 'digits only'],
    ['1.00', 'digits only'],
  ])('refuses %s as out of range', (text, reason) => {
    expect(parseLimit(text)).toEqual({
      ok: false,
      kind: 'range',
      reason: expect.stringContaining(reason),
    })
  })

  it.each([
    '',
    '1.5',
    '1e1',
    'many',
    '1__0',
    '_1',
    '1_',
    '1.',
    '.0',
    '+',
    '-',
    '٣',
    '1\n',
    '0x1',
    '+-1',
  ])('refuses %j as no integer', (text) => {
    expect(parseLimit(text)).toEqual({
      ok: false,
      kind: 'shape',
      reason: 'should be a valid integer',
    })
  })

  it('reads every 64-bit number', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n }), (value) => {
        const parsed = parseLimit(String(value))
        if (value < 2n ** 63n) expect(parsed).toEqual({ ok: true, value })
        else expect(parsed).toMatchObject({ ok: false, kind: 'range' })
      }),
    )
  })
})
