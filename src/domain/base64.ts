const PADDING = 0x3d

/**
 * Decodes text that has neither white space nor surplus padding, the usual case: some 200 MB in a
 * few hundred milliseconds. Undefined when it is anything else, malformed or not.
 */
function decodeClean(text: string): Buffer | undefined {
  const length = text.length
  if (length % 4 !== 0) return undefined
  let padding = 0
  while (padding < 2 && text.charCodeAt(length - 1 - padding) === PADDING) padding++
  // Node drops what is outside the alphabet, so the decoded length tells that nothing was dropped.
  // It also reads URL-safe letters, and the low bytes of characters that are not ASCII.
  if (Buffer.byteLength(text) !== length || text.includes('-') || text.includes('_')) {
    return undefined
  }
  const decoded = Buffer.from(text, 'base64')
  return decoded.length === (length / 4) * 3 - padding ? decoded : undefined
}

/**
 * Decodes standard base64 (RFC 4648, section 4). ASCII white space is skipped anywhere, surplus `=`
 * at the end and non-zero trailing bits are let through (`AB==` is one zero byte). Padding is
 * required; URL-safe letters and all other characters are refused.
 * @returns the bytes, or undefined when the text is malformed
 */
export function decodeBase64(text: string): Buffer | undefined {
  const clean = decodeClean(text)
  if (clean !== undefined) return clean
  const end = text.search(/[^A-Za-z0-9+/\t\n\v\f\r ]/)
  const tail = end === -1 ? '' : text.slice(end).replace(/[\t\n\v\f\r ]+/g, '')
  if (/[^=]/.test(tail)) return undefined
  const letters = (end === -1 ? text : text.slice(0, end)).replace(/[\t\n\v\f\r ]+/g, '')
  const surplus = letters.length % 4
  if (surplus === 1 || (surplus !== 0 && tail.length < 4 - surplus)) return undefined
  return Buffer.from(letters, 'base64')
}
