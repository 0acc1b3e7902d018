import { AsyncLocalStorage } from 'node:async_hooks'
import type { Uuid } from '../../domain/models.js'
import type { NewUpload, ResumableUpload } from '../../domain/resumable-upload.js'
import type { ExpectedDigest } from '../body-digest.js'

/** One request: what the package does not hand on to its store, and what the store does not hand back. */
export interface Exchange {
  /** Of a creation. */
  readonly description?: Omit<NewUpload, 'id' | 'size'> | undefined
  /** What the bytes of the request must hash to: else none of them count. */
  readonly digests: readonly ExpectedDigest[]
  /** The upload as it was found. */
  found?: ResumableUpload
  created?: Uuid
  /** Why the body could not be read to its end: the package tells only that it could not. */
  bodyFailure?: unknown
  /** Resolves, never rejects, when the bytes of the request are written or given up. */
  writing?: Promise<void>
  /** Why the bytes could not be kept: the package may take it for a body that ended early. */
  storeFailure?: unknown
  /** What the package was about to answer with a text of its own. */
  failure?: unknown
}

const exchanges = new AsyncLocalStorage<Exchange>()

export const runExchange = <T>(exchange: Exchange, action: () => Promise<T>): Promise<T> =>
  exchanges.run(exchange, action)

export function currentExchange(): Exchange {
  const exchange = exchanges.getStore()
  if (!exchange) throw new Error('the upload store was called outside of a request')
  return exchange
}
