/** What a download writes to, as the rest of the client sees it. */
import type { FileHandle } from 'node:fs/promises'
import { BytesClientError, reasonOf } from './errors.js'

/** Takes content in order. */
export interface Sink {
  /** @throws BytesClientError `target_failed` */
  write(chunk: Uint8Array): Promise<void>
  /** Forgets what was written; missing where that cannot be. */
  readonly restart?: () => Promise<void>
}

/** A sink that is made visible or thrown away at the end. */
export interface Target extends Sink {
  /** Call after all is written and found right. */
  commit(): Promise<void>
  /** Call in all cases, last. */
  close(): Promise<void>
}

/**
 * What the promise gives.
 * @param name of the target, for the message
 * @throws BytesClientError `target_failed` for every other error
 */
export async function attempt<T>(promise: Promise<T>, name = 'the target'): Promise<T> {
  return promise.catch((error: unknown) => {
    if (error instanceof BytesClientError) throw error
    throw new BytesClientError('target_failed', `${name} cannot be written: ${reasonOf(error)}`, {
      cause: error,
    })
  })
}

/** @param start place in the file; null: where the last write ended, which pipes need */
export async function writeAll(
  handle: FileHandle,
  chunk: Uint8Array,
  start: number | null,
): Promise<void> {
  for (let at = 0; at < chunk.byteLength; ) {
    const place = start === null ? null : start + at
    at += (await handle.write(chunk, at, chunk.byteLength - at, place)).bytesWritten
  }
}
