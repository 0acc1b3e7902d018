import { detail } from './problems.js'
import type { AppContext } from './route.js'

/**
 * Runs what takes its time; the signal aborts when nobody is left to be answered. It goes on to do so
 * while an answer is sent that has begun.
 */
export async function whileConnected<T>(
  c: AppContext,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { outgoing } = c.env
  const gone = new AbortController()
  outgoing.once('close', () => gone.abort())
  if (outgoing.destroyed) gone.abort()
  try {
    return await run(gone.signal)
  } catch (error) {
    // It keeps clients that go away out of the log of errors.
    if (gone.signal.aborted) throw detail(400, 'The connection ended before the answer began')
    throw error
  }
}
