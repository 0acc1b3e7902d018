import { BytesError } from '../domain/errors.js'
import type { Budget } from './budget.js'
import type { Release } from './exclusive.js'

/** Most characters of the events of one upload, and of all uploads that are being committed. */
export const MAX_EVENTS = 64 * 1024 * 1024
/** Uploads with events up to so many characters take nothing from the others. */
const FEW_EVENTS = 256 * 1024
/** How long an upload waits for others whose events take the memory, in milliseconds. */
const WAIT_MS = 30_000

/** Of `MAX_EVENTS`, for all uploads together. */
export type EventMemory = Pick<Budget, 'take'>

/**
 * Waits for room for the events of an upload, which are all in memory at once.
 * @param characters of all events: each repeats the job, and has the MIME types of its file
 * @throws BytesError `invalid_value` for more than there can be, `busy` when others keep the memory
 */
export async function roomForEvents(memory: EventMemory, characters: number): Promise<Release> {
  if (characters > MAX_EVENTS) {
    throw new BytesError(
      'invalid_value',
      'too many files with so many MIME types, for a job with such long arguments: ' +
        'send them in several uploads',
    )
  }
  if (characters <= FEW_EVENTS) return () => undefined
  const release = await memory.take(characters, WAIT_MS)
  if (release) return release
  throw new BytesError('busy', 'other uploads with long events are being stored: try again later')
}
