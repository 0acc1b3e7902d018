const SIMPLE = /^[0-9a-f]{32}$/
const HYPHENATED = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const URN = 'urn:uuid:'

/**
 * Reads a UUID in the spellings that Rust's uuid crate (and so pydantic) reads: 32 hex digits,
 * hyphenated, `{hyphenated}` and `urn:uuid:hyphenated`. The case of hex digits is free, that of the
 * prefix is not. Any version, also none.
 * @returns the UUID in lower case with hyphens, or undefined when `text` is none
 */
export function parseUuid(text: unknown): string | undefined {
  if (typeof text !== 'string' || text.length > 45) return undefined
  let inner = text
  if (text.startsWith(URN)) inner = text.slice(URN.length)
  else if (text.startsWith('{') && text.endsWith('}')) inner = text.slice(1, -1)
  const lower = inner.toLowerCase()
  if (HYPHENATED.test(lower)) return lower
  if (inner !== text || !SIMPLE.test(lower)) return undefined
  return `${lower.slice(0, 8)}-${lower.slice(8, 12)}-${lower.slice(12, 16)}-${lower.slice(16, 20)}-${lower.slice(20)}`
}
