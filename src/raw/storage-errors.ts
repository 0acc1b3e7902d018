import { BytesError } from '../domain/errors.js'
import { hasCode } from './durable.js'

/** What a client is told when nothing more can be written. */
export const FULL = 'there is no space left in storage'

/** Failed system calls as domain errors; their messages would tell clients paths of the server. */
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
