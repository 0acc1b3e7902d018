import { type FileHandle, open, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { BytesError } from '../domain/errors.js'
import type {
  BlobLocation,
  ByteSource,
  FileMiddleware,
  RawRepository,
  StoredBytes,
} from '../domain/ports.js'
import { atAddressOrAside } from './aside.js'
import { blobFolder } from './blob-path.js'
import { hasCode } from './durable.js'
import { HashThreads, hashHere, type PieceHash } from './hash-threads.js'
import { storageErrors } from './storage-errors.js'

/** Bytes of one read. A reader holds two at most: the one that it gives away, and the next. */
const READ_SIZE = 256 * 1024
/** Stored bytes up to which a blob is hashed on the thread of the requests, in about a millisecond. */
const HASHED_HERE = 1024 * 1024

/**
 * The reading half of the repository on disk.
 * @param middlewares read blobs, each those that it wrote
 */
export function createDiskReader(
  dataDir: string,
  middlewares: readonly FileMiddleware[],
): Pick<RawRepository, 'get' | 'touch' | 'intact' | 'remove'> {
  const byName = new Map(middlewares.map((each) => [each.name, each]))
  const threads = new HashThreads()
  const pathOf = ({ organization, address }: BlobLocation): string =>
    join(dataDir, blobFolder(organization, address), address)
  const startHash = ({ storedSize }: BlobLocation): PieceHash =>
    storedSize > HASHED_HERE ? threads.start() : hashHere()

  return {
    get: async (blob, range = { start: 0, end: blob.size }) => {
      const middleware = byName.get(blob.middleware)
      if (!middleware) throw damaged(`it was written by ${blob.middleware}, which is unknown`)
      // What authenticates itself needs no second look.
      const checked = range.start === 0 && range.end === blob.size && !middleware.authenticated
      const handle = await openFile(pathOf(blob))
      const file = new BlobFile(handle, blob, checked ? () => startHash(blob) : undefined)
      try {
        await file.expectSize()
        const plain = middleware.decode(file, range, blob)
        const check = checked ? () => file.expectDigest() : undefined
        return closing(exactly(plain, range.end - range.start, check), file)
      } catch (error) {
        await file.close()
        throw error
      }
    },

    touch: (blob) =>
      storageErrors(async () => {
        const now = new Date()
        try {
          await utimes(pathOf(blob), now, now)
          // A sweep may have taken it away before it got its time, and have seen the old one.
          await stat(pathOf(blob))
          return true
        } catch (error) {
          if (hasCode(error, 'ENOENT', 'ENOTDIR')) return false
          throw error
        }
      }),

    intact: async (blob) => {
      try {
        const file = new BlobFile(await openFile(pathOf(blob)), blob, () => startHash(blob))
        try {
          await file.expectSize()
          await file.expectDigest()
          await expectKey(file, blob, byName.get(blob.middleware))
          return true
        } finally {
          await file.close()
        }
      } catch (error) {
        if (isUnreadable(error)) return false
        throw error
      }
    },

    remove: (blob) => storageErrors(() => rm(pathOf(blob), { force: true })),
  }
}

/**
 * Reads the first byte, which tells whether the blob's key is here and fits.
 * @throws BytesError `blob_damaged`; `key_missing` unless others are presumed to have it
 */
async function expectKey(
  file: StoredBytes,
  blob: BlobLocation,
  middleware: FileMiddleware | undefined,
): Promise<void> {
  try {
    const first = middleware?.decode(file, { start: 0, end: Math.min(1, blob.size) }, blob) ?? []
    for await (const _ of first);
  } catch (error) {
    const lacksKey = error instanceof BytesError && error.code === 'key_missing'
    if (!lacksKey || !middleware?.presumesKey(blob.sealedKey)) throw error
  }
}

/** Whether a read failed because of the blob itself, and not of the machine. */
function isUnreadable(error: unknown): boolean {
  if (!(error instanceof BytesError)) return false
  if (error.code !== 'storage_unavailable') return true
  return hasCode(error.cause, 'EIO', 'ELOOP', 'EISDIR')
}

function openFile(path: string): Promise<FileHandle> {
  return storageErrors(() =>
    atAddressOrAside(path, (at) => open(at, 'r')).catch((error: unknown) => {
      if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw error
      throw new BytesError('blob_missing', 'its content is missing from storage', { cause: error })
    }),
  )
}

/** The open file of a blob. */
class BlobFile implements StoredBytes {
  readonly size: number
  readonly #handle: FileHandle
  readonly #address: string
  readonly #startHash: (() => PieceHash) | undefined
  /** Of the bytes from the beginning, as far as they were read in this order. */
  #hash: PieceHash | undefined
  #hashed = 0

  /** @param startHash for `expectDigest` */
  constructor(
    handle: FileHandle,
    { storedSize, address }: BlobLocation,
    startHash: (() => PieceHash) | undefined,
  ) {
    this.#handle = handle
    this.size = storedSize
    this.#address = address
    this.#startHash = startHash
  }

  async *read(start: number, end: number): AsyncGenerator<Uint8Array> {
    this.#hash ??= this.#startHash?.()
    let at = start
    let coming = at < end ? this.#piece(at, end) : undefined
    while (coming) {
      const piece = await coming
      const next = at + piece.length
      coming = next < end ? this.#piece(next, end) : undefined
      // It may never be asked for.
      coming?.catch(() => undefined)
      if (this.#hash && at === this.#hashed) {
        this.#hashed = next
        await this.#hash.update(piece)
      }
      at = next
      yield piece
    }
  }

  /** @throws BytesError `blob_damaged` */
  async expectSize(): Promise<void> {
    const { size } = await storageErrors(() => this.#handle.stat())
    if (size !== this.size) throw this.#wrongSize(size)
  }

  /** Reads first what nobody has read so far. @throws BytesError `blob_damaged` */
  async expectDigest(): Promise<void> {
    for await (const _ of this.read(this.#hashed, this.size));
    await this.expectSize()
    if ((await this.#hash?.digest()) === this.#address) return
    throw damaged('its stored content does not have the digest it is stored under')
  }

  /** Waits for a read that is under way. */
  async close(): Promise<void> {
    this.#hash?.drop()
    await storageErrors(() => this.#handle.close())
  }

  /** At least one byte. */
  #piece(start: number, end: number): Promise<Buffer> {
    const size = Math.min(READ_SIZE, end - start)
    // Not from Node's pool, which would keep more memory alive than what is read.
    const buffer = Buffer.allocUnsafeSlow(size)
    return storageErrors(async () => {
      const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, start)
      if (bytesRead === 0) throw this.#wrongSize(start)
      return buffer.subarray(0, bytesRead)
    })
  }

  #wrongSize(size: number): BytesError {
    return damaged(`its stored content is ${size} bytes long instead of ${this.size}`)
  }
}

/**
 * Plain content of this length. The piece that completes it is given away when the check has
 * passed, so that nobody gets all of a content that is wrong.
 */
async function* exactly(
  plain: ByteSource,
  length: number,
  check?: () => Promise<void>,
): AsyncGenerator<Uint8Array> {
  let given = 0
  let last: Uint8Array | undefined
  for await (const piece of plain) {
    if (piece.length === 0) continue
    given += piece.length
    if (given > length) break
    if (given < length) yield piece
    else last = piece
  }
  if (given !== length) throw damaged('its content has another length than it was stored with')
  await check?.()
  if (last) yield last
}

/**
 * Closes the file however the consumer ends, also before the first piece: a generator that is
 * returned so early does nothing.
 */
function closing(pieces: AsyncGenerator<Uint8Array>, file: BlobFile): AsyncIterable<Uint8Array> {
  return {
    [Symbol.asyncIterator]: () => ({
      next: async () => {
        try {
          const result = await pieces.next()
          if (result.done) await file.close()
          return result
        } catch (error) {
          await file.close()
          throw error
        }
      },
      return: async () => {
        await pieces.return(undefined)
        await file.close()
        return { done: true, value: undefined }
      },
    }),
  }
}

function damaged(message: string): BytesError {
  return new BytesError('blob_damaged', message)
}
