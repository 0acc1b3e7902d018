/** What it takes until a file and its name are on the disk: POSIX promises neither without fsync. */
import { constants } from 'node:fs'
import { chmod, type FileHandle, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Most pieces that one `writev` takes (limits.h). */
const IOV_MAX = 1024

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
    // Never open to more than it will be, also when the next call fails or is never made.
    await mkdir(path, mode)
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
    await mkdir(path, mode)
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
 * Writes all bytes of the pieces: one system call may take fewer than it was given.
 * @param position in the file; by default where the last write ended
 */
export async function writeFully(
  handle: FileHandle,
  pieces: readonly Uint8Array[],
  position?: number,
): Promise<void> {
  let left = pieces.filter((piece) => piece.length > 0)
  let at = position
  while (left.length > 0) {
    let { bytesWritten } = await handle.writev(left.slice(0, IOV_MAX), at)
    if (at !== undefined) at += bytesWritten
    const written = left.findIndex((piece) => {
      if (piece.length > bytesWritten) return true
      bytesWritten -= piece.length
      return false
    })
    left = written === -1 ? [] : left.slice(written)
    if (left[0] && bytesWritten > 0) left[0] = left[0].subarray(bytesWritten)
  }
}

export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}
