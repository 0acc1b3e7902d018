import type { ClaimedEvent, LoadEvents } from '../domain/meta-repository.js'
import type { EventManager, Log } from '../domain/ports.js'

/** Pauses between attempts at events that failed by themselves, in milliseconds. */
const SUSPECT_MIN_MS = 1_000
const SUSPECT_MAX_MS = 30_000
/** Most bytes of bodies that are in memory at once, if no single one has more. */
const MAX_BYTES = 16 * 1024 * 1024

export interface BatchPublisherOptions {
  readonly events: EventManager
  readonly log: Log
  /** Counts how publishing ended, for the metrics. */
  readonly count: (outcome: 'published' | 'failed', events: number) => void
}

/**
 * Publishes the batches of an outbox so that an event which the broker always refuses does not hold
 * up the others: after a failure events go one by one, and one that fails by itself is a suspect,
 * which is tried again only now and then. With a whole batch of suspects the others do wait.
 */
export function createBatchPublisher({ events, log, count }: BatchPublisherOptions) {
  /** Ids of events that failed by themselves, those that were tried last at the end. */
  const suspects = new Set<string>()
  let singly = false
  let suspectPause = SUSPECT_MIN_MS
  let suspectsDue = 0

  /**
   * @param load reads the events, a part of them at a time
   * @param stopped asked between two events
   * @returns which events were published, how many that are no suspects were not, and why
   */
  return async (batch: readonly ClaimedEvent[], load: LoadEvents, stopped: () => boolean) => {
    const tried = new Set<ClaimedEvent>()
    const done = new Set<ClaimedEvent>()
    let problem: unknown
    const mayGoOn = (): boolean => events.connected && !stopped()

    /** @returns true when all of them were published */
    const attempt = async (wanted: readonly ClaimedEvent[]): Promise<boolean> => {
      for (const [n, part] of fitting(wanted).entries()) {
        if (n > 0 && !mayGoOn()) return false
        const loaded = await load(part)
        for (const event of part) tried.add(event)
        try {
          const confirmed = await events.publish(loaded)
          for (const [i, event] of part.entries()) if (confirmed[i] === true) done.add(event)
        } catch (error) {
          problem ??= error
        }
        if (!part.every((event) => done.has(event))) return false
      }
      return true
    }

    const suspected = batch.filter((event) => suspects.has(event.messageId))
    const others = batch.filter((event) => !suspects.has(event.messageId))
    if (!singly && others.length > 0) singly = !(await attempt(others))
    // A single event was just tried by itself: the connection may have been the reason.
    if (singly && !(others.length === 1 && tried.size === 1)) {
      for (const event of others) {
        if (done.has(event)) continue
        if (!mayGoOn()) break
        if (await attempt([event])) continue
        if (suspects.size === 0) {
          suspectPause = SUSPECT_MIN_MS
          suspectsDue = performance.now() + suspectPause
        }
        suspects.add(event.messageId)
        const { messageId } = event
        log.warn({ messageId }, 'an event failed by itself: it is tried again after the others')
        break
      }
      singly = others.some((event) => !done.has(event))
    }

    if (suspects.size > 0 && performance.now() >= suspectsDue) {
      const byId = new Map(suspected.map((event) => [event.messageId, event]))
      for (const id of [...suspects]) {
        const event = byId.get(id)
        if (event !== undefined && !mayGoOn()) break
        suspects.delete(id)
        // Without an event, another instance has it or has published it.
        if (event === undefined || (await attempt([event]))) continue
        suspects.add(id)
        suspectPause = Math.min(SUSPECT_MAX_MS, suspectPause * 2)
        suspectsDue = performance.now() + suspectPause
        break
      }
    }

    count('failed', tried.size - done.size)
    return {
      confirmed: batch.map((event) => done.has(event)),
      left: others.filter((event) => !done.has(event)).length,
      problem,
    }
  }
}

/** In order, in parts whose bodies are small enough to be in memory together. */
function fitting(events: readonly ClaimedEvent[]): ClaimedEvent[][] {
  const parts: ClaimedEvent[][] = []
  let bytes = 0
  for (const event of events) {
    bytes += event.bytes
    const part = parts.at(-1)
    if (part && bytes <= MAX_BYTES) part.push(event)
    else {
      parts.push([event])
      bytes = event.bytes
    }
  }
  return parts
}
