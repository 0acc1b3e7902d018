/** Where a download goes to. */
import { randomBytes } from 'node:crypto'
import { access, type FileHandle, link, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { BytesClientError, reasonOf } from './errors.js'

/** A path (or `file:` URL), or a stream, which is written to and not closed. */
export type DownloadTarget = string | URL | WritableStream<Uint8Array> | Writable

/** Takes content in order. */
export interface Sink {
  /** @throws BytesClientError `target_failed` */
  write(chunk: Uint8Array): Promise<void>
  /** Forgets what was written; missing where that cannot be. */
  readonly restart?: () => Promise<void>
}

/** A sink that is made visible or thrown away at the end. */
export interface Target extends Sink {
  /** Call after all is written and found right. */
  commit(): Promise<void>
  /** Call in all cases, last. */
  close(): Promise<void>
}

const failed = (error: unknown): BytesClientError =>
  error instanceof BytesClientError
    ? error
    : new BytesClientError('target_failed', `the target failed: ${reasonOf(error)}`, {
        cause: error,
      })

const wrapped = <T>(promise: Promise<T>): Promise<T> =>
  promise.catch((error) => {
    throw failed(error)
  })

/**
 * @param overwrite false: a file that is there is left as it is
 * @throws BytesClientError `target_failed`
 */
export async function openTarget(target: DownloadTarget, overwrite: boolean): Promise<Target> {
  if (target instanceof Writable) return nodeTarget(target)
  if (typeof target === 'string') return fileTarget(target, overwrite)
  if (target instanceof URL) return fileTarget(fileURLToPath(target), overwrite)
  const writer = target.getWriter()
  return {
    write: (chunk) => wrapped(writer.ready.then(() => writer.write(chunk))),
    commit: async () => undefined,
    close: async () => writer.releaseLock(),
  }
}

function nodeTarget(stream: Writable): Target {
  // Every write tells its own failure.
  const ignore = (): void => undefined
  stream.on('error', ignore)
  return {
    write: (chunk) =>
      new Promise((resolve, reject) => {
        stream.write(chunk, (error) => (error ? reject(failed(error)) : resolve()))
      }),
    commit: async () => undefined,
    close: async () => {
      if (stream.errored === null) stream.off('error', ignore)
    },
  }
}

/** The file appears under its name when it is complete, and on the disk. */
async function fileTarget(path: string, overwrite: boolean): Promise<Target> {
  if (!overwrite) await wrapped(refuseExisting(path))
  const temporary = join(
    dirname(path),
    `.${basename(path).slice(0, 60)}.${randomBytes(6).toString('hex')}.part`,
  )
  const handle = await wrapped(open(temporary, 'wx'))
  let size = 0
  return {
    write: async (chunk) => {
      await wrapped(writeAll(handle, chunk, size))
      size += chunk.byteLength
    },
    restart: async () => {
      await wrapped(handle.truncate(0))
      size = 0
    },
    commit: () =>
      wrapped(
        (async () => {
          await handle.sync()
          await (overwrite ? rename(temporary, path) : linkNew(temporary, path))
          await syncFolder(dirname(path))
        })(),
      ),
    close: async () => {
      await handle.close()
      await rm(temporary, { force: true })
    },
  }
}

async function refuseExisting(path: string): Promise<void> {
  const there = await access(path).then(
    () => true,
    () => false,
  )
  if (there) throw new Error(`${path} is there already`)
}

/** Gives the file its name, unless another has it. */
async function linkNew(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'EEXIST') throw new Error(`${path} is there already`)
    // No links on this file system: then a file that appears just now is lost.
    await refuseExisting(path)
    await rename(temporary, path)
  }
}

async function writeAll(handle: FileHandle, chunk: Uint8Array, start: number): Promise<void> {
  for (let at = 0; at < chunk.byteLength; ) {
    at += (await handle.write(chunk, at, chunk.byteLength - at, start + at)).bytesWritten
  }
}

/** Some systems cannot open a folder. Then the name is as durable as they make it. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined)
  await handle?.sync().catch(() => undefined)
  await handle?.close()
}
