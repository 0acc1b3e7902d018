import { setTimeout as sleep } from 'node:timers/promises'
import { BytesError } from '../domain/errors.js'
import type { EventManager, Log } from '../domain/ports.js'
import {
  describeProblem,
  isOtherDeclaration,
  openConnection,
  redactUri,
  refusedSize,
} from './connection.js'
import { type Complaints, createPublisher, type Publisher, publishBatch } from './publisher.js'

/** The queue that schedulers consume from. */
export const RAW_FILE_QUEUE = 'raw_file_received'
const BACKOFF_MIN_MS = 100
const BACKOFF_MAX_MS = 10_000

export interface RabbitMQOptions {
  /** `amqp://user:password@host:port/vhost`, or `amqps:`. `?heartbeat=` (seconds) is heeded. */
  readonly uri: string
  /** Both the queue's name and the routing key on the default exchange. */
  readonly queue?: string
  readonly log: Log
  /** Called whenever messages can be published (again). */
  readonly onConnected?: () => void
}

/**
 * Publishes events on RabbitMQ. Connects in the background, now and after each loss, with
 * growing pauses from 100 ms to 10 s; it never gives up and never throws because of a bad URI.
 * Call `close` to end it.
 */
export function createRabbitMQEventManager(options: RabbitMQOptions): EventManager {
  const { uri, queue = RAW_FILE_QUEUE, log, onConnected } = options
  const broker = redactUri(uri)
  const closing = new AbortController()
  /** What has been reported of the present outage. */
  const reported = new Set<string>()
  const complaints: Complaints = new Map()
  /** The connection was lost only because of a message that the broker refused. */
  let refused = false
  let publisher: Publisher | undefined

  function announce(): void {
    Promise.resolve()
      .then(() => onConnected?.())
      .catch((error: unknown) =>
        log.error({ reason: describeProblem(error) }, 'a listener for the broker failed'),
      )
  }

  function report(problem: unknown): void {
    const kind = isOtherDeclaration(problem) ? 'declaration' : 'connection'
    if (reported.has(kind)) return
    reported.add(kind)
    const fields = { broker, queue, reason: describeProblem(problem) }
    if (kind === 'connection') {
      log.warn(fields, 'no connection to the broker; events are kept until there is one')
    } else {
      log.error(
        fields,
        'the queue exists with another declaration: it must be durable, not exclusive, not ' +
          'auto-delete and without arguments. Delete the queue, so that it can be declared anew',
      )
    }
  }

  async function connectOnce(): Promise<void> {
    try {
      const connection = await openConnection({
        uri,
        queue,
        signal: closing.signal,
        onBlocked: (reason) =>
          log.warn({ broker, reason }, 'the broker is short of resources and takes no events'),
        onUnblocked: () => {
          log.info({ broker }, 'the broker takes events again')
          announce()
        },
      })
      publisher = createPublisher({ connection, queue, log, complaints })
      const again = reported.size > 0
      reported.clear()
      const message = again ? 'connected to the broker again' : 'connected to the broker'
      if (refused && !again) log.debug({ broker, queue }, message)
      else log.info({ broker, queue }, message)
      announce()
      const problem = await connection.ended
      // The message was reported by its publisher, each time it is tried would be too often.
      refused = refusedSize(problem) !== undefined
      if (!closing.signal.aborted && !refused) report(problem)
    } catch (error) {
      if (!closing.signal.aborted) report(error)
    } finally {
      publisher = undefined
    }
  }

  async function stayConnected(): Promise<void> {
    let attempt = 0
    while (!closing.signal.aborted) {
      const started = performance.now()
      // Nothing, not even a log that throws, may end this loop.
      await connectOnce().catch(() => undefined)
      // Only a connection that lasted counts as a success: one that flaps is made less often.
      if (performance.now() - started > BACKOFF_MAX_MS) attempt = 0
      const pause = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** attempt++)
      const jittered = BACKOFF_MIN_MS + (pause - BACKOFF_MIN_MS) * Math.random()
      await sleep(jittered, undefined, { signal: closing.signal }).catch(() => undefined)
    }
  }

  const ended = stayConnected()

  return {
    get connected() {
      return publisher?.connection.open === true && !publisher.connection.blocked
    },
    async publish(events) {
      if (!publisher?.connection.open || publisher.connection.blocked) {
        throw new BytesError('broker_unavailable', 'There is no connection to the broker')
      }
      return publishBatch(publisher, events)
    },
    async close() {
      closing.abort()
      await ended
    },
  }
}
