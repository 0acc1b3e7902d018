import { BytesError } from '../domain/errors.js'
import type { Uuid } from '../domain/models.js'
import type { ByteSource, Log } from '../domain/ports.js'
import type { NewUpload, ResumableUpload, UploadStore } from '../domain/resumable-upload.js'
import { shared } from '../domain/shared.js'
import { Exclusive } from './exclusive.js'

/** A file that is stored for a job. */
export interface IncomingFile {
  readonly name: string
  readonly tags: readonly string[]
  readonly content: ByteSource
}

export interface ResumablePorts {
  readonly store: UploadStore
  readonly jobExists: (id: Uuid) => Promise<boolean>
  /** @throws BytesError `storage_full` when so many bytes will not fit */
  readonly ensureRoom: (bytes: number) => Promise<void>
  /** Stores a file of a job durably, once for each set of MIME types. @returns the raw file's id */
  readonly ingestFile: (boefjeMetaId: Uuid, file: IncomingFile) => Promise<Uuid>
  /** Told of what cannot be removed. */
  readonly log: Pick<Log, 'error'>
}

export interface ResumableLimits {
  /** Milliseconds from the creation of an upload until it expires. */
  readonly lifetimeMs: number
  /** Most that may be unfinished at the same time, give or take those that begin at one moment. */
  readonly unfinished: number
}

type Inspect = (content: AsyncIterable<Uint8Array>, upload: ResumableUpload) => ByteSource

/** Uploads that come in parts, over several connections and restarts. */
export interface ResumableUploads {
  /** Who reads or writes an upload. */
  readonly locks: Exclusive
  /** Milliseconds from its creation to its end. */
  readonly lifetimeMs: number
  /** @throws BytesError `boefje_meta_not_found`, `storage_full`, `storage_unavailable`, `busy` */
  create(upload: NewUpload): Promise<void>
  find(id: Uuid): Promise<ResumableUpload | undefined>
  /** See `UploadStore.append`. */
  append(id: Uuid, offset: number, chunk: ByteSource, confirm?: () => void): Promise<number>
  /**
   * Stores the file of an upload that has all its bytes; may be repeated, also at the same time.
   * When it fails the upload stays.
   * @param inspect passes the content of the upload on, and may refuse it
   * @returns the raw file's id; undefined when there is no such upload
   * @throws BytesError what `ingestFile` throws, such as `boefje_meta_not_found`; and what
   *   `inspect` throws
   */
  finish(id: Uuid, inspect: Inspect): Promise<Uuid | undefined>
  /** @returns false when there is no such upload */
  remove(id: Uuid): Promise<boolean>
  /**
   * Removes what has expired. What cannot be looked at or removed is left, and logged.
   * @returns how many uploads
   */
  sweep(): Promise<number>
}

/** An upload that has changed so lately is left alone: another instance may be writing to it. */
const IN_USE_MS = 10 * 60 * 1000

/** How often unfinished uploads are counted at most, while nothing is heard of one that has ended. */
const RECOUNT_MS = 1000

export function createResumableUploads(
  { store, jobExists, ensureRoom, ingestFile, log }: ResumablePorts,
  { lifetimeMs, unfinished: most }: ResumableLimits,
): ResumableUploads {
  const locks = new Exclusive()
  const finishing = new Map<Uuid, Promise<Uuid | undefined>>()

  /** Not more than so many are unfinished, but for those of other instances: until it is too many, nobody counts. */
  let unfinished = most
  let countedAt = Number.NEGATIVE_INFINITY
  const count = shared(async (): Promise<void> => {
    unfinished = await store.countUnfinished()
    countedAt = performance.now()
  })
  const expectPlace = async (): Promise<void> => {
    if (unfinished >= most && performance.now() - countedAt > RECOUNT_MS) await count()
    if (unfinished < most) return
    throw new BytesError(
      'busy',
      `there are ${most} unfinished uploads (BYTES_MAX_RESUMABLE_UPLOADS): finish or delete some`,
    )
  }
  const oneHasEnded = (): void => {
    countedAt = Number.NEGATIVE_INFINITY
  }

  const ingestOnce = async (id: Uuid, inspect: Inspect): Promise<Uuid | undefined> => {
    const upload = await store.find(id)
    if (!upload || upload.rawId !== null) return upload?.rawId ?? undefined
    const { boefjeMetaId, name, tags } = upload
    const content = inspect(store.read(upload), upload)
    const rawId = await ingestFile(boefjeMetaId, { name, tags, content })
    // A crash before this is done repeats the ingest, which then finds the same raw file.
    await store.finish(upload, rawId)
    oneHasEnded()
    return rawId
  }

  const expired = async (id: Uuid, changedAt: number): Promise<boolean> => {
    const now = Date.now()
    if (changedAt > now - IN_USE_MS) return false
    // One that cannot be read is as old as its last change; what is wrong is told by the removal.
    const upload = await store.find(id).catch(() => undefined)
    return (upload?.createdAt ?? changedAt) <= now - lifetimeMs
  }

  return {
    locks,
    lifetimeMs,
    create: async (upload) => {
      if (!(await jobExists(upload.boefjeMetaId))) {
        throw new BytesError('boefje_meta_not_found', 'Boefje meta not found')
      }
      // Once as an upload, and once more while it becomes a blob.
      await ensureRoom(2 * upload.size)
      await expectPlace()
      unfinished++
      await store.create(upload)
    },
    find: (id) => store.find(id),
    append: (id, offset, chunk, confirm) => store.append(id, offset, chunk, confirm),
    finish: (id, inspect) => {
      const running = finishing.get(id)
      if (running) return running
      const started = ingestOnce(id, inspect).finally(() => finishing.delete(id))
      finishing.set(id, started)
      return started
    },
    remove: async (id) => {
      await finishing.get(id)?.catch(() => undefined)
      const removed = await store.remove(id)
      oneHasEnded()
      return removed
    },
    sweep: async () => {
      let removed = 0
      for (const { id, changedAt } of await store.list()) {
        const release = finishing.has(id) ? undefined : locks.tryAcquire(id)
        if (!release) continue
        try {
          if ((await expired(id, changedAt)) && (await store.remove(id))) removed++
        } catch (error) {
          // The others must not stay for it.
          log.error({ err: error, upload: id }, 'an upload could not be looked at or removed')
        } finally {
          release()
        }
      }
      return removed
    },
  }
}
