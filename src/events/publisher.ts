import { type ConfirmChannel, IllegalOperationError } from 'amqplib'
import { BytesError } from '../domain/errors.js'
import type { Log, OutgoingEvent } from '../domain/ports.js'
import { type BrokerConnection, describeProblem, refusedSize } from './connection.js'

/** Most milliseconds until the broker has confirmed all of a batch. */
export const CONFIRM_TIMEOUT_MS = 10_000
/** Most messages whose problem is remembered. */
const MAX_COMPLAINTS = 1_000

/** What is wrong with which message, by its id: so that it is logged once, however often it is tried. */
export type Complaints = Map<string, string>

/** A connection, and what is known of the messages on their way to the broker. */
export interface Publisher {
  readonly connection: BrokerConnection
  readonly queue: string
  readonly log: Log
  readonly complaints: Complaints
  /** The ids of the messages that were returned as unroutable, for each batch on its way. */
  readonly batches: Set<Set<string>>
  /** The broker returned a message, so the queue must be declared before the next. */
  queueMissing: boolean
  /** The broker closed the channel because of a message of so many bytes. */
  tooLarge: number | undefined
}

/** Begins to watch for messages that the broker returns or refuses. */
export function createPublisher(
  options: Pick<Publisher, 'connection' | 'queue' | 'log' | 'complaints'>,
): Publisher {
  const { connection, queue, log } = options
  const publisher: Publisher = {
    ...options,
    batches: new Set(),
    queueMissing: false,
    tooLarge: undefined,
  }
  // Each batch on its way listens.
  connection.channel.setMaxListeners(0)
  connection.channel.on('error', (error) => {
    publisher.tooLarge ??= refusedSize(error)
  })
  connection.channel.on('return', (message) => {
    if (!publisher.queueMissing) {
      log.warn({ queue }, 'the queue is gone and will be declared again')
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
  const { connection, batches, complaints } = publisher
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
    reportTooLarge(
      publisher,
      events.filter((_, index) => confirmed[index] !== true),
    )
    return events.map(({ messageId }, index) => {
      const arrived = confirmed[index] === true && !returned.has(messageId)
      if (arrived) complaints.delete(messageId)
      return arrived
    })
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

/** Logs a problem of one message, unless that was the last thing logged of it. */
function complain(publisher: Publisher, messageId: string, fields: object, message: string): void {
  const { complaints, log } = publisher
  const complaint = JSON.stringify([message, fields])
  if (complaints.get(messageId) === complaint) return
  complaints.set(messageId, complaint)
  if (complaints.size > MAX_COMPLAINTS) {
    for (const oldest of complaints.keys()) {
      complaints.delete(oldest)
      break
    }
  }
  log.error({ messageId, ...fields }, message)
}

/** The broker does not say which message it refused, but none of that size or above can pass. */
function reportTooLarge(publisher: Publisher, unconfirmed: readonly OutgoingEvent[]): void {
  const { tooLarge, queue } = publisher
  if (tooLarge === undefined) return
  for (const { messageId, body } of unconfirmed) {
    const size = Buffer.byteLength(body)
    if (size < tooLarge) continue
    complain(
      publisher,
      messageId,
      { queue, size },
      'the broker refuses an event that is larger than its max_message_size; the event is kept',
    )
  }
}

/** Writes one message. `confirmed` never rejects. */
function send(publisher: Publisher, event: OutgoingEvent) {
  const { connection, queue } = publisher
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
      // That of a channel which is being closed is not a problem of the event.
      if (connection.open && !(error instanceof IllegalOperationError)) {
        const reason = describeProblem(error)
        complain(publisher, event.messageId, { reason }, 'an event cannot be put into a message')
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
