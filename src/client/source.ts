/** What an upload reads from: a file, bytes, or a stream. */
import { once } from 'node:events'
import { constants } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { BytesClientError, orAborted, reasonOf } from './errors.js'
import { closePipe, isPipe, openHandle, openPipe, pathOfUrl } from './opening.js'

/** Bytes read at once, and handed to the network at once. */
const PIECE = 256 * 1024

/** A path (or `file:` URL), bytes in memory, a Blob, or a stream that is read once. */
export type UploadSource = string | URL | Uint8Array | Blob | AsyncIterable<Uint8Array>

/** Content that can be read, from the start each time when it is `replayable`. */
export interface Source {
  /** In bytes; undefined when it is not known beforehand. */
  readonly size: number | undefined
  readonly replayable: boolean
  /** @throws BytesClientError `source_failed` when it cannot be read or has another size */
  read(): AsyncIterable<Uint8Array>
  close(): Promise<void>
}

const nothing = async (): Promise<void> => undefined

/**
 * @param size of a stream, when it is known
 * @throws BytesClientError `source_failed` when the file cannot be opened, `invalid_argument` for
 * something that is no source
 */
export async function openSource(
  source: UploadSource,
  size?: number,
  signal?: AbortSignal,
): Promise<Source> {
  if (typeof source === 'string' || source instanceof URL) {
    const name = pathOf(source)
    if (await isPipe(name)) return piped(name, size, signal)
    const file = await openFile(source, signal)
    return file.size === undefined ? unsized(file, size) : sized(file, file.size)
  }
  if (source instanceof Uint8Array) {
    const read = (): AsyncIterable<Uint8Array> => pieces(source)
    return { size: source.byteLength, replayable: true, read, close: nothing }
  }
  if (source instanceof Blob) {
    const read = (): AsyncIterable<Uint8Array> => checked(source.stream(), source.size)
    return { size: source.size, replayable: true, read, close: nothing }
  }
  if (typeof source === 'object' && source !== null && Symbol.asyncIterator in source) {
    return { size, replayable: false, read: () => checked(source, size), close: nothing }
  }
  throw new BytesClientError(
    'invalid_argument',
    'source must be a path, a file: URL, a Uint8Array, a Blob or an async iterable of Uint8Array',
  )
}

function sized(file: SourceFile, size: number): Source {
  return {
    size,
    replayable: true,
    read: () => file.read(0, size),
    close: () => file.close(),
  }
}

/** A pipe that has a name. Nothing is begun before something comes, or its end. */
async function piped(
  name: string,
  size: number | undefined,
  signal: AbortSignal | undefined,
): Promise<Source> {
  const pipe = await openPipe(name, 'read', signal).catch((error) => {
    throw failed(name, error)
  })
  try {
    await orAborted(once(pipe, 'readable'), signal)
  } catch (error) {
    await closePipe(pipe)
    throw failed(name, error)
  }
  return {
    size,
    replayable: false,
    read: () => checked(pipe, size),
    close: () => closePipe(pipe),
  }
}

/** A device, or a file that tells no size: read to its end. */
function unsized(file: SourceFile, size: number | undefined): Source {
  const chunks = file.handle.createReadStream({ autoClose: false, highWaterMark: PIECE })
  return {
    size,
    replayable: false,
    read: () => checked(chunks, size),
    close: async () => {
      const reading = !chunks.readableEnded
      chunks.destroy()
      const closed = file.close()
      // A read from a terminal at which nobody types would be waited for.
      if (reading) closed.catch(() => undefined)
      else await closed
    },
  }
}

/** An open file whose parts can be read. */
export interface SourceFile {
  readonly handle: FileHandle
  /** In bytes when it was opened; undefined for what tells none, such as a pipe or `/proc/cpuinfo`. */
  readonly size: number | undefined
  /**
   * The bytes from `start` up to `end`.
   * @throws BytesClientError `source_failed`; before the last piece also when the file was changed
   * since it was opened, so that no upload of a changed file is complete
   */
  read(start: number, end: number): AsyncIterable<Uint8Array>
  close(): Promise<void>
}

/** @throws BytesClientError `source_failed`; `invalid_argument` for a URL of something else */
export async function openFile(path: string | URL, signal?: AbortSignal): Promise<SourceFile> {
  const name = pathOf(path)
  if (await isPipe(name)) throw failed(name, new Error('it is a pipe, and no regular file'))
  const changed = (): BytesClientError =>
    new BytesClientError('source_failed', `${name} was changed while it was read`)
  const fail = (error: unknown): never => {
    throw failed(name, error)
  }
  const handle = await openHandle(name, constants.O_RDONLY, signal).catch(fail)
  try {
    const before = await handle.stat({ bigint: true })
    if (before.isDirectory()) throw new Error('it is a directory')
    const size = before.isFile() ? await sizeOf(handle, Number(before.size)) : undefined
    return {
      handle,
      size,
      async *read(start, end) {
        for (let at = start; at < end; ) {
          const buffer = Buffer.allocUnsafeSlow(Math.min(PIECE, end - at))
          const { bytesRead } = await handle.read(buffer, 0, buffer.length, at).catch(fail)
          if (bytesRead === 0) throw changed()
          at += bytesRead
          if (at === size) {
            const now = await handle.stat({ bigint: true }).catch(fail)
            if (now.size !== before.size || now.mtimeNs !== before.mtimeNs) throw changed()
          }
          yield buffer.subarray(0, bytesRead)
        }
      },
      close: () => handle.close().catch(fail),
    }
  } catch (error) {
    await handle.close()
    throw failed(name, error)
  }
}

function failed(name: string, error: unknown): BytesClientError {
  if (error instanceof BytesClientError) return error
  return new BytesClientError('source_failed', `${name} cannot be read: ${reasonOf(error)}`, {
    cause: error,
  })
}

function pathOf(path: string | URL): string {
  if (typeof path === 'string' && path !== '') return path
  if (path instanceof URL && path.protocol === 'file:') return pathOfUrl(path)
  throw new BytesClientError('invalid_argument', 'the file must be a path or a file: URL')
}

/** Files of the kernel say that they are empty, and are not: these have no size. */
async function sizeOf(handle: FileHandle, told: number): Promise<number | undefined> {
  if (told > 0) return told
  const { bytesRead } = await handle.read(Buffer.alloc(1), 0, 1, 0)
  return bytesRead === 0 ? 0 : undefined
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += PIECE) yield bytes.subarray(at, at + PIECE)
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
