import type { ConfirmChannel } from 'amqplib'
import { BytesError } from '../domain/errors.js'
import type { Log, OutgoingEvent } from '../domain/ports.js'
import { type BrokerConnection, describeProblem } from './connection.js'

/** Most milliseconds until the broker has confirmed all of a batch. */
export const CONFIRM_TIMEOUT_MS = 10_000

/** A connection, and what is known of the messages on their way to the broker. */
export interface Publisher {
  readonly connection: BrokerConnection
  readonly queue: string
  readonly log: Log
  /** The ids of the messages that were returned as unroutable, for each batch on its way. */
  readonly batches: Set<Set<string>>
  /** The broker returned a message, so the queue must be declared before the next. */
  queueMissing: boolean
}

/** Begins to watch for messages that the broker returns. */
export function createPublisher(connection: BrokerConnection, queue: string, log: Log): Publisher {
  const publisher: Publisher = { connection, queue, log, batches: new Set(), queueMissing: false }
  // Each batch on its way listens.
  connection.channel.setMaxListeners(0)
  connection.channel.on('return', (message) => {
    if (!publisher.queueMissing) {
      log.warn({ queue }, 'The queue is gone and will be declared again')
    }
    publisher.queueMissing = true
    const id: unknown = message.properties.messageId
    for (const returned of publisher.batches) returned.add(String(id))
  })
  return publisher
}

/**
 * Writes all messages, in order, and waits at most `CONFIRM_TIMEOUT_MS` for the confirms. When
 * they are late and the broker has not said that it is blocked, the connection is dropped.
 * @returns for each event whether the broker confirmed it and routed it to the queue
 * @throws BytesError `broker_unavailable` when the queue is gone and cannot be declared again
 */
export async function publishBatch(
  publisher: Publisher,
  events: readonly OutgoingEvent[],
): Promise<boolean[]> {
  const { connection, batches } = publisher
  const returned = new Set<string>()
  const confirmed = new Array<boolean>(events.length).fill(false)
  let late = false
  let wake = (): void => {}
  const stopped = new Promise<void>((resolve) => {
    wake = resolve
  })
  const timer = setTimeout(() => {
    late = true
    wake()
  }, CONFIRM_TIMEOUT_MS)
  connection.channel.once('close', wake)
  batches.add(returned)
  try {
    if (publisher.queueMissing) {
      await Promise.race([declareAgain(publisher), stopped])
      if (publisher.queueMissing) {
        throw new BytesError('broker_unavailable', 'The queue of the broker cannot be declared')
      }
    }
    const confirms: Promise<void>[] = []
    for (const [index, event] of events.entries()) {
      if (late || !connection.open) break
      const sent = send(publisher, event)
      confirms.push(
        sent.confirmed.then((ok) => {
          confirmed[index] = ok
        }),
      )
      if (sent.bufferFull) await bufferSpace(connection.channel, stopped)
    }
    await Promise.race([Promise.all(confirms), stopped])
    return events.map((event, index) => confirmed[index] === true && !returned.has(event.messageId))
  } finally {
    clearTimeout(timer)
    connection.channel.off('close', wake)
    batches.delete(returned)
    // A broker that said it is blocked is alive: a new connection would only be blocked as well.
    if (late && !connection.blocked) {
      connection.drop(new Error(`The broker did not confirm within ${CONFIRM_TIMEOUT_MS} ms`))
    }
  }
}

/** Writes one message. `confirmed` never rejects. */
function send({ connection, queue, log }: Publisher, event: OutgoingEvent) {
  let bufferFull = false
  const confirmed = new Promise<boolean>((resolve) => {
    try {
      bufferFull = !connection.channel.publish(
        '',
        queue,
        Buffer.from(event.body),
        {
          // So that a message is returned, and not lost, when somebody has deleted the queue.
          mandatory: true,
          persistent: true,
          contentType: 'application/json',
          messageId: event.messageId,
          timestamp: Math.trunc(event.timestamp),
          type: event.eventId,
          headers: event.headers,
        },
        (error: unknown) => resolve(error === null || error === undefined),
      )
    } catch (error) {
      if (connection.open) {
        const fields = { messageId: event.messageId, reason: describeProblem(error) }
        log.error(fields, 'An event cannot be put into a message')
      }
      resolve(false)
    }
  })
  return { confirmed, bufferFull }
}

/** Waits until the channel's write buffer has space, or until `stopped`. */
async function bufferSpace(channel: ConfirmChannel, stopped: Promise<void>): Promise<void> {
  let onDrain = (): void => {}
  const drained = new Promise<void>((resolve) => {
    onDrain = resolve
  })
  channel.once('drain', onDrain)
  await Promise.race([drained, stopped])
  channel.off('drain', onDrain)
}

/** Clears `queueMissing` when the queue could be declared. Never rejects. */
async function declareAgain(publisher: Publisher): Promise<void> {
  try {
    await publisher.connection.assertQueue()
    publisher.queueMissing = false
  } catch {
    // The channel is closed by this, which ends the connection; the reason is reported there.
  }
}
