/** Text that others chose, for a terminal or a file name. */

/** What moves a cursor, hides, or turns the direction of text: controls, formats, line separators. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu
/** As these, and lone surrogates; but not what some scripts and emoji are joined with. */
const HARMFUL = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]|(?![\u200c\u200d])\p{Cf}/gu

const MAX_TEXT = 2000

/**
 * The text with everything that does something to a terminal written as `\uXXXX`: C0 and C1
 * controls, line breaks, bidirectional and other formats, lone surrogates. JSON stays the same JSON.
 */
export function escaped(text: string): string {
  return text.replace(HARMFUL, (character) =>
    Array.from(
      { length: character.length },
      (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`,
    ).join(''),
  )
}

/** The text on one line, for a terminal: escaped, without space around it, and not too long. */
export function printable(text: string): string {
  const clean = escaped(text.trim())
  return clean.length > MAX_TEXT ? `${clean.slice(0, MAX_TEXT)}...` : clean
}

/**
 * The name as one that is safe to make in a folder: no folders in front, no leading dots, nothing
 * invisible, at most 200 bytes. Undefined when nothing is left.
 */
export function safeFileName(name: string): string | undefined {
  const last = name.split(/[/\\]/).at(-1) ?? ''
  let safe = last
    .toWellFormed()
    .replace(INVISIBLE, '')
    .replace(/^[.\s]+/, '')
    .trim()
  while (Buffer.byteLength(safe) > 200) safe = [...safe].slice(0, -1).join('')
  return safe === '' ? undefined : safe
}
