import { ERRORS, type Lock, type Locker } from '@tus/server'
import type { Exclusive, Release } from '../../flows/exclusive.js'
import { detail, RETRY_LATER } from '../problems.js'
import { currentExchange } from './exchange.js'

/** How long a request waits for another one that has the same upload, in milliseconds. */
const WAIT_MS = 10_000

/**
 * Locks for the package. Its own one in memory asks in each turn of the event loop whether a lock
 * is free again, which keeps a processor busy.
 */
export function createLocker(locks: Exclusive): Locker {
  return { newLock: (id) => newLock(locks, id) }
}

function newLock(locks: Exclusive, id: string): Lock {
  let release: Release | undefined
  return {
    lock: async (stop, askToLeave) => {
      const signal = AbortSignal.any([stop, AbortSignal.timeout(WAIT_MS)])
      release = await locks.acquire(id, () => void askToLeave(), signal)
      if (release) return
      if (stop.aborted) throw ERRORS.ABORTED
      throw detail(423, 'Another request uses this upload: try again', RETRY_LATER)
    },
    unlock: async () => {
      // The package gives up a write that fails before it has ended: what it still takes back must
      // not meet the bytes of the next request.
      await currentExchange().writing
      release?.()
    },
  }
}
