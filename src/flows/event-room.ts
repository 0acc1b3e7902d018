import { BytesError } from '../domain/errors.js'
import { type Budget, withPart } from './budget.js'

/** Most characters of the events of one upload, and of all uploads that are being committed. */
export const MAX_EVENTS = 64 * 1024 * 1024
/** Uploads with events up to so many characters take nothing from the others. */
const FEW_EVENTS = 256 * 1024
/** How long an upload waits for others whose events take the memory, in milliseconds. */
const WAIT_MS = 30_000

/** Of `MAX_EVENTS`, for all uploads together. */
export type EventMemory = Pick<Budget, 'take'>

/**
 * Runs something when there is room for the events of an upload, which are all in memory at once.
 * @param characters of all events: each repeats the job, and has the MIME types of its file
 * @throws BytesError `invalid_value` for more than there can be, `busy` when others keep the memory
 */
export async function withRoomForEvents<T>(
  memory: EventMemory,
  characters: number,
  run: () => Promise<T>,
): Promise<T> {
  if (characters > MAX_EVENTS) {
    throw new BytesError(
      'invalid_value',
      'too many files with so many MIME types, for a job with such long arguments: ' +
        'send them in several uploads',
    )
  }
  if (characters <= FEW_EVENTS) return run()
  const refusal = 'other uploads with long events are being stored: try again later'
  return withPart(memory, characters, { ms: WAIT_MS, refusal }, run)
}
