/**
 * A strict reader of DER (X.690, section 10 and 11). asn1js also takes BER, and so more than one
 * spelling of a value; here every byte of a token or a record has to be as it must be.
 */

/** Identifier octets of the types that are met. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

/** Identifier octet of `[number]`, constructed unless it is said otherwise. */
export const contextTag = (number: number, constructed = true): number =>
  (constructed ? 0xa0 : 0x80) | number

/** One value; the arrays are views of what was parsed. */
export interface DerNode {
  /** The identifier octet. */
  readonly tag: number
  /** Identifier, length and contents. */
  readonly raw: Uint8Array
  readonly content: Uint8Array
  /** Of a constructed value; else empty. */
  readonly children: readonly DerNode[]
}

/** The bytes are not DER. */
export class DerError extends Error {
  constructor(what: string, offset: number) {
    super(`no DER: ${what} at byte ${offset}`)
    this.name = 'DerError'
  }
}

const MAX_DEPTH = 64
/** A token with its certificates has a thousand. */
const MAX_VALUES = 50_000
const MAX_OID_BYTES = 64
const CONSTRUCTED = 0x20
/** Universal types that are not constructed, and whose contents are free here, such as strings. */
const FREE_PRIMITIVES: ReadonlySet<number> = new Set([
  0x04, 0x0c, 0x12, 0x13, 0x14, 0x16, 0x19, 0x1a, 0x1b, 0x1c, 0x1e,
])
const UTC_TIME = /^\d{12}Z$/
/** Section 11.7: with seconds, in UTC, a fraction without trailing zeros. */
const GENERALIZED_TIME = /^\d{14}(\.\d*[1-9])?Z$/

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')
const at = (bytes: Uint8Array, index: number): number => bytes[index] ?? -1

/** Why these contents of a primitive universal type are not canonical; undefined when they are. */
function faultOfPrimitive(tag: number, content: Uint8Array): string | undefined {
  const first = at(content, 0)
  switch (tag) {
    case TAG.boolean:
      return content.length === 1 && (first === 0 || first === 0xff) ? undefined : 'a bad boolean'
    case TAG.integer:
    case TAG.enumerated: {
      const second = at(content, 1) & 0x80
      const padded =
        content.length > 1 && ((first === 0 && second === 0) || (first === 0xff && second !== 0))
      return content.length === 0 || padded ? 'a bad integer' : undefined
    }
    case TAG.bitString: {
      const last = at(content, content.length - 1)
      const fine =
        content.length > 1
          ? first >= 0 && first < 8 && (last & ((1 << first) - 1)) === 0
          : first === 0
      return fine ? undefined : 'a bad bit string'
    }
    case TAG.null:
      return content.length === 0 ? undefined : 'a null with contents'
    case TAG.oid: {
      const ended =
        content.length <= MAX_OID_BYTES && (at(content, content.length - 1) & 0x80) === 0
      const padded = content.some(
        (byte, i) => byte === 0x80 && (i === 0 || (at(content, i - 1) & 0x80) === 0),
      )
      return content.length > 0 && ended && !padded ? undefined : 'a bad object identifier'
    }
    case TAG.utcTime:
      return UTC_TIME.test(latin1(content)) ? undefined : 'a bad time'
    case TAG.generalizedTime:
      return GENERALIZED_TIME.test(latin1(content)) ? undefined : 'a bad time'
    default:
      return FREE_PRIMITIVES.has(tag) ? undefined : 'a type that has no place here'
  }
}

/** Whether the members are in the order of a SET OF (section 11.6). */
export function isInOrder({ children }: Pick<DerNode, 'children'>): boolean {
  return children.every((child, i) => {
    const before = children[i - 1]
    return before === undefined || Buffer.compare(before.raw, child.raw) <= 0
  })
}

/**
 * Reads one value and everything in it. Contents of OCTET STRINGs and BIT STRINGs are not looked
 * at. The members of each SET must be in ascending order (section 11.6); what hides behind a
 * context-specific tag is the caller's, see `isInOrder`.
 * @throws DerError when it is not DER, or bytes are left over
 */
export function parseDer(bytes: Uint8Array): DerNode {
  let values = 0
  const read = (start: number, end: number, depth: number): DerNode => {
    const fail = (what: string): never => {
      throw new DerError(what, start)
    }
    values += 1
    if (values > MAX_VALUES) return fail('too many values')
    if (end - start < 2) return fail('the end is missing')
    const tag = at(bytes, start)
    if ((tag & 0x1f) === 0x1f) return fail('a type that has no place here')
    let length = at(bytes, start + 1)
    let from = start + 2
    if (length >= 0x80) {
      const octets = length & 0x7f
      if (octets === 0) return fail('an indefinite length')
      if (octets > 4) return fail('too great a length')
      if (from + octets > end) return fail('the end is missing')
      length = 0
      for (let i = 0; i < octets; i++) length = length * 256 + at(bytes, from + i)
      if (length < 0x80 || length < 256 ** (octets - 1)) return fail('a length in too many bytes')
      from += octets
    }
    const to = from + length
    if (to > end) return fail('the end is missing')
    const content = bytes.subarray(from, to)
    const raw = bytes.subarray(start, to)
    if ((tag & CONSTRUCTED) === 0) {
      const fault = tag < CONSTRUCTED ? faultOfPrimitive(tag, content) : undefined
      if (fault !== undefined) return fail(fault)
      return { tag, raw, content, children: [] }
    }
    if (tag < 0x40 && tag !== TAG.sequence && tag !== TAG.set) {
      return fail('a value in pieces, or a type that has no place here')
    }
    if (depth === MAX_DEPTH) return fail('too deep a nesting')
    const children: DerNode[] = []
    for (let next = from; next < to; ) {
      const child = read(next, to, depth + 1)
      children.push(child)
      next += child.raw.length
    }
    const node = { tag, raw, content, children }
    if (tag === TAG.set && !isInOrder(node)) return fail('a set that is not in order')
    return node
  }
  const node = read(0, bytes.length, 0)
  if (node.raw.length < bytes.length) throw new DerError('more bytes follow', node.raw.length)
  return node
}

/** The dotted text of an OBJECT IDENTIFIER; undefined of another type. */
export function oidOf(node: DerNode | undefined): string | undefined {
  if (node?.tag !== TAG.oid) return undefined
  const arcs: bigint[] = []
  let arc = 0n
  for (const byte of node.content) {
    arc = (arc << 7n) | BigInt(byte & 0x7f)
    if ((byte & 0x80) !== 0) continue
    if (arcs.length > 0) arcs.push(arc)
    else {
      const first = arc < 40n ? 0n : arc < 80n ? 1n : 2n
      arcs.push(first, arc - first * 40n)
    }
    arc = 0n
  }
  return arcs.join('.')
}

/** A whole number from 0 up to 2^53; undefined of another type or number. */
export function numberOf(node: DerNode | undefined): number | undefined {
  if (node?.tag !== TAG.integer || node.content.length > 7) return undefined
  const value = node.content.reduce((sum, byte) => sum * 256 + byte, 0)
  return at(node.content, 0) < 0x80 ? value : undefined
}

/** Hex of an INTEGER, of whole bytes, as serial numbers are shown. */
export function hexOf(integer: DerNode): string {
  const unsigned = BigInt(`0x${Buffer.from(integer.content).toString('hex') || '0'}`)
  const value = BigInt.asIntN(integer.content.length * 8, unsigned)
  const hex = (value < 0n ? -value : value).toString(16)
  return `${value < 0n ? '-' : ''}${hex.padStart(hex.length + (hex.length % 2), '0')}`
}

/** Whether the bytes are the same. */
export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0
