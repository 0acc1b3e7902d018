/** Uploads that go on whatever the broker does, and what the service says of the broker. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, vi } from 'vitest'
import { query } from '../acceptance/helpers.js'
import { login } from './client.js'
import type { TestService, TestStore } from './service.js'

export const PATIENCE = { timeout: 60_000, interval: 50 }

/** Uploads files one after the other until told to stop; every upload must succeed. */
export function uploadSteadily(service: TestService): {
  /** Ids of the files so far. */
  readonly ids: readonly string[]
  stop(): Promise<string[]>
} {
  let stopped = false
  const ids: string[] = []
  const uploading = (async () => {
    const client = await login(service.url)
    while (!stopped) {
      const job = await client.job()
      const stored = await client.upload(job, [
        { name: 'a', content: `${job} a`, tags: ['a'] },
        { name: 'b', content: `${job} b`, tags: ['b'] },
      ])
      ids.push(...Object.values(stored))
      await sleep(20)
    }
    return ids
  })()
  // Handled in `stop`.
  uploading.catch(() => undefined)
  return {
    ids,
    stop: () => {
      stopped = true
      return uploading
    },
  }
}

export interface Health {
  readonly healthy: boolean
  readonly results: { service: string; healthy: boolean; additional: unknown }[]
}

export async function healthOf(service: TestService): Promise<Health & { status: number }> {
  const answer = await fetch(`${service.url}/health`)
  return { status: answer.status, ...((await answer.json()) as Health) }
}

/** What it says of the broker; undefined when it has none. */
export const brokerHealth = async (service: TestService): Promise<boolean | undefined> =>
  (await healthOf(service)).results.find((part) => part.service === 'rabbitmq')?.healthy

export const untilBroker = (service: TestService, healthy: boolean) =>
  vi.waitFor(async () => expect(await brokerHealth(service)).toBe(healthy), PATIENCE)

/** Ids of the messages that wait in the outbox, oldest first. */
export async function outboxIds({
  databaseUri,
}: Pick<TestStore, 'databaseUri'>): Promise<string[]> {
  const rows = await query<{ id: string }>(
    databaseUri,
    'SELECT message_id AS id FROM outbox ORDER BY outbox.id',
  )
  return rows.map(({ id }) => id)
}
