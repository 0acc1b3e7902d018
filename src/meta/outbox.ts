import type pg from 'pg'
import type { ClaimedEvent, LoadEvents, MetaRepository, Outbox } from '../domain/meta-repository.js'
import type { OutgoingEvent } from '../domain/ports.js'
import { translated } from './sqlstate.js'
import { withClient } from './with-client.js'

interface OutboxRow {
  readonly message_id: string
  readonly event_id: OutgoingEvent['eventId']
  readonly body: string
  readonly headers: Record<string, string | number>
  readonly timestamp: number
}

/**
 * SKIP LOCKED lets several instances share the work; the locks end with the transaction. Bodies are
 * read later, some at a time: each repeats its job, which may be megabytes.
 */
const CLAIM = `
  SELECT id, message_id AS "messageId", octet_length(body) AS bytes
  FROM outbox ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED`

const LOAD = `
  SELECT message_id, event_id, body, headers,
         floor(extract(epoch FROM created_at))::float8 AS timestamp
  FROM outbox WHERE id = ANY($1::bigint[]) ORDER BY id`

export function createOutbox(pool: pg.Pool): Outbox {
  return {
    drain: (limit, publish) =>
      translated(() =>
        withClient(pool, async (client) => {
          // A crash may bring back events that were published: then they are published again.
          await client.query('BEGIN; SET LOCAL synchronous_commit TO off')
          const { rows } = await client.query<ClaimedEvent>(CLAIM, [limit])
          const load: LoadEvents = async (events) => {
            const ids = events.map(({ id }) => id)
            return (await client.query<OutboxRow>(LOAD, [ids])).rows.map(toEvent)
          }
          const confirmed = rows.length > 0 ? await publish(rows, load) : []
          const done = rows.filter((_, i) => confirmed[i] === true).map((row) => row.id)
          if (done.length > 0) {
            await client.query('DELETE FROM outbox WHERE id = ANY($1::bigint[])', [done])
          }
          await client.query('COMMIT')
          return { claimed: rows.length, published: done.length }
        }),
      ),
  }
}

/** The part of the meta repository that watches the outbox. */
export function createOutboxState(pool: pg.Pool): Pick<MetaRepository, 'outboxState'> {
  return {
    outboxState: () =>
      translated(async () => {
        const { rows } = await pool.query<{ depth: string; age: string | null }>(
          'SELECT count(*) AS depth, extract(epoch FROM now() - min(created_at)) AS age FROM outbox',
        )
        const age = Number(rows[0]?.age ?? 0)
        return { depth: Number(rows[0]?.depth ?? 0), oldestAgeSeconds: Math.max(0, age) }
      }),
  }
}

function toEvent(row: OutboxRow): OutgoingEvent {
  return {
    messageId: row.message_id,
    eventId: row.event_id,
    timestamp: row.timestamp,
    body: row.body,
    headers: row.headers,
  }
}
