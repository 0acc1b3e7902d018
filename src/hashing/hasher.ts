import { createHash } from 'node:crypto'
import { type Instant, pythonTimestamp } from '../domain/instant.js'

/** Algorithms that secure hashes can be made with. */
export type HashingAlgorithm = 'sha512' | 'sha224'

/** What `Hasher.finish` tells of a content. */
export interface ContentHashes {
  /** `sha512:` and the lower-case hex digest of the content. */
  readonly contentDigest: string
  /** Number of bytes. */
  readonly size: number
  /**
   * Algorithm, colon, and the lower-case hex digest of the content followed, without a separator,
   * by the ASCII text of `pythonTimestamp(endedAt)`.
   * @param endedAt end of the job that the content comes from
   * @throws RangeError when it does not have the form of an `Instant`
   */
  secureHash(endedAt: Instant): string
}

/** A hash in the making. */
export interface Hasher {
  /** Takes the next bytes of the content. @throws Error after `finish` */
  update(chunk: Uint8Array): void
  /** Call once, after the last byte. @throws Error when called again */
  finish(): ContentHashes
}

/** Begins to hash content that arrives in pieces. */
export function startHash(algorithm: HashingAlgorithm): Hasher {
  const content = createHash('sha512')
  const other = algorithm === 'sha512' ? undefined : createHash(algorithm)
  let size = 0
  return {
    update(chunk) {
      content.update(chunk)
      other?.update(chunk)
      size += chunk.byteLength
    },
    finish() {
      // The copy spares hashing the content twice.
      const secure = other ?? content.copy()
      return {
        contentDigest: `sha512:${content.digest('hex')}`,
        size,
        secureHash: (endedAt) => {
          const time = pythonTimestamp(endedAt)
          return `${algorithm}:${secure.copy().update(time, 'ascii').digest('hex')}`
        },
      }
    },
  }
}
