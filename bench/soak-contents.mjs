/** Contents of the soak: of every size, some new and some that are stored already. */
import { createHash, randomBytes } from 'node:crypto'

const KIB = 1024
const MIB = 1024 * KIB
/** From 1 KiB to 8 MiB, each size about a third more than the one before. */
const SIZES = Array.from({ length: 32 }, (_, i) => Math.round(KIB * 8192 ** (i / 31)))
/** Bytes that make a content unlike all others; a multiple of 3, so that base64 ends with them. */
const MARK = 48
/** New contents stay on the disk: most that are longer than this are repeated ones. */
const SMALL = 64 * KIB
const NEW_SMALL = 0.7
const NEW_LARGE = 0.04

/** The end of a content: random, and shared by all contents of one size. */
const tails = SIZES.map((size) => {
  const bytes = randomBytes(size - MARK)
  return { bytes, base64: bytes.toString('base64') }
})
const REPEATED = Buffer.alloc(MARK, 'soak')

/** A content of which only the beginning and a number are kept. */
export class Content {
  /** @param {Buffer} mark @param {{ bytes: Buffer, base64: string }} tail */
  constructor(mark, tail) {
    this.mark = mark
    this.tail = tail
    this.size = mark.length + tail.bytes.length
  }

  /** @returns {Buffer[]} the bytes, in two pieces */
  pieces() {
    return [this.mark, this.tail.bytes]
  }

  base64() {
    return this.mark.toString('base64') + this.tail.base64
  }

  /** SHA-512 in hexadecimal. */
  digest() {
    return createHash('sha512').update(this.mark).update(this.tail.bytes).digest('hex')
  }

  /** @param {Buffer} bytes @param {number} offset whether these are the bytes at this place */
  has(bytes, offset) {
    const end = offset + bytes.length
    if (end > this.size) return false
    const inMark = Math.max(0, Math.min(MARK - offset, bytes.length))
    const { mark, tail } = this
    return (
      bytes.subarray(0, inMark).equals(mark.subarray(offset, offset + inMark)) &&
      bytes.subarray(inMark).equals(tail.bytes.subarray(offset + inMark - MARK, end - MARK))
    )
  }
}

/** @param {number} [below] the most bytes */
export function nextContent(below = 8 * MIB) {
  const sizes = SIZES.filter((size) => size <= below).length
  const tail = /** @type {(typeof tails)[number]} */ (tails[Math.floor(Math.random() * sizes)])
  const isNew = Math.random() < (tail.bytes.length < SMALL ? NEW_SMALL : NEW_LARGE)
  return new Content(isNew ? randomBytes(MARK) : REPEATED, tail)
}
