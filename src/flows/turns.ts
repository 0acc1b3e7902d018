import { setImmediate as immediate } from 'node:timers/promises'

/**
 * For long loops that wait for nothing else: lets what has come meanwhile have its turn.
 * @param most units of work between two turns
 * @returns to be called after so many units, and awaited
 */
export function createTurns(most: number): (units: number) => Promise<void> {
  let done = 0
  return async (units) => {
    done += units
    if (done < most) return
    done = 0
    await immediate()
  }
}
