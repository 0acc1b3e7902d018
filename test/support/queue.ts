/** Reads the queue of a virtual host, as a scheduler does. */
import { connect, type GetMessage } from 'amqplib'

export const QUEUE = 'raw_file_received'

export interface QueueReader {
  /** Everything that has arrived so far, oldest first. */
  readonly messages: readonly GetMessage[]
  ids(): unknown[]
  close(): Promise<void>
}

/** Declares the queue, empties it, and takes everything that arrives from then on. */
export async function readQueue(uri: string): Promise<QueueReader> {
  const connection = await connect(uri)
  // A test that stops the broker ends the connection too.
  connection.on('error', () => {})
  const channel = await connection.createChannel()
  channel.on('error', () => {})
  await channel.assertQueue(QUEUE, { durable: true, exclusive: false, autoDelete: false })
  await channel.purgeQueue(QUEUE)
  const messages: GetMessage[] = []
  await channel.consume(
    QUEUE,
    (message) => {
      if (message) messages.push(message as unknown as GetMessage)
    },
    { noAck: true },
  )
  return {
    messages,
    ids: () => messages.map((message) => message.properties.messageId),
    close: () => connection.close().catch(() => undefined),
  }
}
