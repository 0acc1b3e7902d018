import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { EventManager, OutgoingEvent } from '../../src/domain/ports.js'

export interface EventManagerSetup {
  /** A manager that may still be connecting; the contract closes it. */
  readonly manager: EventManager
  /** Takes the next `count` messages from the queue, oldest first, and checks that none is left. */
  receive(count: number): Promise<OutgoingEvent[]>
  /** Removes what the set-up made. Called after `manager.close()`. */
  dispose(): Promise<void>
}

/** An event with a new message id. */
export function outgoingEvent(changes: Partial<OutgoingEvent> = {}): OutgoingEvent {
  const messageId = randomUUID()
  return {
    messageId,
    eventId: 'raw_file_received',
    timestamp: 1_760_000_000,
    body: JSON.stringify({ event_id: 'raw_file_received', raw_data: { id: messageId } }),
    headers: { content_digest: 'sha-512=:AAAA:', size: 12_345_678_901 },
    ...changes,
  }
}

export function outgoingEvents(count: number): OutgoingEvent[] {
  return Array.from({ length: count }, () => outgoingEvent())
}

/** What every `EventManager` must do, whatever it publishes to. */
export function eventManagerContract(name: string, setup: () => Promise<EventManagerSetup>): void {
  describe(`${name} is an EventManager`, () => {
    let subject: EventManagerSetup
    let manager: EventManager

    beforeEach(async () => {
      subject = await setup()
      manager = subject.manager
      await vi.waitFor(() => expect(manager.connected).toBe(true), 60_000)
    })

    afterEach(async () => {
      await manager.close()
      await subject.dispose()
    })

    it('publishes an event as it is', async () => {
      const event = outgoingEvent({ body: '{"a":"\\u00e9 é 𝄞","n": 1.0}\n' })
      expect(await manager.publish([event])).toEqual([true])
      expect(await subject.receive(1)).toEqual([event])
    })

    it('publishes a batch in order', async () => {
      const events = outgoingEvents(300)
      expect(await manager.publish(events)).toEqual(events.map(() => true))
      expect(await subject.receive(300)).toEqual(events)
    })

    it('publishes batches one after the other in order', async () => {
      const events = outgoingEvents(6)
      await manager.publish(events.slice(0, 3))
      await manager.publish(events.slice(3))
      expect(await subject.receive(6)).toEqual(events)
    })

    it('publishes batches at the same time', async () => {
      const batches = Array.from({ length: 20 }, () => outgoingEvents(5))
      const results = await Promise.all(batches.map((batch) => manager.publish(batch)))
      expect(results.flat()).toEqual(batches.flat().map(() => true))
      const ids = (await subject.receive(100)).map((event) => event.messageId)
      expect(ids.sort()).toEqual(
        batches
          .flat()
          .map((event) => event.messageId)
          .sort(),
      )
    })

    it('publishes a large event', async () => {
      const event = outgoingEvent({ body: JSON.stringify('x'.repeat(1_000_000)) })
      expect(await manager.publish([event])).toEqual([true])
      expect(await subject.receive(1)).toEqual([event])
    })

    it('publishes the same event twice when told so', async () => {
      const event = outgoingEvent()
      expect(await manager.publish([event, event])).toEqual([true, true])
      expect(await subject.receive(2)).toEqual([event, event])
    })

    it('has nothing to do for no events', async () => {
      expect(await manager.publish([])).toEqual([])
      expect(await subject.receive(0)).toEqual([])
    })

    it('refuses to publish after close', async () => {
      await manager.close()
      expect(manager.connected).toBe(false)
      await expect(manager.publish([outgoingEvent()])).rejects.toMatchObject({
        code: 'broker_unavailable',
      })
      expect(await subject.receive(0)).toEqual([])
    })

    it('can be closed twice', async () => {
      await Promise.all([manager.close(), manager.close()])
      await manager.close()
    })
  })
}
