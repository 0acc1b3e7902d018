/** Where a download goes to. */
import { constants, type Stats } from 'node:fs'
import { lstat, realpath, stat } from 'node:fs/promises'
import { Writable } from 'node:stream'
import { BytesClientError } from './errors.js'
import { fileTarget } from './file-target.js'
import { holdingBack } from './hold-back.js'
import { closePipe, openHandle, openPipe, pathOfUrl } from './opening.js'
import { attempt, type Target, writeAll } from './sink.js'

/** A path (or `file:` URL), or a stream, which is written to and not closed. */
export type DownloadTarget = string | URL | WritableStream<Uint8Array> | Writable

/**
 * @param overwrite false: a regular file that is there is left as it is
 * @throws BytesClientError `target_failed`; `target_exists`; `invalid_argument` for no target
 */
export async function openTarget(
  target: DownloadTarget,
  overwrite: boolean,
  signal: AbortSignal | undefined,
): Promise<Target> {
  if (target instanceof Writable) return holdingBack(nodeTarget(target), signal)
  if (target instanceof WritableStream) return holdingBack(webTarget(target), signal)
  if (target instanceof URL && target.protocol === 'file:') {
    return pathTarget(pathOfUrl(target), overwrite, signal)
  }
  if (typeof target === 'string' && target !== '') return pathTarget(target, overwrite, signal)
  throw new BytesClientError(
    'invalid_argument',
    'the target must be a path, a file: URL or a writable stream',
  )
}

function webTarget(stream: WritableStream<Uint8Array>): Target {
  if (stream.locked) {
    throw new BytesClientError('target_failed', 'the stream has a writer already')
  }
  const writer = stream.getWriter()
  return {
    write: (chunk) => attempt(writer.ready.then(() => writer.write(chunk))),
    commit: async () => undefined,
    close: async () => writer.releaseLock(),
  }
}

/** @param name for messages */
function nodeTarget(stream: Writable, name?: string): Target {
  // Every write tells its own failure.
  const ignore = (): void => undefined
  stream.on('error', ignore)
  const write = (chunk: Uint8Array): Promise<void> =>
    new Promise((resolve, reject) => {
      stream.write(chunk, (error) => (error ? reject(error) : resolve()))
    })
  return {
    write: (chunk) => attempt(write(chunk), name),
    commit: async () => undefined,
    close: async () => {
      if (stream.errored === null) stream.off('error', ignore)
    },
  }
}

/**
 * A regular file is replaced where it is, also behind a symbolic link, and keeps its mode. What is
 * no file is written into: its name must not be given to one.
 */
async function pathTarget(
  path: string,
  overwrite: boolean,
  signal: AbortSignal | undefined,
): Promise<Target> {
  const found = await attempt(statIfThere(path), path)
  if (found === undefined) return fileTarget(path, overwrite)
  if (found.isDirectory()) throw new BytesClientError('target_failed', `${path} is a directory`)
  if (found.isFIFO()) return holdingBack(await pipeTarget(path, signal), signal)
  if (!found.isFile()) return holdingBack(await deviceTarget(path, signal), signal)
  if (!overwrite) throw new BytesClientError('target_exists', `${path} is there already`)
  return fileTarget(await attempt(realpath(path), path), overwrite, found.mode & 0o777)
}

async function statIfThere(path: string): Promise<Stats | undefined> {
  const found = await stat(path).catch(ifMissing)
  if (found !== undefined) return found
  if ((await lstat(path).catch(ifMissing)) === undefined) return undefined
  throw new Error('it is a symbolic link to something that is not there')
}

function ifMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}

async function pipeTarget(path: string, signal: AbortSignal | undefined): Promise<Target> {
  const pipe = await attempt(openPipe(path, 'write', signal), path)
  return { ...nodeTarget(pipe, path), close: () => closePipe(pipe) }
}

/** To open a device may wait, such as for a line; so may to write to a terminal. */
async function deviceTarget(path: string, signal: AbortSignal | undefined): Promise<Target> {
  const handle = await attempt(openHandle(path, constants.O_WRONLY, signal), path)
  if ((await attempt(handle.stat(), path)).isFile()) {
    await handle.close()
    throw new BytesClientError('target_failed', `${path} was replaced meanwhile`)
  }
  return {
    write: (chunk) => attempt(writeAll(handle, chunk, null), path),
    commit: async () => undefined,
    close: async () => {
      const closed = attempt(handle.close(), path)
      if (signal?.aborted) closed.catch(() => undefined)
      else await closed
    },
  }
}
