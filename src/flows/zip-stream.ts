/** Zip archives that are written as they are read: no entry is held, and none is compressed. */
import { PassThrough, Readable } from 'node:stream'
import { ZipFile } from 'yazl'

/** One file of an archive. */
export interface ZipEntry {
  /** Relative, with slashes. */
  readonly name: string
  readonly content: Uint8Array | LazyContent
}

/** A content that is opened when its turn has come. */
export interface LazyContent {
  /** In bytes: exactly as many must come. */
  readonly size: number
  open(): AsyncIterable<Uint8Array>
}

export interface ZipStream {
  /** Bytes of the archive. */
  readonly size: number
  /** What fails while an entry is read is thrown, and the archive ends there. */
  readonly pieces: AsyncIterable<Uint8Array>
}

/** Permissions of each file: a regular one, that its owner may write. */
const MODE = 0o100644

/**
 * Makes an archive. Large ones get the form that they need (zip64).
 * @param modified time that every file gets; 1970 at the earliest
 */
export function zipStream(entries: readonly ZipEntry[], modified: Date): ZipStream {
  return {
    // The archive that tells its size opens nothing, and nobody reads it.
    size: build(entries, modified, () => undefined).size,
    pieces: { [Symbol.asyncIterator]: () => read(entries, modified) },
  }
}

/** Gives the bytes of a content, which may be asked for before `build` returns. */
type Open = (content: LazyContent, output: PassThrough, give: (stream: Readable) => void) => void

function build(
  entries: readonly ZipEntry[],
  modified: Date,
  open: Open,
): { size: number; output: PassThrough } {
  // yazl throws at earlier ones, where nobody can catch it.
  const mtime = new Date(Math.max(0, modified.getTime()))
  const zip = new ZipFile()
  const output = zip.outputStream
  if (!(output instanceof PassThrough)) throw new Error('yazl writes to an unknown kind of stream')
  zip.on('error', (error: Error) => output.destroy(error))
  for (const { name, content } of entries) {
    const options = { mtime, mode: MODE, compress: false }
    if (content instanceof Uint8Array) {
      zip.addBuffer(Buffer.from(content.buffer, content.byteOffset, content.length), name, options)
    } else {
      const { size } = content
      zip.addReadStreamLazy(name, { ...options, size }, (give) =>
        open(content, output, (stream) => give(null, stream)),
      )
    }
  }
  let size = -1
  const told = (total: number): void => {
    size = total
  }
  // The types lack the parameter.
  zip.end({ forceZip64Format: false, comment: '' }, told as () => void)
  if (size < 0) throw new Error('the size of the archive is not known in advance')
  return { size, output }
}

async function* read(entries: readonly ZipEntry[], modified: Date): AsyncGenerator<Uint8Array> {
  let source: Readable | undefined
  const { output } = build(entries, modified, (content, to, give) => {
    if (to.destroyed) return
    source = Readable.from(content.open(), { objectMode: false })
    // A pipe passes on everything but errors.
    source.on('error', (error) => to.destroy(error))
    give(source)
  })
  try {
    yield* output
  } finally {
    output.destroy()
    source?.destroy()
  }
}
