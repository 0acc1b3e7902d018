import { createCipheriv, createHash, hkdfSync } from 'node:crypto'
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
   * @param offset of the first byte in the upload
   * @returns a function for the pieces that follow each other from there
   */
  at(upload: Uuid, offset: number): (piece: Uint8Array) => Buffer {
    const key = hkdfSync('sha256', this.#secret, upload, 'bytes uploads: key', KEY_LENGTH)
    const counter = Buffer.alloc(BLOCK)
    counter.writeBigUInt64BE(BigInt(Math.floor(offset / BLOCK)), BLOCK - 8)
    const cipher = createCipheriv(ALGORITHM, new Uint8Array(key), counter)
    cipher.update(Buffer.alloc(offset % BLOCK))
    return (piece) => cipher.update(piece)
  }
}
