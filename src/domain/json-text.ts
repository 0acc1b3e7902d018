const QUOTE = 0x22
const COMMA = 0x2c
const BACKSLASH = 0x5c
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

const isSpace = (code: number): boolean =>
  code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09

/**
 * Index of the quote that ends the string whose opening quote is at `start`; the length of the
 * text when there is none.
 * Leaps from quote to quote, since bodies hold base64 strings of many megabytes.
 */
function stringEnd(text: string, start: number): number {
  let quote = text.indexOf('"', start + 1)
  while (quote !== -1) {
    let first = quote
    while (text.charCodeAt(first - 1) === BACKSLASH) first--
    if ((quote - first) % 2 === 0) return quote
    quote = text.indexOf('"', quote + 1)
  }
  return text.length
}

function skipSpace(text: string, start: number): number {
  let at = start
  while (isSpace(text.charCodeAt(at))) at++
  return at
}

/** What the string token from `start` to its end quote `end` stands for. */
function stringValue(text: string, start: number, end: number): string {
  const inner = text.slice(start + 1, end)
  return inner.includes('\\') ? (JSON.parse(text.slice(start, end + 1)) as string) : inner
}

/**
 * Walks over the value of a member that begins at `start`, and collects its compact text in `parts`
 * when they are given.
 * @returns the index of the `,` or `}` that follows the value
 */
function walkValue(text: string, start: number, parts?: string[]): number {
  let depth = 0
  let at = start
  // Everything before `copied` is in `parts` already.
  let copied = start
  for (; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) {
      const end = stringEnd(text, at)
      if (parts !== undefined) {
        const token = text.slice(at, end + 1)
        if (token.includes('\\')) {
          parts.push(text.slice(copied, at), JSON.stringify(JSON.parse(token)))
          copied = end + 1
        }
      }
      at = end
    } else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      depth++
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      if (depth === 0) break
      depth--
    } else if (code === COMMA) {
      if (depth === 0) break
    } else if (isSpace(code)) {
      if (parts !== undefined && copied < at) parts.push(text.slice(copied, at))
      copied = at + 1
    }
  }
  if (parts !== undefined && copied < at) parts.push(text.slice(copied, at))
  return at
}

/**
 * The compact texts of top-level members of a JSON object. Numbers keep their spelling, keys their
 * order and repetitions; white space between tokens goes, and strings are spelled the way
 * `JSON.stringify` does. The last of several members with the same name counts. Uses no recursion,
 * so that nesting of any depth is fine.
 * @param text JSON that `JSON.parse` accepts, with an object as its top value
 * @param names names of members, as they are after unescaping
 * @returns the texts by name; members that are not there are missing
 */
export function memberTexts(text: string, names: readonly string[]): Map<string, string> {
  const wanted = new Set(names)
  const found = new Map<string, string>()
  let at = skipSpace(text, skipSpace(text, 0) + 1)
  while (text.charCodeAt(at) === QUOTE) {
    const end = stringEnd(text, at)
    const name = stringValue(text, at, end)
    // One past the colon.
    at = skipSpace(text, skipSpace(text, end + 1) + 1)
    if (wanted.has(name)) {
      const parts: string[] = []
      at = walkValue(text, at, parts)
      found.set(name, parts.join(''))
    } else {
      at = walkValue(text, at)
    }
    at = skipSpace(text, at + 1)
  }
  return found
}

/**
 * The greatest number of arrays and objects that are open at once; 0 for a bare value. Fit for text
 * that nobody has checked yet: it never throws, and takes time in proportion to the text.
 */
export function nestingDepth(text: string): number {
  let depth = 0
  let deepest = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) {
      at = stringEnd(text, at)
    } else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      depth++
      if (depth > deepest) deepest = depth
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      depth--
    }
  }
  return deepest
}

/**
 * True when a string or key of the text, once unescaped, holds half a surrogate pair: no UTF-8 can
 * say that, and neither can a database.
 * @param text valid JSON from strict UTF-8, so that lone surrogates come from `\u` escapes only
 */
export function hasLoneSurrogate(text: string): boolean {
  if (!/\\u[dD][89a-fA-F]/.test(text)) return false
  let at = text.indexOf('\\')
  while (at !== -1) {
    let next = at + 2
    if (text[at + 1] === 'u') {
      next = at + 6
      const unit = Number.parseInt(text.slice(at + 2, next), 16)
      if (unit >= 0xdc00 && unit <= 0xdfff) return true
      if (unit >= 0xd800 && unit <= 0xdbff) {
        if (!/^\\u[dD][c-fC-F]/.test(text.slice(next, next + 4))) return true
        next += 6
      }
    }
    at = text.indexOf('\\', next)
  }
  return false
}
