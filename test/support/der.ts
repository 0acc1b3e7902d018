/** Writes DER, and whatever else is asked for: what is malformed must be made, too. */

type Part = Uint8Array

/** One value of any identifier octet. */
export function tlv(tag: number, ...parts: readonly Part[]): Buffer {
  const content = Buffer.concat(parts)
  if (content.length < 0x80) return Buffer.concat([Buffer.of(tag, content.length), content])
  const hex = content.length.toString(16)
  const length = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex')
  return Buffer.concat([Buffer.of(tag, 0x80 | length.length), length, content])
}

export const seq = (...parts: readonly Part[]): Buffer => tlv(0x30, ...parts)
/** In the order of DER. */
export const set = (...parts: readonly Part[]): Buffer =>
  tlv(0x31, ...parts.toSorted(Buffer.compare))
export const explicit = (number: number, ...parts: readonly Part[]): Buffer =>
  tlv(0xa0 | number, ...parts)
export const octets = (bytes: Part): Buffer => tlv(0x04, bytes)
export const bits = (bytes: Part, unused = 0): Buffer => tlv(0x03, Buffer.of(unused), bytes)
export const bool = (value: boolean): Buffer => tlv(0x01, Buffer.of(value ? 0xff : 0))
export const nul = tlv(0x05)
export const utf8 = (text: string): Buffer => tlv(0x0c, Buffer.from(text))
/** @param text `20260131120000Z` */
export const generalizedTime = (text: string): Buffer => tlv(0x18, Buffer.from(text))

export function int(value: number | bigint): Buffer {
  let hex = BigInt(value).toString(16)
  if (hex.length % 2 === 1) hex = `0${hex}`
  if (/^[89a-f]/.test(hex)) hex = `00${hex}`
  return tlv(0x02, Buffer.from(hex, 'hex'))
}

export function oid(text: string): Buffer {
  const [first = 0, second = 0, ...more] = text.split('.').map(Number)
  const bytes = [first * 40 + second, ...more].flatMap((arc) => {
    const groups = [arc & 0x7f]
    for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128)) {
      groups.unshift((rest & 0x7f) | 0x80)
    }
    return groups
  })
  return tlv(0x06, Buffer.from(bytes))
}
