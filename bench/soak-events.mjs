/** Takes the events from the queue, as a scheduler does, and counts them. */
import { connect } from 'amqplib'

const QUEUE = 'raw_file_received'

/**
 * Declares the queue, empties it, and takes everything that arrives from then on.
 * @param {string} uri
 * @param {import('./lifecycle.mjs').Releases} releases
 */
export async function countEvents(uri, releases) {
  const connection = await connect(uri)
  releases.add(() => connection.close())
  const channel = await connection.createChannel()
  await channel.assertQueue(QUEUE, { durable: true })
  await channel.purgeQueue(QUEUE)
  /** @type {Set<unknown>} */
  const ids = new Set()
  let repeated = 0
  await channel.consume(
    QUEUE,
    (message) => {
      if (!message) return
      const id = message.properties.messageId
      if (ids.has(id)) repeated += 1
      ids.add(id)
    },
    { noAck: true },
  )
  return { distinct: () => ids.size, repeated: () => repeated }
}
