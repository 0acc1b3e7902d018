import { BytesError } from '../domain/errors.js'
import { hasCode } from './durable.js'

/** The disk has no space left. */
export function storageFull(cause?: unknown): BytesError {
  return new BytesError('storage_full', 'there is no space left in storage', { cause })
}

/**
 * Failed system calls as domain errors; their messages would tell clients paths of the server.
 * @throws BytesError `storage_full`, `storage_unavailable`, or any other error of the action as it is
 */
export async function storageErrors<T>(action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (error instanceof BytesError || !isSystemError(error)) throw error
    if (hasCode(error, 'ENOSPC', 'EDQUOT', 'EFBIG')) throw storageFull(error)
    throw new BytesError('storage_unavailable', `storage failed (${error.code})`, { cause: error })
  }
}

function isSystemError(error: unknown): error is Error & { code: string } {
  return error instanceof Error && 'syscall' in error && 'code' in error
}
