import type { Log } from '../domain/ports.js'
import type { ResumableUploads } from './resumable.js'

const EVERY_MS = 10 * 60 * 1000

export interface UploadSweep {
  /** Resolves when a sweep that is under way has ended. */
  stop(): Promise<void>
}

/** Removes expired uploads, now and from time to time. */
export function startUploadSweep(uploads: Pick<ResumableUploads, 'sweep'>, log: Log): UploadSweep {
  const sweep = async (): Promise<void> => {
    try {
      const removed = await uploads.sweep()
      if (removed > 0) log.info({ removed }, 'expired uploads were removed')
    } catch (error) {
      log.error({ err: error }, 'expired uploads could not be removed')
    }
  }
  let running = sweep()
  const timer = setInterval(() => {
    running = running.then(sweep)
  }, EVERY_MS)
  timer.unref()
  return {
    stop: () => {
      clearInterval(timer)
      return running
    },
  }
}
