import { createHash, randomUUID } from 'node:crypto'
import type { ReadStream } from 'node:fs'
import { open, readdir, rename, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { BytesError } from '../domain/errors.js'
import type { ContentDigest } from '../domain/models.js'
import type { BlobLocation, ByteSource, FileMiddleware, RawRepository } from '../domain/ports.js'
import { blobFolder } from './blob-path.js'
import { hasCode, makeDirectories, syncDirectory, writeFully } from './durable.js'
import { Folders } from './folders.js'
import { FULL, storageErrors } from './storage-errors.js'

export interface DiskRepositoryOptions {
  /** Everything is kept below this directory. */
  readonly dataDir: string
  readonly folderPermission: number
  readonly filePermission: number
  /** Writes new blobs. */
  readonly middleware: FileMiddleware
  /** Reads blobs, each by the middleware that wrote it. */
  readonly readers: readonly FileMiddleware[]
}

/** A temporary file that nobody has written to for so long belongs to a process that is dead. */
const ABANDONED_MS = 60 * 60 * 1000
/** Pieces in which stored bytes are read; a file of one piece takes no stream. */
const READ_SIZE = 256 * 1024

/**
 * Keeps blobs as files below a data directory. Clears away the temporary files of dead processes.
 * @throws BytesError `storage_unavailable` when the directory cannot be made or written
 */
export async function openDiskRepository(options: DiskRepositoryOptions): Promise<RawRepository> {
  const { dataDir, folderPermission, filePermission, middleware } = options
  const readers = new Map(options.readers.map((reader) => [reader.name, reader]))
  const temporary = join(dataDir, 'tmp')
  const folders = new Folders(dataDir, folderPermission)

  const createTemporary = (path: string) =>
    folders.within(temporary, () => open(path, 'wx', filePermission))

  /** Whether the umask takes something from the mode that is given to `open`. */
  let masked = true
  const umaskApplies = async (): Promise<boolean> => {
    const path = join(temporary, randomUUID())
    const handle = await createTemporary(path)
    try {
      return ((await handle.stat()).mode & 0o777) !== filePermission
    } finally {
      await handle.close()
      await rm(path, { force: true })
    }
  }

  const writeTemporary = async (path: string, content: ByteSource, digest: () => string) => {
    const hash = middleware.transparent ? undefined : createHash('sha512')
    let size = 0
    let storedSize = 0
    const counted = middleware.transparent ? content : counting(content, (n) => (size += n))
    const handle = await storageErrors(() => createTemporary(path))
    try {
      for await (const chunk of middleware.encode(counted)) {
        storedSize += chunk.length
        hash?.update(chunk)
        await storageErrors(() => writeFully(handle, chunk))
      }
      await storageErrors(async () => {
        if (masked) await handle.chmod(filePermission)
        await handle.sync()
      })
    } finally {
      await handle.close()
    }
    const contentDigest = digest()
    const address = hash ? hash.digest('hex') : contentDigest.slice(contentDigest.indexOf(':') + 1)
    return { address, size: hash ? size : storedSize, storedSize }
  }

  const fileOf = (blob: BlobLocation): string =>
    join(dataDir, blobFolder(blob.organization, blob.address), blob.address)

  await storageErrors(async () => {
    await makeDirectories(dataDir, folderPermission)
    await folders.ensure(temporary)
    await removeAbandoned(temporary)
    masked = await umaskApplies()
  })

  return {
    put: async (organization: string, content: ByteSource, digest: () => ContentDigest) => {
      const path = join(temporary, randomUUID())
      try {
        // Not inside `storageErrors`, as what the content throws may look like a system error.
        const written = await writeTemporary(path, content, digest)
        const folder = join(dataDir, blobFolder(organization, written.address))
        await storageErrors(() =>
          folders.within(folder, async () => {
            // Over a file that is there already, which heals one that was damaged.
            await rename(path, join(folder, written.address))
            await syncDirectory(folder)
          }),
        )
        return { organization, middleware: middleware.name, ...written }
      } catch (error) {
        // What put failed with says more than that the rest cannot be removed either.
        await rm(path, { force: true }).catch(() => undefined)
        throw error
      }
    },

    get: async (blob) => {
      const reader = readers.get(blob.middleware)
      if (!reader) {
        throw new BytesError(
          'blob_damaged',
          `it was written by ${blob.middleware}, which is unknown`,
        )
      }
      return storageErrors(async () => {
        const handle = await open(fileOf(blob), 'r').catch((error: unknown) => {
          if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw error
          throw new BytesError('blob_missing', 'its content is missing from storage', {
            cause: error,
          })
        })
        try {
          expectSize((await handle.stat()).size, blob)
          if (blob.storedSize > READ_SIZE) {
            const stored = handle.createReadStream({ highWaterMark: READ_SIZE })
            return closing(reader.decode(whole(stored, blob)), stored)
          }
          const stored = await handle.readFile()
          expectSize(stored.length, blob)
          expectDigest(stored, blob)
          await handle.close()
          return asAsync(reader.decode([stored]))
        } catch (error) {
          await handle.close()
          throw error
        }
      })
    },

    check: () =>
      storageErrors(async () => {
        const probe = join(temporary, randomUUID())
        try {
          const handle = await createTemporary(probe)
          try {
            // Names may still be free when no space is.
            await writeFully(handle, Buffer.from('a file that tells whether files can be written'))
            await handle.sync()
          } finally {
            await handle.close()
          }
        } finally {
          await rm(probe, { force: true })
        }
        const { bavail, bsize } = await statfs(dataDir)
        if (bavail === 0) throw new BytesError('storage_full', FULL)
        return { freeBytes: bavail * bsize }
      }),
  }
}

function expectSize(size: number, { storedSize }: BlobLocation): void {
  if (size === storedSize) return
  throw new BytesError(
    'blob_damaged',
    `its stored content is ${size} bytes long instead of ${storedSize}`,
  )
}

function expectDigest(stored: Uint8Array, { address }: BlobLocation): void {
  if (createHash('sha512').update(stored).digest('hex') === address) return
  throw new BytesError(
    'blob_damaged',
    'its stored content does not have the digest it is stored under',
  )
}

/** What a file holds; its size may change after it was opened. */
async function* whole(file: ReadStream, blob: BlobLocation): AsyncGenerator<Uint8Array> {
  let size = 0
  for await (const piece of file) {
    size += piece.length
    if (size > blob.storedSize) break
    yield piece
  }
  expectSize(size, blob)
}

/**
 * A source that tells failed reads as domain errors, and closes the file however its consumer ends, also one that ends before the first
 * piece: generators, streams' iterators among them, do nothing when they are returned so early.
 */
function closing(source: ByteSource, file: ReadStream): AsyncIterable<Uint8Array> {
  const pieces = async function* () {
    yield* source
  }
  return {
    [Symbol.asyncIterator]: () => {
      const iterator = pieces()
      return {
        next: () => storageErrors(() => iterator.next()),
        return: async () => {
          await iterator.return(undefined)
          await new Promise<void>((resolve) => {
            if (file.closed) resolve()
            else file.once('close', resolve).destroy()
          })
          return { done: true, value: undefined }
        },
      }
    },
  }
}

async function* asAsync(source: ByteSource): AsyncGenerator<Uint8Array> {
  yield* source
}

async function* counting(
  source: ByteSource,
  add: (bytes: number) => void,
): AsyncIterable<Uint8Array> {
  for await (const chunk of source) {
    add(chunk.length)
    yield chunk
  }
}

async function removeAbandoned(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    const age = await stat(path).then(
      (found) => Date.now() - found.mtimeMs,
      // Another instance finished with it in the meantime.
      () => 0,
    )
    if (age > ABANDONED_MS) await rm(path, { force: true })
  }
}
