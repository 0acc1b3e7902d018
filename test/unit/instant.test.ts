import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  instantFromPostgres,
  instantMicros,
  instantNow,
  parseInstant,
  pythonTimestamp,
} from '../../src/domain/instant.js'

interface Exchange {
  id: string
  request: { method: string; body?: string }
  response: { status: number; json?: unknown }
}

const fixtures = new URL('../fixtures/exchanges/', import.meta.url)
const read = (name: string): string => readFileSync(new URL(name, fixtures), 'utf8')
const exchanges = (JSON.parse(read('exchanges.json')) as { exchanges: Exchange[] }).exchanges
const hashes = JSON.parse(read('hashes.json')) as {
  pairs: { id: string; ended_at: string; ended_at_stored: string; timestamp: string }[]
}

const posts = exchanges.filter((e) => e.id.startsWith('time-') && e.request.method === 'POST')
const bodyOf = (e: Exchange): { id: string; started_at: unknown; ended_at: unknown } =>
  JSON.parse(e.request.body ?? '')

const MICROS_MIN = -62_135_596_800_000_000n
const MICROS_MAX = 253_402_300_799_999_999n

/** An independent way to the same text: milliseconds by Date, microseconds appended. */
function formatByDate(micros: bigint): string {
  const second = micros / 1_000_000n - (micros % 1_000_000n < 0n ? 1n : 0n)
  const fraction = micros - second * 1_000_000n
  const whole = new Date(Number(second) * 1000).toISOString().slice(0, 19)
  return fraction === 0n ? `${whole}Z` : `${whole}.${fraction.toString().padStart(6, '0')}Z`
}

const anyMicros = fc.oneof(
  fc.bigInt({ min: MICROS_MIN, max: MICROS_MAX }),
  fc
    .bigInt({ min: MICROS_MIN / 1_000_000n, max: MICROS_MAX / 1_000_000n })
    .map((s) => s * 1_000_000n),
  fc.bigInt({ min: -2_000_000n, max: 2_000_000n }),
)

describe('parseInstant on the recordings', () => {
  const listed = exchanges.find((e) => e.id === 'time-list')?.response.json as {
    id: string
    started_at: string
  }[]
  const stored = new Map(listed.map((meta) => [meta.id, meta.started_at]))
  const accepted = posts.filter((e) => stored.has(bodyOf(e).id))
  const refused = posts.filter((e) => e.response.status === 422)

  it('has rows', () => {
    expect(accepted.length).toBe(25)
    expect(refused.length).toBe(18)
  })

  it.each(accepted.map((e) => [e.id, bodyOf(e)] as const))('%s is read', (_id, body) => {
    expect(parseInstant(body.started_at)).toEqual({ ok: true, instant: stored.get(body.id) })
  })

  it.each(refused.map((e) => [e.id, bodyOf(e)] as const))('%s is refused', (id, body) => {
    const parsed = parseInstant(id === 'time-ended-naive' ? body.ended_at : body.started_at)
    expect(parsed).toMatchObject({ ok: false, kind: 'shape' })
  })

  it('refuses an instant before year 1, which the recorded service stores', () => {
    const [post] = posts.filter((e) => e.id === 'time-before-year-1')
    expect(post).toBeDefined()
    expect(post && parseInstant(bodyOf(post).started_at)).toMatchObject({
      ok: false,
      kind: 'range',
    })
  })

  it('reads an offset of 23:59, which the recorded database refuses', () => {
    const [post] = posts.filter((e) => e.id === 'time-offset-2359')
    expect(post && parseInstant(bodyOf(post).started_at)).toEqual({
      ok: true,
      instant: '2026-02-28T00:01:00Z',
    })
  })

  it.each(hashes.pairs)('reads and prints the end time of $id', (pair) => {
    const parsed = parseInstant(pair.ended_at)
    expect(parsed).toEqual({ ok: true, instant: pair.ended_at_stored })
    expect(pythonTimestamp(pair.ended_at_stored)).toBe(pair.timestamp)
  })
})

describe('parseInstant', () => {
  it.each([
    ['2026-03-01T00:00:00.12345678901234567890Z', '2026-03-01T00:00:00.123456Z'],
    ['2026-03-01T23:59:59.9999999Z', '2026-03-01T23:59:59.999999Z'],
    ['2026-03-01T00:00:00\u221202:00', '2026-03-01T02:00:00Z'],
    ['2026-03-01T00:00:00-0230', '2026-03-01T02:30:00Z'],
    ['2026-03-01T00:00+02:00', '2026-02-28T22:00:00Z'],
    ['2026-03-01T00:00:00-00:00', '2026-03-01T00:00:00Z'],
    ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00Z'],
    ['0001-01-01T02:00:00+02:00', '0001-01-01T00:00:00Z'],
    ['0099-12-31T23:00:00-02:00', '0100-01-01T01:00:00Z'],
    ['9999-12-31T23:59:59.999999Z', '9999-12-31T23:59:59.999999Z'],
    ['2000-02-29T00:00:00Z', '2000-02-29T00:00:00Z'],
    ['+5', '1970-01-01T00:00:05Z'],
    ['-5', '1969-12-31T23:59:55Z'],
    ['-1.25', '1969-12-31T23:59:58.750000Z'],
    ['20260101', '1970-08-23T11:48:21Z'],
    ['1700000005.1234567', '2023-11-14T22:13:25.123457Z'],
    ['20000000000.4', '1970-08-20T11:33:20.000400Z'],
    [-1.25, '1969-12-31T23:59:58.750000Z'],
    [-0, '1970-01-01T00:00:00Z'],
    [-1e-7, '1970-01-01T00:00:00Z'],
    [0.0000015, '1970-01-01T00:00:00.000002Z'],
    [1700000000.9999998, '2023-11-14T22:13:21Z'],
    [-20000000001, '1969-05-14T12:26:39.999000Z'],
    [253402300799, '1978-01-11T21:31:40.799000Z'],
    [253402300799999, '9999-12-31T23:59:59.999000Z'],
    [253402300799.9999, '1978-01-11T21:31:40.800000Z'],
    [1700000002123.4568, '2023-11-14T22:13:22.123457Z'],
    [-11676096000, '1600-01-01T00:00:00Z'],
  ])('reads %j as %s', (value, instant) => {
    expect(parseInstant(value)).toEqual({ ok: true, instant })
  })

  it.each([
    '2026-03-01T00:00:00+00',
    '2026-03-01T00:00:00 Z',
    '2026-03-01T00:00:00.Z',
    '2026-03-01T00:00.5Z',
    '2026-03-01T00:00:00+23:60',
    '2026-03-01T00:00:00+02:0',
    '2026-03-01T00:00:00+02:00:00',
    '2026-03-01T00:60:00Z',
    '2026-03-01T0000Z',
    '2026-03-01Z',
    '2026-00-01T00:00:00Z',
    '2026-03-00T00:00:00Z',
    '2026-04-31T00:00:00Z',
    '1900-02-29T00:00:00Z',
    '0000-12-31T23:59:59-01:00',
    '+2026-03-01T00:00:00Z',
    '2026-03-01  00:00:00Z',
    '2026-03-01T00:00:00Z ',
    '2026-03-01T00:00:00Z\n',
    '٢026-03-01T00:00:00Z',
    ' 5',
    '5\n',
    '-',
    '1_000',
    '5.5.5',
    'nan',
    'Infinity',
    '9223372036854775807',
    '9'.repeat(400),
    [],
    {},
    undefined,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    1e300,
    253402300800000,
    -11676096001,
  ])('refuses %j', (value) => {
    expect(parseInstant(value)).toMatchObject({ ok: false, kind: 'shape' })
  })

  it.each(['2026-03-01', '2026-03-01T00:00:00', '2026-03-01 00:00', '2026-03-01T00:00:00.5'])(
    'asks for the zone of %s',
    (text) => {
      expect(parseInstant(text)).toEqual({
        ok: false,
        kind: 'shape',
        reason: 'should have timezone info',
      })
    },
  )

  it.each(['0001-01-01T00:00:00+00:01', '9999-12-31T23:59:59-00:01'])(
    'has no range for %s',
    (text) => {
      expect(parseInstant(text)).toMatchObject({ ok: false, kind: 'range' })
    },
  )

  it('gives back every instant that it is given', () => {
    fc.assert(
      fc.property(anyMicros, (micros) => {
        const text = formatByDate(micros)
        expect(parseInstant(text)).toEqual({ ok: true, instant: text })
        expect(instantMicros(text)).toBe(micros)
      }),
      { numRuns: 1000 },
    )
  })

  it('moves by the offset', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: MICROS_MIN + 86_400_000_000n, max: MICROS_MAX - 86_400_000_000n }),
        fc.integer({ min: -1439, max: 1439 }),
        (micros, minutes) => {
          const local = formatByDate(micros).slice(0, -1)
          const size = Math.abs(minutes)
          const clock = [Math.floor(size / 60), size % 60].map((n) => String(n).padStart(2, '0'))
          const zone = `${minutes < 0 ? '-' : '+'}${clock.join(':')}`
          expect(parseInstant(local + zone)).toEqual({
            ok: true,
            instant: formatByDate(micros - BigInt(minutes) * 60_000_000n),
          })
        },
      ),
    )
  })

  it('reads whole unix seconds as Date does', () => {
    fc.assert(
      fc.property(fc.integer({ min: -11_676_096_000, max: 20_000_000_000 }), (seconds) => {
        const instant = new Date(seconds * 1000).toISOString().replace('.000Z', 'Z')
        expect(parseInstant(seconds)).toEqual({ ok: true, instant })
        expect(parseInstant(String(seconds))).toEqual({ ok: true, instant })
      }),
    )
  })
})

describe('instantFromPostgres', () => {
  it.each([
    ['2026-01-02 03:04:05.123456+00', '2026-01-02T03:04:05.123456Z'],
    ['2026-01-02 03:04:05.1+00', '2026-01-02T03:04:05.100000Z'],
    ['2026-01-02 03:04:05.00001+00', '2026-01-02T03:04:05.000010Z'],
    ['2026-01-02 03:04:05+00', '2026-01-02T03:04:05Z'],
    ['0001-01-01 00:00:00+00', '0001-01-01T00:00:00Z'],
    ['9999-12-31 23:59:59.999999+00', '9999-12-31T23:59:59.999999Z'],
  ])('reads %s', (text, instant) => {
    expect(instantFromPostgres(text)).toBe(instant)
  })

  it.each([
    '2026-01-02 03:04:05+01',
    '2026-01-02 03:04:05',
    'infinity',
    '0001-01-01 00:00:00+00 BC',
    '10000-01-01 00:00:00+00',
    '',
  ])('throws for %j', (text) => {
    expect(() => instantFromPostgres(text)).toThrow(RangeError)
  })
})

describe('instantNow', () => {
  afterEach(() => {
    vi.restoreAllMocks()
    vi.useRealTimers()
  })

  /**
   * Both clocks are driven by this one; each reading of them takes the next of the steps.
   * @param started of its own for each test, so that the first reading sees a clock that was set
   */
  function fakeClocks(started: number, steps: readonly number[] = [0]) {
    let ms = 0
    let readings = 0
    const read = (): number => {
      ms += steps[readings++ % steps.length] ?? 0
      return ms
    }
    vi.spyOn(performance, 'now').mockImplementation(read)
    const wall = vi.spyOn(Date, 'now').mockImplementation(() => started + Math.floor(read()))
    const pass = (by: number): void => {
      ms += by
    }
    /** Microseconds of the system's clock. */
    const micros = (): bigint => BigInt(started + Math.floor(ms)) * 1000n
    return { wall, pass, micros }
  }

  it('agrees with the system clock', () => {
    const before = BigInt(Date.now()) * 1000n
    const now = instantMicros(instantNow())
    const after = BigInt(Date.now()) * 1000n
    expect(now).toBeGreaterThan(before - 3000n)
    expect(now).toBeLessThan(after + 4000n)
  })

  it('agrees with the system clock and does not go back, however long its readings take', () => {
    const { pass, micros } = fakeClocks(Date.UTC(2031, 0, 2), [0, 0.013, 0.4, 0.9, 7, 0.25, 0])
    let last = 0n
    for (let i = 0; i < 5000; i++) {
      const before = micros()
      const now = instantMicros(instantNow())
      expect(now).toBeGreaterThanOrEqual(last)
      expect(now).toBeGreaterThan(before - 3000n)
      expect(now).toBeLessThan(micros() + 4000n)
      last = now
      pass((i % 10) / 3)
    }
  })

  it('has microseconds', () => {
    const { pass } = fakeClocks(Date.UTC(2032, 0, 2))
    expect(instantNow()).toBe('2032-01-02T00:00:00Z')
    pass(0.25)
    expect(instantNow()).toBe('2032-01-02T00:00:00.000250Z')
  })

  it('does not go back after a pause between its readings of the clocks', () => {
    const { wall, pass } = fakeClocks(Date.UTC(2033, 0, 2))
    const first = instantMicros(instantNow())
    const read = wall.getMockImplementation()
    wall.mockImplementationOnce(() => {
      const before = read?.() ?? 0
      pass(10)
      return before
    })
    const second = instantMicros(instantNow())
    const third = instantMicros(instantNow())
    expect(second - first).toBe(10_000n)
    expect(third).toBe(second)
  })

  it('follows when the system clock is set', () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    vi.setSystemTime(new Date('2001-02-03T04:05:06Z'))
    expect(instantNow()).toBe('2001-02-03T04:05:06Z')
    vi.setSystemTime(new Date('2051-02-03T04:05:06.250Z'))
    expect(instantNow()).toBe('2051-02-03T04:05:06.250000Z')
  })
})

describe('pythonTimestamp and instantMicros', () => {
  it.each([
    ['1970-01-01T00:00:00.000012Z', '1.2e-05'],
    ['1970-01-01T00:00:00.000099Z', '9.9e-05'],
    ['1969-12-31T23:59:59.999988Z', '-1.2e-05'],
    ['1970-01-01T00:00:00.000101Z', '0.000101'],
    ['0001-01-01T00:00:00Z', '-62135596800.0'],
    ['0001-01-01T00:00:00.123456Z', '-62135596799.87654'],
  ])('prints %s as %s', (instant, text) => {
    expect(pythonTimestamp(instant)).toBe(text)
  })

  it('prints a double that is nearest to the time', () => {
    fc.assert(
      fc.property(anyMicros, (micros) => {
        const text = pythonTimestamp(formatByDate(micros))
        const negative = micros < 0n
        const size = (negative ? -micros : micros).toString().padStart(7, '0')
        const exact = `${negative ? '-' : ''}${size.slice(0, -6)}.${size.slice(-6)}`
        expect(Number(text)).toBe(Number(exact))
        expect(text).toMatch(/^-?(\d+\.\d+|\d(\.\d+)?e-\d\d)$/)
      }),
    )
  })

  it.each(['', '2026-01-01', '2026-01-01T00:00:00.5Z', '2026-01-01T00:00:00+00:00'])(
    'throws for %j',
    (text) => {
      expect(() => instantMicros(text)).toThrow(RangeError)
      expect(() => pythonTimestamp(text)).toThrow(RangeError)
    },
  )
})
