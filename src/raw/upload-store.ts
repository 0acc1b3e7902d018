import {
  type FileHandle,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  unlink,
} from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { BytesError } from '../domain/errors.js'
import type { Uuid } from '../domain/models.js'
import type { UploadStore } from '../domain/resumable-upload.js'
import { hasCode, writeFully } from './durable.js'
import { Folders } from './folders.js'
import { FreeSpace } from './free-space.js'
import { storageErrors } from './storage-errors.js'
import { anew, type UploadCipher } from './upload-cipher.js'

export interface UploadStoreOptions {
  /** Uploads are kept in the folder `uploads` of this directory, which exists. */
  readonly dataDir: string
  readonly folderPermission: number
  readonly filePermission: number
  /** Bytes of the file system that stay free. */
  readonly reserveBytes: number
  readonly cipher: UploadCipher
  /** Whether new uploads are written with the cipher. */
  readonly ciphered: boolean
}

/** Pieces in which a complete upload is read. */
const READ_SIZE = 256 * 1024

const FILE_NAME = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?:data|json|json\.new)$/

/** What is kept of an upload beside its bytes, as JSON. */
const recordSchema = z.object({
  size: z.number(),
  boefjeMetaId: z.string(),
  name: z.string(),
  tags: z.array(z.string()),
  metadata: z.string(),
  // Missing in records from before it was kept.
  reprDigest: z.string().nullable().default(null),
  createdAt: z.number(),
  rawId: z.string().nullable(),
  /** Of the cipher that the bytes are written with; null for none. */
  cipherId: z.string().nullable().default(null),
  /** Of the cipher: one more after each chunk that was taken back. */
  streams: z.array(z.object({ from: z.number(), nonce: z.string() })).default([]),
  /** Where a chunk begins that is not confirmed yet: what is behind it does not count. */
  uncheckedFrom: z.number().nullable(),
})
type UploadRecord = z.output<typeof recordSchema>

/** A chunk that is being written. */
interface Chunk {
  readonly handle: FileHandle
  readonly record: UploadRecord
}

/**
 * Keeps uploads as two files each: `<id>.data` with the bytes and `<id>.json` with the rest. The
 * offset is the size of the first, so that it is right however the process ends. Nothing is
 * fsynced: an upload that a power failure shortens goes on from where it then ends.
 */
export async function openUploadStore(options: UploadStoreOptions): Promise<UploadStore> {
  const directory = join(options.dataDir, 'uploads')
  const folders = new Folders(options.dataDir, options.folderPermission)
  const space = new FreeSpace(options.dataDir, options.reserveBytes)
  const { cipher, ciphered } = options
  await storageErrors(() => folders.ensure(directory))

  const dataOf = (id: Uuid): string => join(directory, `${id}.data`)
  const recordOf = (id: Uuid): string => join(directory, `${id}.json`)

  const writeFile = (path: string, flag: 'w' | 'wx', content: Uint8Array): Promise<void> =>
    folders.within(directory, async () => {
      const handle = await open(path, flag, options.filePermission)
      try {
        // open's own mode is subject to the umask.
        await handle.chmod(options.filePermission)
        await writeFully(handle, [content])
      } finally {
        await handle.close()
      }
    })

  const putRecord = async (id: Uuid, record: UploadRecord): Promise<void> => {
    const path = `${recordOf(id)}.new`
    await writeFile(path, 'w', Buffer.from(JSON.stringify(record)))
    await rename(path, recordOf(id))
  }

  /** Undefined too for one that a power failure has left damaged, or that has another cipher. */
  const readRecord = async (id: Uuid): Promise<UploadRecord | undefined> => {
    const text = await readFile(recordOf(id), 'utf8').catch(absent)
    const record = text === undefined ? undefined : recordSchema.safeParse(parsed(text)).data
    // Of one that is complete there are no bytes to be read.
    const readable = !record?.cipherId || record.rawId !== null || record.cipherId === cipher.id
    return readable ? record : undefined
  }

  /** What turns the bytes of an upload from `offset` on into stored ones, and back. */
  const turningAt = (id: Uuid, { cipherId, streams }: UploadRecord, offset: number) =>
    cipherId === null ? (piece: Uint8Array) => piece : cipher.at(id, streams, offset)

  /** Drops the bytes of a chunk that does not count. @returns the record for what takes their place */
  const takeBack = async (handle: FileHandle, record: UploadRecord, offset: number) => {
    await handle.truncate(offset)
    return { ...record, streams: anew(record.streams, offset) }
  }

  /** Opens the bytes for a chunk, and drops what an unconfirmed one has left behind. */
  const beginChunk = async (id: Uuid, offset: number, checked: boolean): Promise<Chunk> => {
    const found = await readRecord(id)
    if (!found) throw new Error('an upload is written to that has no record')
    const handle = await open(dataOf(id), 'r+')
    try {
      const unconfirmed = found.uncheckedFrom !== null
      const before = unconfirmed ? await takeBack(handle, found, offset) : found
      const record = { ...before, uncheckedFrom: checked ? offset : null }
      if (unconfirmed || checked) await putRecord(id, record)
      return { handle, record }
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  const unmark = (id: Uuid, record: UploadRecord): Promise<void> =>
    storageErrors(() => putRecord(id, { ...record, uncheckedFrom: null }))

  const discard = async (id: Uuid, { handle, record }: Chunk, offset: number): Promise<void> =>
    unmark(id, await takeBack(handle, record, offset))

  return {
    create: ({ id, ...upload }) =>
      storageErrors(async () => {
        await writeFile(dataOf(id), 'wx', Buffer.alloc(0))
        const tags = [...upload.tags]
        const createdAt = Date.now()
        const fresh = {
          createdAt,
          rawId: null,
          cipherId: ciphered ? cipher.id : null,
          streams: [],
          uncheckedFrom: null,
        }
        await putRecord(id, { ...upload, tags, ...fresh })
      }),

    find: (id) =>
      storageErrors(async () => {
        const record = await readRecord(id)
        if (!record) return undefined
        const { uncheckedFrom, cipherId: _, streams: __, ...upload } = record
        if (upload.rawId !== null) return { id, ...upload, offset: upload.size }
        const received = await stat(dataOf(id)).catch(absent)
        if (!received) return undefined
        return { id, ...upload, offset: Math.min(received.size, uncheckedFrom ?? Infinity) }
      }),

    append: async (id, offset, chunk, confirm) => {
      const checked = confirm !== undefined
      let file: Chunk | undefined
      let turn = (piece: Uint8Array): Uint8Array => piece
      let end = offset
      try {
        for await (const piece of chunk) {
          if (!file) {
            file = await storageErrors(() => beginChunk(id, offset, checked))
            turn = turningAt(id, file.record, offset)
          }
          const { handle } = file
          const at = end
          await space.take(piece.length)
          await storageErrors(() => writeFully(handle, [turn(piece)], at))
          end += piece.length
        }
        confirm?.()
        if (file && checked) await unmark(id, file.record)
        return end
      } catch (error) {
        // When this fails as well, the mark in the record stays, and the bytes do not count either.
        if (file && checked) await discard(id, file, offset).catch(() => undefined)
        throw error
      } finally {
        await storageErrors(async () => file?.handle.close())
      }
    },

    read: async function* ({ id, size }) {
      const record = await storageErrors(() => readRecord(id))
      if (!record) throw new BytesError('storage_unavailable', 'the upload is gone')
      const turn = turningAt(id, record, 0)
      for await (const piece of pieces(dataOf(id), size)) yield turn(piece)
    },

    finish: ({ id }, rawId) =>
      storageErrors(async () => {
        const record = await readRecord(id)
        if (!record) return
        await putRecord(id, { ...record, rawId })
        await rm(dataOf(id), { force: true })
      }),

    remove: (id) =>
      storageErrors(async () => {
        // The record first: without it there is no upload, and what remains is found by `list`.
        const found = await unlink(recordOf(id)).then(() => true, absent)
        await rm(`${recordOf(id)}.new`, { force: true })
        await rm(dataOf(id), { force: true })
        return found === true
      }),

    countUnfinished: () =>
      storageErrors(async () => {
        const names = (await readdir(directory).catch(absent)) ?? []
        return names.filter((name) => name.endsWith('.data')).length
      }),

    list: () =>
      storageErrors(async () => {
        const changes = new Map<Uuid, number>()
        for (const name of (await readdir(directory).catch(absent)) ?? []) {
          const id = FILE_NAME.exec(name)?.[1]
          const found = id && (await stat(join(directory, name)).catch(absent))
          if (id && found) changes.set(id, Math.max(changes.get(id) ?? 0, found.mtimeMs))
        }
        return [...changes].map(([id, changedAt]) => ({ id, changedAt }))
      }),
  }
}

/** For `catch`: undefined when there is no such file. */
function absent(error: unknown): undefined {
  if (!hasCode(error, 'ENOENT')) throw error
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

/** Opens the file when the first piece is asked for, and closes it however its consumer ends. */
async function* pieces(path: string, size: number): AsyncGenerator<Uint8Array> {
  const handle = await storageErrors(() => open(path, 'r'))
  try {
    let position = 0
    while (position < size) {
      const at = position
      const { buffer, bytesRead } = await storageErrors(() =>
        handle.read(Buffer.allocUnsafe(Math.min(READ_SIZE, size - at)), { position: at }),
      )
      if (bytesRead === 0) throw new BytesError('storage_unavailable', 'the upload was cut short')
      position += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  } finally {
    await storageErrors(() => handle.close())
  }
}
