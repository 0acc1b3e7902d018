import { BytesError } from '../domain/errors.js'
import { translated } from './sqlstate.js'

const ATTEMPTS = 5

/**
 * Runs a statement or a transaction, and again when Postgres has ended it because of a concurrent
 * one: of several that wait for each other's rows it ends one.
 * @param passes whether another failure is one that may not come again
 * @throws what `translated` throws, of the last attempt
 */
export async function repeated<T>(
  run: () => Promise<T>,
  passes: (error: BytesError) => boolean = () => false,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await translated(run)
    } catch (error) {
      const again =
        error instanceof BytesError && (error.code === 'database_conflict' || passes(error))
      if (!again || attempt === ATTEMPTS) throw error
    }
  }
}
