/** What an upload reads from: a file, bytes, or a stream. */
import { type FileHandle, open } from 'node:fs/promises'
import { BytesClientError, reasonOf } from './errors.js'

/** Bytes read at once, and handed to the network at once. */
const PIECE = 256 * 1024

/** A path (or `file:` URL), bytes in memory, or a stream that is read once. */
export type UploadSource = string | URL | Uint8Array | AsyncIterable<Uint8Array>

/** Content that can be read, from the start each time when it is `replayable`. */
export interface Source {
  /** In bytes; undefined when it is not known beforehand. */
  readonly size: number | undefined
  readonly replayable: boolean
  /** @throws BytesClientError `source_failed` when it cannot be read or has another size */
  read(): AsyncIterable<Uint8Array>
  close(): Promise<void>
}

/**
 * @param size of a stream, when it is known
 * @throws BytesClientError `source_failed` when the file cannot be opened
 */
export async function openSource(source: UploadSource, size?: number): Promise<Source> {
  if (typeof source === 'string' || source instanceof URL) {
    const file = await openFile(source)
    if (file.size === undefined) {
      return stream(file.handle.createReadStream({ autoClose: false }), size, () => file.close())
    }
    const { size: length } = file
    return {
      size: length,
      replayable: true,
      read: () => file.read(0, length),
      close: () => file.close(),
    }
  }
  if (source instanceof Uint8Array) {
    return {
      size: source.byteLength,
      replayable: true,
      read: () => pieces(source),
      close: async () => undefined,
    }
  }
  return stream(source, size, async () => undefined)
}

/** An open file whose parts can be read. */
export interface SourceFile {
  readonly handle: FileHandle
  /** In bytes when it was opened; undefined for what is no regular file, such as a pipe. */
  readonly size: number | undefined
  /** The bytes from `start` up to `end`. @throws BytesClientError when it has become shorter */
  read(start: number, end: number): AsyncIterable<Uint8Array>
  /** @throws BytesClientError when the file was written to since it was opened */
  checkUnchanged(): Promise<void>
  close(): Promise<void>
}

/** @throws BytesClientError `source_failed` */
export async function openFile(path: string | URL): Promise<SourceFile> {
  const name = path instanceof URL ? path.href : path
  const failed = (error: unknown): BytesClientError =>
    new BytesClientError('source_failed', `${name} cannot be read: ${reasonOf(error)}`, {
      cause: error,
    })
  const changed = (): BytesClientError =>
    new BytesClientError('source_failed', `${name} was changed while it was read`)
  let handle: FileHandle
  try {
    handle = await open(path, 'r')
  } catch (error) {
    throw failed(error)
  }
  try {
    const before = await handle.stat({ bigint: true })
    if (before.isDirectory()) throw new Error('it is a directory')
    return {
      handle,
      size: before.isFile() ? Number(before.size) : undefined,
      async *read(start, end) {
        for (let at = start; at < end; ) {
          const buffer = Buffer.allocUnsafeSlow(Math.min(PIECE, end - at))
          const { bytesRead } = await handle.read(buffer, 0, buffer.length, at).catch((error) => {
            throw failed(error)
          })
          if (bytesRead === 0) throw changed()
          at += bytesRead
          yield buffer.subarray(0, bytesRead)
        }
      },
      async checkUnchanged() {
        const now = await handle.stat({ bigint: true })
        if (now.size !== before.size || now.mtimeNs !== before.mtimeNs) throw changed()
      },
      close: () => handle.close(),
    }
  } catch (error) {
    await handle.close()
    throw failed(error)
  }
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += PIECE) yield bytes.subarray(at, at + PIECE)
}

function stream(
  chunks: AsyncIterable<Uint8Array>,
  size: number | undefined,
  close: () => Promise<void>,
): Source {
  return { size, replayable: false, read: () => checked(chunks, size), close }
}

async function* checked(
  chunks: AsyncIterable<Uint8Array>,
  size: number | undefined,
): AsyncGenerator<Uint8Array> {
  let given = 0
  try {
    for await (const chunk of chunks) {
      if (!(chunk instanceof Uint8Array)) throw new TypeError('it gives something else than bytes')
      given += chunk.byteLength
      if (size !== undefined && given > size) throw new RangeError(`it has more than ${size} bytes`)
      if (chunk.byteLength > 0) yield chunk
    }
    if (size !== undefined && given < size) throw new RangeError(`it has ${given} of ${size} bytes`)
  } catch (error) {
    throw new BytesClientError('source_failed', `the source failed: ${reasonOf(error)}`, {
      cause: error,
    })
  }
}
