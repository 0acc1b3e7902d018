import { createHash, randomUUID } from 'node:crypto'
import { type FileHandle, open, rename, rm, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import type { ContentDigest } from '../domain/models.js'
import type {
  BlobLocation,
  ByteSource,
  FileMiddleware,
  RawRepository,
  StagedBlob,
} from '../domain/ports.js'
import { blobFolder } from './blob-path.js'
import { syncDirectory, writeFully } from './durable.js'
import type { Folders } from './folders.js'
import type { FreeSpace } from './free-space.js'
import { InUse } from './in-use.js'
import { storageErrors } from './storage-errors.js'

export interface DiskWriterOptions {
  readonly dataDir: string
  /** Folder for files that have no name yet, on the same file system as the data directory. */
  readonly temporary: string
  readonly folders: Folders
  readonly filePermission: number
  /** Whether the umask takes something from the mode that is given to `open`. */
  readonly masked: boolean
  readonly middleware: FileMiddleware
  readonly space: FreeSpace
}

/** Pieces are collected up to this size for one write; as much again may be on its way to the disk. */
const WRITE_SIZE = 256 * 1024
/**
 * After so many bytes the file is synced while more is written: a disk that cannot keep up slows
 * the upload now, instead of all at once at its end.
 */
const SYNC_SIZE = 32 * 1024 * 1024
/** Files and folders that are worked on at the same time. */
const CONCURRENCY = 8
/** A file that was written so many milliseconds ago gets a new time when it gets its name. */
const FRESH_MS = 60_000

/** The writing side of a repository on disk. */
export function createDiskWriter(
  options: DiskWriterOptions,
): Pick<RawRepository, 'stage' | 'publish' | 'addressOf'> {
  const { dataDir, temporary, folders, filePermission, masked, middleware, space } = options
  const inUse = new InUse()
  const paths = new WeakMap<StagedBlob, { path: string; writtenAt: number }>()

  const writeTemporary = async (path: string, content: ByteSource, digest: () => ContentDigest) => {
    const hash = middleware.transparent ? undefined : createHash('sha512')
    const counted = { size: 0 }
    const plain = middleware.transparent ? content : counting(content, counted)
    const { stored, sealedKey } = middleware.encode(plain)
    const handle = await storageErrors(() =>
      folders.within(temporary, () => open(path, 'wx', filePermission)),
    )
    const file = new BatchedFile(handle, space)
    try {
      for await (const chunk of stored) {
        hash?.update(chunk)
        await file.write(chunk)
      }
      await file.end()
      await storageErrors(async () => {
        if (masked) await handle.chmod(filePermission)
        await handle.sync()
      })
    } finally {
      await file.settled()
      await storageErrors(() => handle.close())
    }
    const contentDigest = digest()
    const address = hash ? hash.digest('hex') : hexOf(contentDigest)
    const size = hash ? counted.size : file.size
    return { address, size, storedSize: file.size, sealedKey }
  }

  const folderOf = (organization: string, { address }: StagedBlob): string =>
    join(dataDir, blobFolder(organization, address))

  const nameAll = async (folder: string, staged: readonly StagedBlob[]): Promise<void> => {
    for (const blob of staged) {
      const temporaryFile = paths.get(blob)
      if (temporaryFile === undefined)
        throw new Error('a blob was published that is not staged here')
      const { path, writtenAt } = temporaryFile
      // An old one would be taken for one that nobody wants.
      if (performance.now() - writtenAt > FRESH_MS) await utimes(path, new Date(), new Date())
      // Over a file that is there already, which heals one that was damaged.
      await folders.within(folder, () => rename(path, join(folder, blob.address)))
      paths.delete(blob)
      inUse.delete(path)
    }
    await syncDirectory(folder)
  }

  return {
    stage: async (content, digest) => {
      const path = join(temporary, randomUUID())
      const remove = (): Promise<void> => {
        inUse.delete(path)
        return rm(path, { force: true }).catch(() => undefined)
      }
      inUse.add(path)
      try {
        const written = await writeTemporary(path, content, digest)
        const staged: StagedBlob = {
          ...written,
          middleware: middleware.name,
          discard: async () => {
            if (paths.delete(staged)) await remove()
          },
        }
        paths.set(staged, { path, writtenAt: performance.now() })
        return staged
      } catch (error) {
        await remove()
        throw error
      }
    },

    addressOf: (contentDigest) => (middleware.transparent ? hexOf(contentDigest) : null),

    publish: async (organization, staged) => {
      const byFolder = new Map<string, StagedBlob[]>()
      for (const blob of staged) {
        const folder = folderOf(organization, blob)
        byFolder.set(folder, [...(byFolder.get(folder) ?? []), blob])
      }
      const groups = [...byFolder]
      while (groups.length > 0) {
        const some = groups.splice(0, CONCURRENCY)
        const named = some.map(([folder, blobs]) => nameAll(folder, blobs))
        // All have come to an end before an error is told: the caller discards what is left.
        await storageErrors(async () => {
          for (const outcome of await Promise.allSettled(named)) {
            if (outcome.status === 'rejected') throw outcome.reason
          }
        })
      }
      return staged.map(({ discard: _, ...blob }): BlobLocation => ({ organization, ...blob }))
    },
  }
}

const hexOf = (digest: ContentDigest): string => digest.slice(digest.indexOf(':') + 1)

/** Writes pieces in batches, one of them on its way while the next is collected. */
class BatchedFile {
  /** Bytes that were given to it. */
  size = 0
  readonly #handle: FileHandle
  readonly #space: FreeSpace
  #batch: Uint8Array[] = []
  #batched = 0
  #unsynced = 0
  #writing: Promise<void> = Promise.resolve()
  #syncing: Promise<void> = Promise.resolve()

  constructor(handle: FileHandle, space: FreeSpace) {
    this.#handle = handle
    this.#space = space
  }

  /** Resolves when there is room for the next piece. @throws BytesError of an earlier batch as well */
  async write(chunk: Uint8Array): Promise<void> {
    this.#batch.push(chunk)
    this.#batched += chunk.length
    this.size += chunk.length
    if (this.#batched < WRITE_SIZE) return
    await this.#writing
    this.#flush()
    if (this.#unsynced < SYNC_SIZE) return
    this.#unsynced = 0
    await this.#syncing
    this.#syncing = storageErrors(() => this.#handle.datasync())
    this.#syncing.catch(() => undefined)
  }

  /** Resolves when everything is written. @throws BytesError */
  async end(): Promise<void> {
    await this.#writing
    this.#flush()
    await this.#writing
    await this.#syncing
  }

  /** Resolves when nothing is on its way any more, whatever came of it. */
  async settled(): Promise<void> {
    await Promise.allSettled([this.#writing, this.#syncing])
  }

  #flush(): void {
    const batch = this.#batch
    const bytes = this.#batched
    this.#batch = []
    this.#batched = 0
    this.#unsynced += bytes
    this.#writing = storageErrors(async () => {
      await this.#space.take(bytes)
      await writeFully(this.#handle, batch)
    })
    // Told by the next `write` or `end`.
    this.#writing.catch(() => undefined)
  }
}

async function* counting(source: ByteSource, count: { size: number }): AsyncIterable<Uint8Array> {
  for await (const chunk of source) {
    count.size += chunk.length
    yield chunk
  }
}
