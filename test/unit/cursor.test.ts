import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  boefjeMetaCursor,
  type CursorCodec,
  type JobKey,
  normalizerMetaCursor,
  rawFileCursor,
} from '../../src/domain/cursor.js'

const two = (n: number): string => String(n).padStart(2, '0')
const instant = fc
  .record({
    year: fc.integer({ min: 1, max: 9999 }),
    month: fc.integer({ min: 1, max: 12 }),
    day: fc.integer({ min: 1, max: 28 }),
    second: fc.integer({ min: 0, max: 59 }),
    micros: fc.integer({ min: 0, max: 999_999 }),
  })
  .map(({ year, month, day, second, micros }) => {
    const fraction = micros === 0 ? '' : `.${String(micros).padStart(6, '0')}`
    return `${String(year).padStart(4, '0')}-${two(month)}-${two(day)}T23:59:${two(second)}${fraction}Z`
  })
const jobKey: fc.Arbitrary<JobKey> = fc.record({
  startedAt: fc.option(instant),
  id: fc.uuid({ version: [1, 2, 3, 4, 5] }),
})
const seq = fc.maxSafeNat().map((n) => Math.max(1, n))
const token = (text: string): string => Buffer.from(text).toString('base64url')
const ID = '3b2c1a90-5f6e-4d7c-8b9a-0c1d2e3f4a5b'

function roundTrips<Key>(cursor: CursorCodec<Key>, keys: fc.Arbitrary<Key>): void {
  fc.assert(
    fc.property(keys, (key) => {
      const written = cursor.encode(key)
      expect(written).toMatch(/^[\w-]+$/)
      expect(cursor.decode(written)).toEqual(key)
    }),
  )
}

describe('a cursor', () => {
  it('comes back as the key that it was made of', () => {
    roundTrips(boefjeMetaCursor, jobKey)
    roundTrips(normalizerMetaCursor, jobKey)
    roundTrips(rawFileCursor, seq)
    expect(rawFileCursor.decode(rawFileCursor.encode(1))).toBe(1)
    const last = Number.MAX_SAFE_INTEGER
    expect(rawFileCursor.decode(rawFileCursor.encode(last))).toBe(last)
  })

  it('is of one list only', () => {
    fc.assert(
      fc.property(jobKey, seq, (key, number) => {
        expect(boefjeMetaCursor.decode(normalizerMetaCursor.encode(key))).toBeUndefined()
        expect(normalizerMetaCursor.decode(boefjeMetaCursor.encode(key))).toBeUndefined()
        expect(rawFileCursor.decode(boefjeMetaCursor.encode(key))).toBeUndefined()
        expect(boefjeMetaCursor.decode(rawFileCursor.encode(number))).toBeUndefined()
      }),
    )
  })

  it('that was changed is refused, or one that could have been given', () => {
    const changed = fc.tuple(jobKey, fc.nat(), fc.string({ unit: 'binary', maxLength: 3 }))
    fc.assert(
      fc.property(changed, fc.nat(4), ([key, where, insert], length) => {
        const written = boefjeMetaCursor.encode(key)
        const at = where % (written.length + 1)
        const text = written.slice(0, at) + insert + written.slice(at + length)
        const read = boefjeMetaCursor.decode(text)
        if (read !== undefined) expect(boefjeMetaCursor.encode(read)).toBe(text)
      }),
    )
  })

  it('that is anything else is refused', () => {
    const text = fc.string({ unit: 'binary' })
    const made = fc.oneof(
      text,
      text.map(token),
      text.map((rest) => token(`raw ${rest}`)),
    )
    fc.assert(
      fc.property(made, (garbage) => {
        expect(boefjeMetaCursor.decode(garbage)).toBeUndefined()
        const number = rawFileCursor.decode(garbage)
        if (number !== undefined) expect(rawFileCursor.encode(number)).toBe(garbage)
      }),
    )
  })

  it.each([
    '',
    ' ',
    'raw 1',
    token('raw'),
    token('raw '),
    token('raw 0'),
    token('raw 01'),
    token('raw -1'),
    token('raw 1.5'),
    token('raw 1 '),
    token('raw 1 2'),
    token('raw 1e3'),
    token('raw 9007199254740992'),
    token(`raw ${'9'.repeat(5000)}`),
    `${token('raw 1')}=`,
    ` ${token('raw 1')}`,
    `${token('raw 1')}!`,
  ])('of raw files is not %j', (garbage) => {
    expect(rawFileCursor.decode(garbage)).toBeUndefined()
  })

  it.each([
    token(`boefje_meta 2026-01-01T00:00:00Z ${ID} `),
    token(`boefje_meta 2026-01-01T00:00:00Z ${ID.toUpperCase()}`),
    token(`boefje_meta 2026-01-01T00:00:00Z ${ID}\0`),
    token(`boefje_meta 2026-01-01T00:00:00+00:00 ${ID}`),
    token(`boefje_meta 2026-01-01T00:00:00.5Z ${ID}`),
    token(`boefje_meta 2026-02-30T00:00:00Z ${ID}`),
    token(`boefje_meta 1767225600 ${ID}`),
    token(`boefje_meta infinity ${ID}`),
    token(`boefje_meta  ${ID}`),
    token('boefje_meta 2026-01-01T00:00:00Z x'),
    token('boefje_meta 2026-01-01T00:00:00Z'),
    token('boefje_meta'),
  ])('of jobs is not %j', (garbage) => {
    expect(boefjeMetaCursor.decode(garbage)).toBeUndefined()
  })
})
