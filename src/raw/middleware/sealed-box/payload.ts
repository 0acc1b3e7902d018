/**
 * The payload of an age file, version 1 (C2SP `age`, section "Payload"): a 16-byte nonce, then the
 * content in chunks of 64 KiB, each under ChaCha20-Poly1305 with a key that HKDF-SHA-256 makes of
 * the file key and the nonce. The nonce of a chunk counts the chunks and marks the last one, so
 * that none can be left out, added or moved.
 */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto'
import { BytesError } from '../../../domain/errors.js'
import type { ByteRange, ByteSource, StoredBytes } from '../../../domain/ports.js'
import { PieceReader } from './piece-reader.js'

/** Plain bytes of every chunk but the last. */
export const CHUNK_SIZE = 64 * 1024
const TAG_SIZE = 16
const NONCE_SIZE = 16
const STORED_CHUNK_SIZE = CHUNK_SIZE + TAG_SIZE
const CIPHER = 'chacha20-poly1305'
const TAG_OPTIONS = { authTagLength: TAG_SIZE }

/** Only an empty content has an empty chunk. */
const chunksOf = (size: number): number => Math.max(1, Math.ceil(size / CHUNK_SIZE))

/** Bytes that the payload of a content of `size` bytes has. */
export function payloadSize(size: number): number {
  return NONCE_SIZE + size + chunksOf(size) * TAG_SIZE
}

/**
 * Encrypts a content while it is read; it holds two chunks at most.
 * @param fileKey 16 random bytes that nothing else was encrypted with. They are zero when this
 *   returns; OpenSSL keeps what is made of them until the result is collected.
 */
export function encrypt(plain: ByteSource, fileKey: Uint8Array): AsyncIterable<Uint8Array> {
  const nonce = randomBytes(NONCE_SIZE)
  return encryptChunks(plain, nonce, payloadKey(takeOver(fileKey), nonce))
}

/**
 * Decrypts a range of a content. Reads the nonce and the chunks that the range needs, and gives
 * nothing of a chunk whose tag is wrong.
 * @param range of the plain content, and inside it
 * @param size bytes of the plain content
 * @param fileKey zero when this returns or throws; see `encrypt`
 * @throws BytesError `blob_damaged`: at once when the payload has not the length that belongs to
 *   `size`, while reading when it is not what `encrypt` made with this key
 */
export function decrypt(
  stored: StoredBytes,
  range: ByteRange,
  size: number,
  fileKey: Uint8Array,
): AsyncIterable<Uint8Array> {
  const key = takeOver(fileKey)
  const expected = payloadSize(size)
  if (stored.size !== expected) {
    throw damaged(`its encrypted content is ${stored.size} bytes long instead of ${expected}`)
  }
  return decryptRange(stored, range, chunksOf(size), key)
}

async function* encryptChunks(
  plain: ByteSource,
  nonce: Buffer,
  key: KeyObject,
): AsyncGenerator<Uint8Array> {
  const reader = new PieceReader(plain)
  try {
    yield nonce
    let chunk = await reader.take(CHUNK_SIZE)
    for (let index = 0, last = false; !last; index++) {
      const next = await reader.take(CHUNK_SIZE)
      last = next.length === 0
      const cipher = createCipheriv(CIPHER, key, chunkNonce(index, last), TAG_OPTIONS)
      const encrypted = cipher.update(chunk)
      cipher.final()
      if (encrypted.length > 0) yield encrypted
      yield cipher.getAuthTag()
      chunk = next
    }
  } finally {
    await reader.close()
  }
}

async function* decryptRange(
  stored: StoredBytes,
  { start, end }: ByteRange,
  chunks: number,
  fileKey: KeyObject,
): AsyncGenerator<Uint8Array> {
  const from = Math.floor(start / CHUNK_SIZE)
  const to = chunksOf(end)
  const place = (index: number): number =>
    Math.min(NONCE_SIZE + index * STORED_CHUNK_SIZE, stored.size)
  // The first chunk follows the nonce: one read gets both.
  let reader = new PieceReader(stored.read(0, from === 0 ? place(to) : NONCE_SIZE))
  try {
    const nonce = await reader.take(NONCE_SIZE)
    const key = payloadKey(fileKey, nonce)
    if (from > 0) {
      await reader.close()
      reader = new PieceReader(stored.read(place(from), place(to)))
    }
    for (let index = from; index < to; index++) {
      const chunk = await reader.take(STORED_CHUNK_SIZE)
      const plain = decryptChunk(chunk, index, index === chunks - 1, key)
      const begin = index * CHUNK_SIZE
      yield plain.subarray(Math.max(0, start - begin), end - begin)
    }
  } finally {
    await reader.close()
  }
}

/** @throws BytesError `blob_damaged` */
function decryptChunk(chunk: Uint8Array, index: number, last: boolean, key: KeyObject): Buffer {
  const size = chunk.length - TAG_SIZE
  if (size < 0) throw wrongChunk(index)
  const decipher = createDecipheriv(CIPHER, key, chunkNonce(index, last), TAG_OPTIONS)
  decipher.setAuthTag(chunk.subarray(size))
  const plain = decipher.update(chunk.subarray(0, size))
  try {
    decipher.final()
  } catch {
    throw wrongChunk(index)
  }
  return plain
}

/** Number of the chunk in 11 bytes, the highest first, and 1 for the last chunk. */
function chunkNonce(index: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeUIntBE(index, 5, 6)
  nonce[11] = last ? 1 : 0
  return nonce
}

/** Moves a key out of our memory: OpenSSL wipes its copy when the key object is collected. */
function takeOver(bytes: Uint8Array): KeyObject {
  try {
    return createSecretKey(bytes)
  } finally {
    bytes.fill(0)
  }
}

function payloadKey(fileKey: KeyObject, nonce: Uint8Array): KeyObject {
  return takeOver(new Uint8Array(hkdfSync('sha256', fileKey, nonce, 'payload', 32)))
}

function wrongChunk(index: number): BytesError {
  return damaged(`chunk ${index} of its encrypted content is wrong`)
}

function damaged(message: string): BytesError {
  return new BytesError('blob_damaged', message)
}
