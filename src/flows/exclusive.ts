/** Lets go of what was acquired; to call it again does nothing. */
export type Release = () => void

interface Holder {
  readonly askToLeave: () => void
  readonly left: Promise<void>
}

/** Things that one at a time may hold, within this process. */
export class Exclusive {
  readonly #holders = new Map<string, Holder>()

  /** Undefined when it is held. */
  tryAcquire(key: string, askToLeave: () => void = () => undefined): Release | undefined {
    if (this.#holders.has(key)) return undefined
    let leave: () => void = () => undefined
    const left = new Promise<void>((resolve) => {
      leave = resolve
    })
    const holder = { askToLeave, left }
    this.#holders.set(key, holder)
    return () => {
      // A second call must not let go of what somebody else has acquired since.
      if (this.#holders.get(key) === holder) this.#holders.delete(key)
      leave()
    }
  }

  /**
   * Asks the holder to leave, and waits until it has.
   * @param askToLeave called when somebody else wants it; may be called several times
   * @param signal ends the wait
   * @returns undefined when the wait was ended
   */
  async acquire(
    key: string,
    askToLeave: () => void,
    signal: AbortSignal,
  ): Promise<Release | undefined> {
    let giveUp: () => void = () => undefined
    const gaveUp = new Promise<void>((resolve) => {
      giveUp = resolve
    })
    signal.addEventListener('abort', giveUp, { once: true })
    try {
      while (!signal.aborted) {
        const release = this.tryAcquire(key, askToLeave)
        if (release) return release
        const holder = this.#holders.get(key)
        holder?.askToLeave()
        await Promise.race([holder?.left, gaveUp])
      }
      return undefined
    } finally {
      signal.removeEventListener('abort', giveUp)
    }
  }
}
