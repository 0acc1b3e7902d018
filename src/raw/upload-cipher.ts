import { type Cipher, createCipheriv, createHash, hkdfSync, randomUUID } from 'node:crypto'
import type { Uuid } from '../domain/models.js'

const ALGORITHM = 'aes-256-ctr'
const KEY_LENGTH = 32
const BLOCK = 16

/**
 * Keeps the bytes of unfinished uploads from whoever sees the disk alone: AES-256 in counter mode,
 * which reads and writes at any offset and adds no bytes. It does not tell changes: these bytes are
 * temporary, and what becomes of them is sealed and digested.
 */
export class UploadCipher {
  readonly #secret: Uint8Array
  /** Tells the secret: what another one has written cannot be read. */
  readonly id: string

  /** @param secret high entropy, kept elsewhere than the uploads */
  constructor(secret: string) {
    this.#secret = Buffer.from(secret)
    const check = hkdfSync('sha256', this.#secret, '', 'bytes uploads: id', KEY_LENGTH)
    this.id = createHash('sha256').update(new Uint8Array(check)).digest('hex').slice(0, 16)
  }

  /**
   * Turns bytes of one upload, plain to stored or stored to plain.
   * @param streams what `anew` has made for the upload so far
   * @param offset of the first byte in the upload
   * @returns a function for the pieces that follow each other from there
   */
  at(upload: Uuid, streams: readonly KeyStream[], offset: number): (piece: Uint8Array) => Buffer {
    const all = [FIRST, ...streams]
    let index = all.findLastIndex(({ from }) => from <= offset)
    let cipher = this.#cipher(upload, all[index], offset)
    let at = offset
    return (piece) => {
      const turned: Buffer[] = []
      let rest = piece
      for (;;) {
        const end = all[index + 1]?.from ?? Infinity
        const part = rest.subarray(0, end - at)
        turned.push(cipher.update(part))
        at += part.length
        rest = rest.subarray(part.length)
        if (rest.length === 0) return Buffer.concat(turned)
        index++
        cipher = this.#cipher(upload, all[index], at)
      }
    }
  }

  #cipher(upload: Uuid, { nonce }: KeyStream = FIRST, offset: number): Cipher {
    const key = hkdfSync('sha256', this.#secret, upload, `bytes uploads: key${nonce}`, KEY_LENGTH)
    const counter = Buffer.alloc(BLOCK)
    counter.writeBigUInt64BE(BigInt(Math.floor(offset / BLOCK)), BLOCK - 8)
    const cipher = createCipheriv(ALGORITHM, new Uint8Array(key), counter)
    cipher.update(Buffer.alloc(offset % BLOCK))
    return cipher
  }
}

/** The bytes from an offset on are turned by a key of their own. */
export interface KeyStream {
  /** Offset of the first of them in the upload. */
  readonly from: number
  /** Tells the key from the others of the upload. */
  readonly nonce: string
}

const FIRST: KeyStream = { from: 0, nonce: '' }

/**
 * Forgets the bytes from an offset on. Others will take their place: under the same key, whoever saw
 * both on the disk would know how they differ.
 * @param streams of the upload so far
 */
export function anew(streams: readonly KeyStream[], offset: number): KeyStream[] {
  return [...streams.filter(({ from }) => from < offset), { from: offset, nonce: randomUUID() }]
}
