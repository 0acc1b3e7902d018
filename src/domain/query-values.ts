const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...['1', 'true', 't', 'yes', 'y', 'on'].map((text) => [text, true] as const),
  ...['0', 'false', 'f', 'no', 'n', 'off'].map((text) => [text, false] as const),
])

/** Reads a boolean as pydantic does in lax mode, in any case; undefined when `text` is none. */
export function parseBoolean(text: string): boolean | undefined {
  return BOOLEANS.get(text.toLowerCase())
}

/** The largest limit or offset that the database takes. */
const MAX_LIMIT = 9_223_372_036_854_775_807n
const LAX_INTEGER = /^[+-]?\d+(?:_\d+)*(?:\.0+)?$/

/**
 * Reads a number of rows: plain digits, from 0 to 2^63-1. Kind `shape` is no integer at all; kind
 * `range` is one that this product refuses although pydantic reads it: negative, too large, or
 * spelled `+02`, `1_0` or `1.0`. `reason` completes a sentence that begins with the name.
 */
export function parseLimit(
  text: string,
): { ok: true; value: bigint } | { ok: false; kind: 'shape' | 'range'; reason: string } {
  if (/^\d+$/.test(text)) {
    const significant = text.replace(/^0+/, '')
    // Counting digits first keeps BigInt away from texts of any length.
    if (significant.length <= 19) {
      const value = BigInt(significant)
      if (value <= MAX_LIMIT) return { ok: true, value }
    }
    return { ok: false, kind: 'range', reason: `should be at most ${MAX_LIMIT}` }
  }
  if (!LAX_INTEGER.test(text)) {
    return { ok: false, kind: 'shape', reason: 'should be a valid integer' }
  }
  return {
    ok: false,
    kind: 'range',
    reason: text.startsWith('-')
      ? 'should be 0 or more'
      : 'should be written in digits only, such as 10: without a sign, underscore or decimal point',
  }
}
