/** Reads the file of a bundle for yauzl, whose own reader throws where nobody can catch it. */
import { type FileHandle, open } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { fromRandomAccessReaderPromise, RandomAccessReader, type ZipFile } from 'yauzl'

/** Bytes that are read at once. */
const PIECE = 65_536

class BundleReader extends RandomAccessReader {
  readonly #file: FileHandle

  constructor(file: FileHandle) {
    super()
    this.#file = file
  }

  /** Not a stream of the file's own, which closes the file when it is destroyed. */
  override _readStreamForRange(start: number, end: number): Readable {
    return Readable.from(this.#pieces(start, end), { objectMode: false })
  }

  async *#pieces(start: number, end: number): AsyncGenerator<Buffer> {
    for (let at = start; at < end; ) {
      const bytes = Buffer.allocUnsafe(Math.min(PIECE, end - at))
      const { bytesRead } = await this.#file.read(bytes, 0, bytes.length, at)
      if (bytesRead === 0) return
      yield bytes.subarray(0, bytesRead)
      at += bytesRead
    }
  }

  /** Archives tell positions that there cannot be: those are errors, too. */
  override read(
    bytes: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null, bytesRead?: number) => void,
  ): void {
    this.#file.read(bytes, offset, length, position).then(
      ({ bytesRead }) => callback(null, bytesRead),
      (error: Error) => callback(error),
    )
  }

  override close(callback: (error: Error | null) => void): void {
    this.#file.close().then(() => callback(null), callback)
  }
}

/**
 * Opens an archive whose file is closed with it. Names in it are taken as they are.
 * @throws Error for a file that cannot be read, or is no zip archive
 */
export async function openArchive(path: string): Promise<ZipFile> {
  const file = await open(path)
  try {
    const { size } = await file.stat()
    return await fromRandomAccessReaderPromise(new BundleReader(file), size, {
      autoClose: false,
      strictFileNames: true,
      validateEntrySizes: true,
    })
  } catch (error) {
    await file.close()
    throw error
  }
}
