/** SIGTERM under load: what is in flight ends well, and nothing that was acknowledged is lost. */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { errorsLogged, eventually, openWire, query } from '../acceptance/helpers.js'
import { auditFindings } from '../support/audit.js'
import { type Client, login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { type QueueReader, readQueue } from '../support/queue.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { stateOfStore } from '../support/store-check.js'
import { tallyOf } from '../support/tally.js'
import { uploadBy, WAYS } from '../support/ways.js'

const ROUNDS = isFull ? 30 : 3
const UPLOADERS = 10
/** Uploads that are half sent when the signal comes. */
const IN_FLIGHT = 12
const SIZE = 200_000

let store: TestStore
let queue: QueueReader

beforeAll(async () => {
  store = await testStore()
  queue = await readQueue(inject('brokerUris').sigterm)
})

afterAll(async () => {
  await store?.remove()
  await queue?.close()
})

/** Uploads in every way until the service takes no more connections. */
async function uploadUntilTheEnd(service: TestService, client: Client, done: string[], n: number) {
  for (let count = n; ; count++) {
    try {
      const job = await client.job(`org-${n % 3}`)
      const way = WAYS[count % WAYS.length] ?? 'json'
      const content = randomBytes(1 + ((count * 7919) % 100_000))
      const outcome = await uploadBy(way, service, client, job, content)
      if (outcome.id === undefined) throw new Error(`${way} gets ${outcome.status} ${outcome.text}`)
      done.push(outcome.id)
    } catch (error) {
      // No answer: it is not acknowledged. An answer of the wrong status must not pass.
      if (error instanceof TypeError || (error instanceof Error && 'code' in error)) return
      throw error
    }
  }
}

/** An upload that the service has begun to read; `finish` sends the rest. */
async function halfAnUpload(service: TestService, client: Client) {
  const job = await client.job('in-flight')
  const content = randomBytes(SIZE).toString('hex')
  const wire = await openWire(service.url)
  wire.write(
    `POST /bytes/raw?boefje_meta_id=${job}&tag=x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n` +
      `Content-Type: application/octet-stream\r\nContent-Length: ${content.length}\r\n` +
      `Authorization: Bearer ${client.token}\r\n\r\n`,
  )
  await wire.received(/^HTTP\/1\.1 100 /)
  wire.write(content.slice(0, SIZE))
  return {
    finish: async (): Promise<string | undefined> => {
      wire.write(content.slice(SIZE))
      return /HTTP\/1\.1 200 [\s\S]*\{"file":"([^"]+)"\}/.exec(await wire.ended)?.[1]
    },
  }
}

it(
  'SIGTERM under load lets what is in flight finish, and loses nothing',
  async () => {
    const tally = tallyOf('signals', 'uploads around a SIGTERM')
    const acknowledged: string[] = []
    const wrong = tally.violations
    for (let round = 0; round < ROUNDS; round++) {
      const service = await store.start({ QUEUE_URI: inject('brokerUris').sigterm })
      const client = await login(service.url)
      const halves = await Promise.all(
        Array.from({ length: IN_FLIGHT }, () => halfAnUpload(service, client)),
      )
      const done: string[] = []
      const uploads = Array.from({ length: UPLOADERS }, (_, n) =>
        uploadUntilTheEnd(service, client, done, n),
      )
      await eventually(() => done.length > 2 * UPLOADERS, 'many uploads are done')
      await sleep((round * 37) % 200)
      const stopped = service.stop()
      await Promise.all(uploads)
      // The others have ended; these have kept it waiting.
      if (service.process.exitCode !== null) wrong.push('it did not wait for what was in flight')
      for (const half of halves) {
        const id = await half.finish()
        if (id === undefined) wrong.push('an upload in flight was not finished')
        else acknowledged.push(id)
      }
      tally.tried += halves.length + done.length
      const code = await stopped
      if (code !== 0) wrong.push(`it ended with ${code}`)
      wrong.push(...errorsLogged(service.log()))
      if (/were cut|do not close/.test(service.log())) wrong.push('something was cut')
      acknowledged.push(...done)
    }
    // Events that were left in the outbox are published by the next process.
    const last = await store.start({ QUEUE_URI: inject('brokerUris').sigterm })
    const rows = await query<{ id: string }>(store.databaseUri, 'SELECT id FROM raw_file')
    const ids = new Set(rows.map(({ id }) => id))
    await eventually(
      async () => (await query(store.databaseUri, 'SELECT 1 FROM outbox')).length === 0,
      'the outbox is empty',
    )
    await eventually(() => queue.ids().length >= ids.size, 'the events have arrived')
    const arrived = new Set(queue.ids())
    for (const id of acknowledged) if (!ids.has(id)) wrong.push(`${id} is lost`)
    for (const id of ids) if (!arrived.has(id)) wrong.push(`${id} was not announced`)
    const { damaged, temporary } = await stateOfStore(store)
    wrong.push(...[...damaged, ...temporary].map((name) => `${name} is damaged or left over`))
    wrong.push(...(await auditFindings(store)))
    expect(wrong).toEqual([])
    expect(acknowledged.length).toBeGreaterThan(ROUNDS * (IN_FLIGHT + 2 * UPLOADERS))
    expect(await last.stop()).toBe(0)
  },
  isFull ? 1_800_000 : 600_000,
)
