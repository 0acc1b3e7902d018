/** Text that others chose, for a terminal or a file name. */

/** What moves a cursor, hides, or turns the direction of text: controls, formats, line separators. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu

const MAX_TEXT = 2000

/** The text on one line, without what does something to a terminal. */
export function printable(text: string): string {
  const clean = text.replace(INVISIBLE, ' ').trim()
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
