import { createHash, randomUUID } from 'node:crypto'
import { open, readdir, rename, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { ContentDigest } from '../domain/models.js'
import type { ByteSource, FileMiddleware, RawRepository } from '../domain/ports.js'
import { blobFolder } from './blob-path.js'
import { createDiskReader } from './disk-reader.js'
import { makeDirectories, syncDirectory, writeFully } from './durable.js'
import { Folders } from './folders.js'
import { storageErrors, storageFull } from './storage-errors.js'

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

/**
 * Keeps blobs as files below a data directory. Clears away the temporary files of dead processes.
 * @throws BytesError `storage_unavailable` when the directory cannot be made or written
 */
export async function openDiskRepository(options: DiskRepositoryOptions): Promise<RawRepository> {
  const { dataDir, folderPermission, filePermission, middleware } = options
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

    get: createDiskReader(dataDir, options.readers),

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
        if (bavail === 0) throw storageFull()
        return { freeBytes: bavail * bsize }
      }),
  }
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
