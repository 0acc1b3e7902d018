import type { BlobRow } from './audit.js'

/** Which blobs a scrub reads next. Every method throws BytesError `database_unavailable`. */
export interface ScrubRows {
  /**
   * Claims blobs that were last verified, or else stored, more than `minAgeSeconds` ago, the longest
   * ago first, and that nobody else has claimed; before them those that are dated in the future, by
   * a clock that was ahead. At least one if there is one, and then as many as
   * fit. A claim ends by itself some time after the blobs can have been read.
   */
  claim(options: {
    readonly minAgeSeconds: number
    readonly limit: number
    readonly maxBytes: number
    readonly bytesPerSecond: number
  }): Promise<readonly BlobRow[]>
  /** Ends claims of blobs that were read and found right. */
  verified(ids: readonly number[]): Promise<void>
  /** Ends claims of blobs that were not. @param seconds for so long nobody claims them */
  postpone(ids: readonly number[], seconds: number): Promise<void>
  /** Seconds since the blob was verified, or stored, for which that is longest ago; 0 without blobs. */
  oldestUnverifiedSeconds(): Promise<number>
}
