/**
 * A point in time in UTC: `YYYY-MM-DDTHH:MM:SSZ`, with exactly six fraction digits before the `Z`
 * when the microseconds are not zero. Years 0001 to 9999. The text that the protocol sends.
 */
export type Instant = string

/**
 * `shape`: the value is not a time with a zone. `range`: it is one, but in UTC it lies outside the
 * years 1 to 9999. `reason` completes a sentence that begins with the name of the value.
 */
export type ParsedInstant =
  | { ok: true; instant: Instant }
  | { ok: false; kind: 'shape' | 'range'; reason: string }

const DAY_SECONDS = 86_400
const MICROS = 1_000_000
const MILLISECOND_WATERSHED = 2e10
/** 0001-01-01T00:00:00Z, 1600-01-01T00:00:00Z and 9999-12-31T23:59:59Z in unix seconds. */
const FIRST_SECOND = -62_135_596_800
const FIRST_NUMERIC_SECOND = -11_676_096_000
const LAST_SECOND = 253_402_300_799

const DATE = /^(\d{4})-(\d\d)-(\d\d)$/
const DATE_TIME =
  /^(\d{4})-(\d\d)-(\d\d)[Tt _](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?(?:([Zz])|([+\-\u2212])(\d\d):?(\d\d))?$/
const NUMERIC = /^[+-]?\d+(?:\.\d+)?$/
const CANONICAL = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{6}))?Z$/
const POSTGRES = /^(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?\+00(?::?00)?$/

/** Days since 1970-01-01 of a proleptic Gregorian date. */
function daysFromCivil(year: number, month: number, day: number): number {
  // The year begins in March here, so that the leap day is its last.
  const y = month > 2 ? year : year - 1
  const era = Math.floor(y / 400)
  const yearOfEra = y - era * 400
  const dayOfYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
  const dayOfEra =
    yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear
  return era * 146_097 + dayOfEra - 719_468
}

function civilFromDays(days: number): { year: number; month: number; day: number } {
  const shifted = days + 719_468
  const era = Math.floor(shifted / 146_097)
  const dayOfEra = shifted - era * 146_097
  const yearOfEra = Math.floor(
    (dayOfEra -
      Math.floor(dayOfEra / 1460) +
      Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) /
      365,
  )
  const dayOfYear =
    dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153)
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
  return {
    year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0),
    month,
    day: dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1,
  }
}

function daysInMonth(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}

const digits = (value: number, width: number): string => String(value).padStart(width, '0')

/** `seconds` since 1970 within the years 1 to 9999, `micros` from 0 to 999999. */
function format(seconds: number, micros: number): Instant {
  const days = Math.floor(seconds / DAY_SECONDS)
  const ofDay = seconds - days * DAY_SECONDS
  const { year, month, day } = civilFromDays(days)
  const hour = Math.floor(ofDay / 3600)
  const minute = Math.floor((ofDay % 3600) / 60)
  const fraction = micros === 0 ? '' : `.${digits(micros, 6)}`
  return `${digits(year, 4)}-${digits(month, 2)}-${digits(day, 2)}T${digits(hour, 2)}:${digits(minute, 2)}:${digits(ofDay % 60, 2)}${fraction}Z`
}

function failed(reason: string, kind: 'shape' | 'range' = 'shape'): ParsedInstant {
  return { ok: false, kind, reason }
}

function dateFault(year: number, month: number, day: number): string | undefined {
  if (month < 1 || month > 12) return 'should be a valid date: month value is outside 1-12'
  if (day < 1 || day > daysInMonth(year, month)) {
    return 'should be a valid date: day value is outside the month'
  }
  if (year === 0) return 'should be a valid date: year 0 is out of range'
  return undefined
}

function fromUnixNumber(value: number): ParsedInstant {
  if (!Number.isFinite(value)) return failed('should be a finite unix time')
  let seconds: number
  let micros: number
  const whole = Math.floor(value)
  // `value - whole` is exact, so the fraction is rounded only once.
  if (Math.abs(value) <= MILLISECOND_WATERSHED) {
    seconds = whole
    micros = Math.round((value - whole) * MICROS)
  } else {
    seconds = Math.floor(whole / 1000)
    micros = (whole - seconds * 1000) * 1000 + Math.round((value - whole) * 1000)
  }
  if (micros >= MICROS) {
    seconds += 1
    micros -= MICROS
  }
  if (!(seconds >= FIRST_NUMERIC_SECOND && seconds <= LAST_SECOND)) {
    return failed('should be a unix time within the years 1600 to 9999')
  }
  return { ok: true, instant: format(seconds, micros) }
}

function fromText(text: string): ParsedInstant {
  if (NUMERIC.test(text)) return fromUnixNumber(Number(text))
  const date = DATE.exec(text)
  if (date) {
    return failed(
      dateFault(Number(date[1]), Number(date[2]), Number(date[3])) ?? 'should have timezone info',
    )
  }
  const parts = DATE_TIME.exec(text)
  if (!parts) return failed('should be a valid time such as 2026-01-31T12:00:00Z')
  const [, y, mo, d, h, mi, s = '0', fraction = '', zulu, sign, offsetHours, offsetMinutes] = parts
  const year = Number(y)
  const month = Number(mo)
  const day = Number(d)
  const fault = dateFault(year, month, day)
  if (fault !== undefined) return failed(fault)
  const hour = Number(h)
  const minute = Number(mi)
  const second = Number(s)
  if (hour > 23 || minute > 59 || second > 59) {
    return failed('should be a valid time: at most 23:59:59')
  }
  let offset = 0
  if (sign !== undefined) {
    if (Number(offsetHours) > 23 || Number(offsetMinutes) > 59) {
      return failed('should have a timezone offset of at most 23:59')
    }
    offset = Number(offsetHours) * 3600 + Number(offsetMinutes) * 60
    if (sign !== '+') offset = -offset
  } else if (zulu === undefined) {
    return failed('should have timezone info')
  }
  const seconds =
    daysFromCivil(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second - offset
  if (seconds < FIRST_SECOND || seconds > LAST_SECOND) {
    return failed('should be within the years 1 to 9999 in UTC', 'range')
  }
  return { ok: true, instant: format(seconds, Number(fraction.slice(0, 6).padEnd(6, '0'))) }
}

/**
 * Reads a time as a member of a JSON document, the way pydantic 2 reads an `AwareDatetime`
 * (speedate's relaxed RFC 3339).
 *
 * Strings: `YYYY-MM-DD`, one of `T t space _`, `HH:MM[:SS[(.|,)digits]]` and a zone `Z`, `z`,
 * `+HH:MM`, `-HHMM` (less than 24 hours); digits after the sixth of the fraction are cut off.
 * Numbers and strings like `[+-]digits[.digits]` are unix seconds, or milliseconds where the
 * absolute value is above 2e10, rounded to the microsecond, within the years 1600 to 9999.
 */
export function parseInstant(value: unknown): ParsedInstant {
  if (typeof value === 'string') return fromText(value)
  if (typeof value === 'number') return fromUnixNumber(value)
  return failed('should be a valid time such as 2026-01-31T12:00:00Z')
}

/**
 * Reads the text of a `timestamptz` column in a session whose time zone is UTC and whose date
 * style is ISO: `2026-01-02 03:04:05.123456+00`.
 * @throws RangeError for any other text, such as `infinity`, years after 9999 and years BC
 */
export function instantFromPostgres(text: string): Instant {
  const parts = POSTGRES.exec(text)
  if (!parts) throw new RangeError(`not a timestamp of the years 1 to 9999 in UTC: ${text}`)
  const [, year, month, day, hour, minute, second, fraction = ''] = parts
  const micros = fraction.padEnd(6, '0')
  const tail = micros === '000000' ? '' : `.${micros}`
  return `${year}-${month}-${day}T${hour}:${minute}:${second}${tail}Z`
}

let clockOffset = performance.timeOrigin

/** The present, in microseconds, within two milliseconds of the system's clock. */
export function instantNow(): Instant {
  let before = Date.now()
  let monotonic = performance.now()
  let after = Date.now()
  const expected = clockOffset + monotonic
  // The monotonic clock does not follow when the system's clock is set. Two readings of the latter
  // tell that from a pause of the process, which must not set time back.
  if (expected < before - 2 || expected > after + 2) {
    do {
      before = Date.now()
      monotonic = performance.now()
      after = Date.now()
    } while (after - before > 1)
    clockOffset = after - monotonic
  }
  const millis = clockOffset + monotonic
  const micros = Math.floor(millis * 1000)
  const seconds = Math.floor(micros / MICROS)
  return format(seconds, micros - seconds * MICROS)
}

function split(instant: Instant): { seconds: number; micros: number } {
  const parts = CANONICAL.exec(instant)
  if (!parts) throw new RangeError(`not an instant: ${instant}`)
  const [, year, month, day, hour, minute, second, fraction = '0'] = parts
  const days = daysFromCivil(Number(year), Number(month), Number(day))
  return {
    seconds: days * DAY_SECONDS + Number(hour) * 3600 + Number(minute) * 60 + Number(second),
    micros: Number(fraction),
  }
}

/**
 * Microseconds since 1970-01-01T00:00:00Z, negative before.
 * @throws RangeError when the text does not have the form of an `Instant`
 */
export function instantMicros(instant: Instant): bigint {
  const { seconds, micros } = split(instant)
  return BigInt(seconds) * BigInt(MICROS) + BigInt(micros)
}

/**
 * Unix seconds as Python prints `str(datetime.timestamp())`: the double nearest to the time with
 * the fewest digits that give the same double, `.0` when it is whole, and exponent notation with at
 * least two exponent digits below 1e-4. Secure hashes end with this text.
 * @throws RangeError when the text does not have the form of an `Instant`
 */
export function pythonTimestamp(instant: Instant): string {
  const total = instantMicros(instant)
  const magnitude = (total < 0n ? -total : total).toString().padStart(7, '0')
  const sign = total < 0n ? '-' : ''
  // Number() rounds decimal text correctly; a division would first round the microseconds.
  const value = Number(`${sign}${magnitude.slice(0, -6)}.${magnitude.slice(-6)}`)
  if (value !== 0 && Math.abs(value) < 1e-4) {
    return value.toExponential().replace(/e-(\d)$/, 'e-0$1')
  }
  const text = String(value)
  return Number.isInteger(value) ? `${text}.0` : text
}
