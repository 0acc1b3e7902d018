import { utimes } from 'node:fs/promises'

/** How often the times are renewed, in milliseconds: well below the time after which files count as left behind. */
const RENEW_MS = 10 * 60 * 1000

/**
 * Renews the times of temporary files while this process still needs them. One that is complete may
 * wait for hours until the rest of its upload has come: another instance must not take it for one
 * that a dead process has left behind.
 */
export class InUse {
  readonly #paths = new Set<string>()
  #timer: NodeJS.Timeout | undefined

  add(path: string): void {
    this.#paths.add(path)
    this.#timer ??= setInterval(() => this.#renew(), RENEW_MS).unref()
  }

  delete(path: string): void {
    this.#paths.delete(path)
    if (this.#paths.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #renew(): void {
    const now = new Date()
    for (const path of this.#paths) {
      // It may not be there yet, or have got its name by now. Whatever else fails will fail its upload.
      utimes(path, now, now).catch(() => undefined)
    }
  }
}
