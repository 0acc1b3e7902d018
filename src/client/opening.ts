/** How files are opened that may keep whoever opens them waiting. */
import { close, constants, fstat, open as openDescriptor } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { invalid } from './arguments.js'
import { orAborted, reasonOf } from './errors.js'
import { pauseByClock } from './retry.js'

/** How often it looks whether somebody reads a pipe, in milliseconds. */
const LOOKING_MS = 50

/** A file. One that opens after the signal has aborted is closed. @throws BytesClientError `aborted` */
export async function openHandle(
  path: string,
  flags: number,
  signal: AbortSignal | undefined,
): Promise<FileHandle> {
  const opening = open(path, flags)
  try {
    return await orAborted(opening, signal)
  } catch (error) {
    opening.then((handle) => handle.close()).catch(() => undefined)
    throw error
  }
}

/** The path of a `file:` URL. @throws BytesClientError `invalid_argument` when it has none */
export function pathOfUrl(url: URL): string {
  try {
    return fileURLToPath(url)
  } catch (error) {
    // Of another scheme or host, or with a slash in a name.
    throw invalid(`the URL is not that of a file: ${reasonOf(error)}`, error)
  }
}

/** Whether it is a pipe that has a name, or a link to one. */
export async function isPipe(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFIFO() === true
}

/**
 * A pipe that has a name. No thread waits in the system for its other end: one could not be called
 * back. To be written, it opens when somebody reads it. Its errors are told by what is done with it.
 * @throws BytesClientError `aborted`
 */
export async function openPipe(
  path: string,
  to: 'read' | 'write',
  signal: AbortSignal | undefined,
): Promise<Socket> {
  const flags = (to === 'read' ? constants.O_RDONLY : constants.O_WRONLY) | constants.O_NONBLOCK
  const fd = await whenRead(path, flags, signal)
  try {
    if (!(await promisify(fstat)(fd)).isFIFO()) throw new Error('it was replaced meanwhile')
    const pipe = new Socket({ fd, readable: to === 'read', writable: to === 'write' })
    return pipe.on('error', () => undefined)
  } catch (error) {
    await promisify(close)(fd)
    throw error
  }
}

async function whenRead(
  path: string,
  flags: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  for (;;) {
    try {
      return await promisify(openDescriptor)(path, flags)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENXIO')) throw error
      await pauseByClock(LOOKING_MS, signal)
    }
  }
}

/** Closes a pipe, whatever is under way. */
export async function closePipe(pipe: Socket): Promise<void> {
  if (pipe.closed) return
  await new Promise<void>((resolve) => {
    pipe.once('close', () => resolve())
    pipe.destroy()
  })
}
