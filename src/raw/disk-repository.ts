import { randomUUID } from 'node:crypto'
import type { Stats } from 'node:fs'
import { open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { BytesError } from '../domain/errors.js'
import type { FileMiddleware, RawRepository } from '../domain/ports.js'
import { shared } from '../domain/shared.js'
import { createDiskReader } from './disk-reader.js'
import { createDiskWriter } from './disk-writer.js'
import { hasCode, makeDirectories, writeFully } from './durable.js'
import { Folders } from './folders.js'
import { FreeSpace } from './free-space.js'
import { storageErrors } from './storage-errors.js'

export interface DiskRepositoryOptions {
  /** Everything is kept below this directory. */
  readonly dataDir: string
  readonly folderPermission: number
  readonly filePermission: number
  /** Bytes of the file system that stay free: uploads end before. */
  readonly reserveBytes: number
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
  const { dataDir, folderPermission, filePermission, reserveBytes, middleware } = options
  const temporary = join(dataDir, 'tmp')
  const folders = new Folders(dataDir, folderPermission)

  const createTemporary = (path: string) =>
    folders.within(temporary, () => open(path, 'wx', filePermission))

  /** A file as it is made here: its mode, and the time, by the clock of the file system. */
  const madeHere = async (): Promise<Stats> => {
    const path = join(temporary, randomUUID())
    const handle = await createTemporary(path)
    try {
      return await handle.stat()
    } finally {
      await handle.close()
      await rm(path, { force: true })
    }
  }

  const made = await storageErrors(async () => {
    await makeDirectories(dataDir, folderPermission)
    await folders.ensure(temporary)
    await folders.ensure(join(dataDir, 'blobs'))
    const first = await madeHere().catch(async (error: unknown) => {
      if (!hasCode(error, 'ENOSPC', 'EDQUOT')) throw error
      // It may be full of what dead processes have left.
      await removeAbandoned(temporary, Date.now())
      return madeHere()
    })
    await removeAbandoned(temporary, first.mtimeMs)
    return first
  })
  // Whether the umask takes something from the mode that is given to `open`.
  const masked = (made.mode & 0o777) !== filePermission
  const space = new FreeSpace(dataDir, reserveBytes)
  const writer = createDiskWriter({
    dataDir,
    temporary,
    folders,
    filePermission,
    masked,
    middleware,
    space,
  })

  const look = (): Promise<{ freeBytes: number }> =>
    storageErrors(async () => {
      const probe = join(temporary, randomUUID())
      try {
        const handle = await createTemporary(probe)
        try {
          // Names may still be free when no space is.
          await writeFully(handle, [Buffer.from('a file that tells whether files can be written')])
          await handle.sync()
        } finally {
          await handle.close()
        }
      } finally {
        await rm(probe, { force: true })
      }
      await expectBlobs(dataDir)
      await space.expect(0)
      return { freeBytes: await space.free() }
    })
  return {
    ...writer,

    ...createDiskReader(dataDir, options.readers),

    // One at a time: on a disk that stalls, looks would pile up before the calls of uploads.
    check: shared(look),

    ensureRoom: (bytes) => space.expect(bytes),
  }
}

/** @throws BytesError `storage_unavailable` when the folder of the blobs has gone since the start */
async function expectBlobs(dataDir: string): Promise<void> {
  try {
    await stat(join(dataDir, 'blobs'))
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
    const message = 'the folder of the blobs is gone: mount it, or put it back'
    throw new BytesError('storage_unavailable', message, { cause: error })
  }
}

/** @param now milliseconds since 1970, by the clock that the times of files are from */
async function removeAbandoned(folder: string, now: number): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    const age = await stat(path).then(
      // A folder is not ours: `bytes audit` tells of it.
      (found) => (found.isFile() ? now - found.mtimeMs : 0),
      // Another instance finished with it in the meantime.
      () => 0,
    )
    if (age > ABANDONED_MS) await rm(path, { force: true })
  }
}
