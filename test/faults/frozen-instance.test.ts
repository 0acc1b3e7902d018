/** An instance that stands still while it publishes: another one announces what it had claimed. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, inject, it, vi } from 'vitest'
import { errorsLogged, query } from '../acceptance/helpers.js'
import { outboxIds, untilBroker } from '../support/broker-health.js'
import { login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { type QueueReader, readQueue } from '../support/queue.js'
import { type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'
import { startProxy, type TcpProxy } from '../support/tcp-proxy.js'

/** Most milliseconds in which nothing happens inside a transaction; in full the service's own. */
const PAUSE_MS = isFull ? 60_000 : 3_000
const FILES = 40

let store: TestStore
let queue: QueueReader
let proxy: TcpProxy

beforeEach(async () => {
  store = await testStore()
  const { href, hostname, port } = new URL(inject('brokerUris').frozen)
  queue = await readQueue(href)
  proxy = await startProxy(hostname, Number(port))
})

afterEach(async () => {
  await store?.remove()
  await proxy?.cut()
  await queue?.close()
})

it('holds events back for a minute at most, and goes on when it can', async () => {
  const tally = tallyOf('instances', 'events of one that stands still')
  const direct = inject('brokerUris').frozen
  const slow = new URL(direct)
  slow.port = String(proxy.port)
  const database = new URL(store.databaseUri)
  if (!isFull) {
    database.searchParams.set('options', `-c idle_in_transaction_session_timeout=${PAUSE_MS}`)
  }
  const BYTES_DB_URI = database.href

  const frozen = await store.start({ BYTES_DB_URI, QUEUE_URI: slow.href })
  await untilBroker(frozen, true)
  const client = await login(frozen.url)
  const job = await client.job()
  // Nothing is confirmed from now on: what it has claimed stays so.
  proxy.freeze()
  const files = Array.from({ length: FILES }, (_, n) => ({
    name: `${n}`,
    content: `${n}`,
    tags: [`${n}`],
  }))
  const ids = Object.values(await client.upload(job, files))
  tally.tried = ids.length
  const claims = `SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'idle in transaction'`
  const patience = { timeout: PAUSE_MS + 60_000, interval: 20 }
  await vi.waitFor(async () => {
    expect(await query(store.databaseUri, claims)).toHaveLength(1)
  }, patience)
  frozen.process.kill('SIGSTOP')
  try {
    const other = await store.start({ BYTES_DB_URI, QUEUE_URI: direct })
    await untilBroker(other, true)
    await vi.waitFor(() => expect(queue.ids().toSorted()).toEqual(ids.toSorted()), patience)
    await vi.waitFor(async () => expect(await outboxIds(store)).toEqual([]), patience)
    expect(await other.stop()).toBe(0)
    expect(errorsLogged(other.log())).toEqual([])
  } finally {
    frozen.process.kill('SIGCONT')
    proxy.thaw()
  }
  const { last = '' } = await client.upload(job, [{ name: 'last', content: 'last' }])
  await vi.waitFor(() => expect(queue.ids()).toContain(last), patience)
  await sleep(200)
  // At least once: what it had on its way may come now, and nothing else.
  expect(new Set(queue.ids())).toEqual(new Set([...ids, last]))
  expect(await frozen.stop()).toBe(0)
  expect(errorsLogged(frozen.log())).toEqual([])
})
