/** Closing what was opened, in reverse order. */
import type { Log } from './domain/ports.js'

/** Closes one part. */
export type Release = () => Promise<unknown>

/** Runs `build` with a list of releasers; when it fails, what was built is released again. */
export async function releasing<T>(
  log: Log,
  build: (releases: Release[]) => Promise<T>,
): Promise<T> {
  const releases: Release[] = []
  try {
    return await build(releases)
  } catch (error) {
    await releaseAll(releases, log)
    throw error
  }
}

/** In reverse order. One that fails does not keep the others from being released. */
export async function releaseAll(releases: Release[], log: Log): Promise<void> {
  for (let release = releases.pop(); release; release = releases.pop()) {
    try {
      await release()
    } catch (error) {
      log.error({ err: error }, 'a part could not be closed')
    }
  }
}
