import { randomUUID } from 'node:crypto'
import { lstat, open, rm, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import type { AuditFiles, BlobFileBatch, BlobFileName, BlobPlace } from '../domain/audit.js'
import { BytesError } from '../domain/errors.js'
import { asideAddress, atAddressOrAside, putBack, setAside } from './aside.js'
import { blobFolder, organizationFolder, organizationOf } from './blob-path.js'
import { hasCode } from './durable.js'
import { HashThreads, hashHere } from './hash-threads.js'
import { entries, leftoverFiles } from './leftovers.js'
import { storageErrors } from './storage-errors.js'

/** Bytes of one read. */
const READ_SIZE = 256 * 1024
/** Stored bytes up to which a blob is hashed on this thread. */
const HASHED_HERE = 1024 * 1024
/** Names that are given at once. */
const BATCH = 500
const ADDRESS = /^[0-9a-f]{128}$/

/** The data directory as an audit reads it. Nothing is written before it is asked for. */
export function createAuditFiles(dataDir: string): AuditFiles {
  const threads = new HashThreads()
  const pathOf = ({ organization, address }: BlobPlace): string =>
    join(dataDir, blobFolder(organization, address), address)
  const absolute = (path: string): string => join(dataDir, path)

  /** Milliseconds since 1970, as the file system gives them to a new file. */
  const clock = async (): Promise<number> => {
    const path = join(dataDir, 'tmp', randomUUID())
    try {
      const handle = await open(path, 'wx', 0o600)
      try {
        return (await handle.stat()).mtimeMs
      } finally {
        await handle.close()
        await rm(path, { force: true })
      }
    } catch (error) {
      // Nothing can be written here, or no service has run yet. Of a store that may only be read, and
      // of a full disk, there is still much to tell.
      const codes = ['ENOENT', 'EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'EDQUOT']
      if (hasCode(error, ...codes)) return Date.now()
      throw error
    }
  }

  return {
    clock: () => storageErrors(clock),
    folderOf: organizationFolder,
    sizeOf: (place) =>
      storageErrors(async () => {
        try {
          return (await atAddressOrAside(pathOf(place), (path) => stat(path))).size
        } catch (error) {
          if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined
          throw error
        }
      }),
    verify: async (place, pace) => {
      const { storedSize, address } = place
      const handle = await storageErrors(() =>
        atAddressOrAside(pathOf(place), (path) => open(path, 'r')).catch((error: unknown) => {
          if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw error
          throw new BytesError('blob_missing', 'its content is missing from storage')
        }),
      )
      const hash = storedSize > HASHED_HERE ? threads.start() : hashHere()
      try {
        const buffer = Buffer.allocUnsafeSlow(Math.min(READ_SIZE, storedSize + 1))
        let size = 0
        for (;;) {
          const { bytesRead } = await storageErrors(() =>
            handle.read(buffer, 0, buffer.length, size),
          )
          if (bytesRead === 0) break
          size += bytesRead
          if (size > storedSize) break
          await hash.update(buffer.subarray(0, bytesRead))
          await pace?.(bytesRead)
        }
        if (size !== storedSize) {
          const length = size > storedSize ? 'longer' : 'shorter'
          throw new BytesError('blob_damaged', `its stored content is ${length} than it should be`)
        }
        if ((await hash.digest()) === address) return
        throw new BytesError(
          'blob_damaged',
          'its stored content does not have the digest it is stored under',
        )
      } finally {
        hash.drop()
        await handle.close()
      }
    },
    blobFiles: () => told(blobFiles(dataDir)),
    leftovers: (lifetimeMs) =>
      told(
        (async function* () {
          yield* leftoverFiles(dataDir, lifetimeMs, await clock())
        })(),
      ),
    changedAt: (path) =>
      storageErrors(() =>
        lstat(absolute(path)).then(
          ({ mtimeMs }) => mtimeMs,
          (error: unknown) => {
            if (hasCode(error, 'ENOENT')) return undefined
            throw error
          },
        ),
      ),
    setAside: (path) =>
      storageErrors(async () => {
        const aside = await setAside(absolute(path))
        return aside && relative(dataDir, aside)
      }),
    putBack: (path) => storageErrors(() => putBack(absolute(path))),
    discard: (path) => storageErrors(() => rm(absolute(path), { force: true })),
  }
}

/** `blobs/v1/<organization>/<2 hex digits>/<address>`, and everything that is not so. */
async function* blobFiles(dataDir: string): AsyncGenerator<BlobFileBatch> {
  for await (const top of foldersIn(dataDir, 'blobs', /^v1$/)) {
    if (typeof top !== 'string') yield top
    else {
      for await (const owner of foldersIn(dataDir, top, /^[a-z0-9_%A-F-]+$/)) {
        if (typeof owner !== 'string') yield owner
        else {
          for await (const folder of foldersIn(dataDir, owner, /^[0-9a-f]{2}$/)) {
            if (typeof folder !== 'string') yield folder
            else yield* filesIn(dataDir, owner, folder)
          }
        }
      }
    }
  }
}

/** The paths of the folders whose name has this form; all else is stray. */
async function* foldersIn(
  dataDir: string,
  folder: string,
  form: RegExp,
): AsyncGenerator<string | BlobFileBatch> {
  for await (const { name, isDirectory } of entries(join(dataDir, folder))) {
    const path = join(folder, name)
    if (isDirectory && form.test(name)) yield path
    else {
      const file: BlobFileName = { path, form: 'stray', address: null }
      yield { organizationFolder: null, organization: undefined, files: [file] }
    }
  }
}

async function* filesIn(
  dataDir: string,
  owner: string,
  folder: string,
): AsyncGenerator<BlobFileBatch> {
  const name = owner.slice(owner.lastIndexOf('/') + 1)
  const prefix = folder.slice(-2)
  const batch = (files: BlobFileName[]): BlobFileBatch => ({
    organizationFolder: name,
    organization: organizationOf(name),
    files,
  })
  let files: BlobFileName[] = []
  for await (const entry of entries(join(dataDir, folder))) {
    const path = join(folder, entry.name)
    const aside = asideAddress(entry.name)
    const address = aside ?? (ADDRESS.test(entry.name) ? entry.name : null)
    const ours = entry.isFile && address?.startsWith(prefix)
    if (ours) files.push({ path, form: aside === undefined ? 'blob' : 'aside', address })
    else files.push({ path, form: 'stray', address: null })
    if (files.length < BATCH) continue
    yield batch(files)
    files = []
  }
  if (files.length > 0) yield batch(files)
}

/** Failed system calls as domain errors. */
async function* told<T>(source: AsyncGenerator<T>): AsyncGenerator<T> {
  try {
    for (;;) {
      const { done, value } = await storageErrors(() => source.next())
      if (done) return
      yield value
    }
  } finally {
    await source.return(undefined)
  }
}
