import { BytesError } from '../domain/errors.js'
import type { Outbox } from '../domain/meta-repository.js'
import { type BatchPublisherOptions, createBatchPublisher } from './batch-publisher.js'
import { createPause } from './pause.js'

/** Events in one claim. */
const BATCH = 200
/** How often it looks for events that another instance has left, in milliseconds. */
const POLL_MS = 1_000
/** After a wake it waits so long for more, in milliseconds: a batch costs little more than one event. */
const LINGER_MS = 25
/** Longest pause after failures, in milliseconds. */
const MAX_BACKOFF_MS = 10_000
export interface RelayOptions extends BatchPublisherOptions {
  readonly outbox: Outbox
}

export interface Relay {
  /** There may be something to publish: look at once. */
  wake(): void
  /** Stops the loop; resolves when the batch in hand has ended. */
  stop(): Promise<void>
}

/**
 * Publishes the events of the outbox, for ever. An event leaves the outbox when the broker has
 * confirmed it; a crash between the two publishes it again, with the same message id.
 */
export function startRelay({ outbox, events, log, count }: RelayOptions): Relay {
  const publish = createBatchPublisher({ events, log, count })
  let stopped = false
  let woken = false
  let idling = false
  let failures = 0
  const pause = createPause()

  /** The one pause that a wake ends: a backoff must not become a busy loop under uploads. */
  const idle = async (): Promise<void> => {
    idling = true
    if (!stopped) await pause.wait(POLL_MS)
    idling = false
  }

  /** @returns true when there may be more to publish right away */
  const drain = async (): Promise<boolean> => {
    let left = 0
    let problem: unknown
    const { claimed, published } = await outbox.drain(BATCH, async (batch, load) => {
      const result = await publish(batch, load, () => stopped)
      left = result.left
      problem = result.problem
      return result.confirmed
    })
    count('published', published)
    if (left > 0 && published === 0) {
      throw problem ?? new BytesError('broker_unavailable', `${left} events were not confirmed`)
    }
    // Suspects that wait are no news of the broker.
    if (published > 0 || claimed === 0) recovered()
    return published > 0 && (claimed === BATCH || left > 0)
  }

  const recovered = (): void => {
    if (failures > 0) log.info({ failures }, 'events are published again')
    failures = 0
  }

  const failed = (error: unknown): void => {
    failures++
    if (failures > 1) return
    const reason = error instanceof Error ? error.message : String(error)
    log.warn({ reason }, 'events cannot be published: they wait in the outbox')
  }

  const run = async (): Promise<void> => {
    while (!stopped) {
      woken = false
      // The event manager tells of its outages itself, and wakes this loop when they end.
      if (!events.connected) {
        await idle()
        continue
      }
      try {
        const more = await drain()
        if (more) continue
        if (!woken) await idle()
        if (woken && !stopped) await pause.wait(LINGER_MS)
      } catch (error) {
        failed(error)
        if (stopped) return
        // Full jitter, so that instances do not come back all at once.
        await pause.wait(
          Math.random() * Math.min(MAX_BACKOFF_MS, 100 * 2 ** Math.min(failures, 10)),
        )
      }
    }
  }

  const running = run()
  return {
    wake: () => {
      woken = true
      if (idling) pause.end()
    },
    stop: async () => {
      stopped = true
      pause.end()
      await running
    },
  }
}
