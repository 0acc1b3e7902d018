import type { ByteRange } from '../domain/ports.js'

/** Most ranges of one request: each is a file to open and a part of the answer. */
const MAX_RANGES = 100

/** What a `Range` header asks for. */
export type Ranges =
  /** The whole content: there is no header, or one that is to be ignored. */
  | { readonly kind: 'whole' }
  /** At least one range, each inside the content and of at least one byte, in the order asked for. */
  | { readonly kind: 'ranges'; readonly ranges: readonly [ByteRange, ...ByteRange[]] }
  /** To be refused with 416, and why. */
  | { readonly kind: 'unsatisfiable'; readonly reason: string }

const WHOLE: Ranges = { kind: 'whole' }
/** RFC 9110, section 5.6.1: elements of a list may be empty, and stand between spaces and tabs. */
const ELEMENT = /^[ \t]*(?:(?:(\d+)-(\d*)|-(\d+))[ \t]*)?$/

/**
 * Reads a `Range` header (RFC 9110, section 14). One that is malformed or has another unit than
 * bytes is ignored. Positions may be of any size. Refused are: ranges that all begin after the end
 * of the content, more than 100 ranges, and ranges that together are longer than the content, which
 * a client cannot want and a server should not be made to send.
 * @param size bytes of the content
 */
export function parseRanges(header: string | undefined, size: number): Ranges {
  const set = /^bytes=(.*)$/is.exec(header ?? '')?.[1]
  if (set === undefined) return WHOLE
  const asked: Asked[] = []
  for (const element of set.split(',')) {
    const match = ELEMENT.exec(element)
    if (!match) return WHOLE
    const [, first, last, suffix] = match
    if (first !== undefined) {
      const range = { first: BigInt(first), last: last ? BigInt(last) : undefined }
      if (range.last !== undefined && range.last < range.first) return WHOLE
      asked.push(range)
    } else if (suffix !== undefined) {
      asked.push({ suffix: BigInt(suffix) })
    }
  }
  if (asked.length === 0) return WHOLE
  if (asked.length > MAX_RANGES) {
    return refused(`${asked.length} ranges are too many: ask for at most ${MAX_RANGES}`)
  }
  return satisfy(asked, size)
}

type Asked =
  | { readonly first: bigint; readonly last: bigint | undefined }
  | { readonly suffix: bigint }

function satisfy(asked: readonly Asked[], size: number): Ranges {
  // All of nothing is a range that has no position to be told by: the whole says the same.
  if (size === 0 && asked.some((range) => 'suffix' in range && range.suffix > 0n)) return WHOLE
  const [range, ...more] = asked.map((each) => within(each, BigInt(size))).filter(notEmpty)
  if (!range) return refused(`No range lies inside the content, which is ${size} bytes long`)
  const length = [range, ...more].reduce((sum, { start, end }) => sum + end - start, 0)
  if (length > size) {
    return refused(
      `The ranges overlap: together they are longer than the content, which is ${size} bytes long`,
    )
  }
  return { kind: 'ranges', ranges: [range, ...more] }
}

function within(asked: Asked, size: bigint): ByteRange {
  const [start, end] =
    'suffix' in asked
      ? [asked.suffix < size ? size - asked.suffix : 0n, size]
      : [asked.first, asked.last === undefined || asked.last >= size ? size : asked.last + 1n]
  return { start: Number(start), end: Number(end) }
}

const notEmpty = ({ start, end }: ByteRange): boolean => start < end

const refused = (reason: string): Ranges => ({ kind: 'unsatisfiable', reason })

/** A `Content-Range` header (RFC 9110, section 14.4). */
export function contentRange({ start, end }: ByteRange, size: number): string {
  return `bytes ${start}-${end - 1}/${size}`
}
