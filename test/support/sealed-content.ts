import type { StoredBytes } from '../../src/domain/ports.js'
import { decrypt, encrypt } from '../../src/raw/middleware/sealed-box/payload.js'
import { storedBytes } from '../contracts/file-middleware.contract.js'
import { collect } from '../contracts/raw-repository.contract.js'

/** Bytes that differ from chunk to chunk. */
export function patternOf(size: number): Buffer {
  const content = Buffer.alloc(size)
  for (let i = 0; i < size; i++) content[i] = (i * 31 + (i >> 8) * 7 + (i >> 16)) & 0xff
  return content
}

/** The payload of a content, encrypted in one piece. The key stays as it is. */
export function payloadOf(plain: Uint8Array, fileKey: Uint8Array): Promise<Buffer> {
  return collect(encrypt([plain], Buffer.from(fileKey)))
}

/** Reads a payload until it ends or fails. The key stays as it is. */
export async function decrypted(
  payload: Uint8Array | StoredBytes,
  size: number,
  fileKey: Uint8Array,
  range = { start: 0, end: size },
): Promise<{ plain: Buffer; error?: unknown }> {
  const pieces: Uint8Array[] = []
  try {
    const stored = payload instanceof Uint8Array ? storedBytes(payload, 50_000) : payload
    for await (const piece of decrypt(stored, range, size, Buffer.from(fileKey))) {
      pieces.push(Buffer.from(piece))
    }
    return { plain: Buffer.concat(pieces) }
  } catch (error) {
    return { plain: Buffer.concat(pieces), error }
  }
}

/** A copy with one bit turned. */
export function flipped(bytes: Uint8Array, at: number, bit = 0): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeUInt8(copy.readUInt8(at) ^ (1 << bit), at)
  return copy
}
