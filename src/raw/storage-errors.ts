import { BytesError } from '../domain/errors.js'
import { hasCode } from './durable.js'

/** Told to clients when nothing more can be stored. */
export const FULL = 'there is no space left in storage'

/**
 * Runs an action whose failed system calls become domain errors; their own messages would tell
 * clients paths of the server.
 * @throws BytesError `storage_full` or `storage_unavailable` for a failed system call, and whatever
 *   else the action throws
 */
export async function storageErrors<T>(action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (error instanceof BytesError || !isSystemError(error)) throw error
    if (hasCode(error, 'ENOSPC', 'EDQUOT', 'EFBIG')) {
      throw new BytesError('storage_full', FULL, { cause: error })
    }
    throw new BytesError('storage_unavailable', `storage failed (${error.code})`, { cause: error })
  }
}

function isSystemError(error: unknown): error is Error & { code: string } {
  return error instanceof Error && 'syscall' in error && 'code' in error
}
