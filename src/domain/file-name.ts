import { trimEnd } from './trim-end.js'

/** Longest file name in bytes of UTF-8 that common file systems take. */
const MAX_BYTES = 255
/** Of longer texts only the beginning is looked at: the work must not grow with the square of them. */
const MAX_CHARACTERS = 4096

/**
 * A file name that is safe to save under, from any text: the part after the last slash or
 * backslash, without control and bidirectional formatting characters, without dots and spaces at
 * its ends, and at most 255 bytes of UTF-8 long; when it is too long the end of its stem goes and
 * a short extension stays.
 * @returns null when nothing is left of the text
 */
export function safeFileName(text: string): string | null {
  const start = Math.max(text.lastIndexOf('/'), text.lastIndexOf('\\')) + 1
  const last = text.slice(start, start + MAX_CHARACTERS)
  const name = trimmed(
    last.replace(/[\p{Cc}\p{Cs}\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu, ''),
  )
  if (name === '') return null
  if (Buffer.byteLength(name) <= MAX_BYTES) return name
  const extension = /\.[A-Za-z0-9]{1,10}$/.exec(name)?.[0] ?? ''
  let stem = ''
  let room = MAX_BYTES - extension.length
  for (const character of name.slice(0, name.length - extension.length)) {
    room -= Buffer.byteLength(character)
    if (room < 0) break
    stem += character
  }
  return trimmed(stem) + extension
}

function trimmed(name: string): string {
  return trimEnd(name.replace(/^[\s.]+/, ''), (unit) => /[\s.]/.test(unit))
}
