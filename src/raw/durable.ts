/** What it takes until a file and its name are on the disk: POSIX promises neither without fsync. */
import { constants } from 'node:fs'
import { chmod, type FileHandle, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'

export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Makes a directory with exactly this mode and fsyncs its name. The directory above must be there.
 * One that exists is left as it is, but its name is fsynced all the same: whoever made it may not
 * have got so far.
 */
export async function makeDirectory(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path)
    // mkdir's own mode is subject to the umask.
    await chmod(path, mode)
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
  }
  await syncDirectory(dirname(path))
}

/** Makes a directory and those above it that are missing, each as `makeDirectory` does. */
export async function makeDirectories(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path)
    await chmod(path, mode)
  } catch (error) {
    if (hasCode(error, 'ENOENT') && dirname(path) !== path) {
      await makeDirectories(dirname(path), mode)
      return makeDirectory(path, mode)
    }
    if (!hasCode(error, 'EEXIST')) throw error
  }
  // What is above may be closed to us, but then it is not we who made it or this.
  await syncDirectory(dirname(path)).catch((error: unknown) => {
    if (!hasCode(error, 'EACCES', 'EPERM')) throw error
  })
}

/**
 * Writes every byte: one `write` may take fewer than it was given.
 * @param position in the file; by default where the last write ended
 */
export async function writeFully(
  handle: FileHandle,
  chunk: Uint8Array,
  position?: number,
): Promise<void> {
  for (let offset = 0; offset < chunk.length; ) {
    const at = position === undefined ? null : position + offset
    const { bytesWritten } = await handle.write(chunk, offset, chunk.length - offset, at)
    offset += bytesWritten
  }
}

export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}
