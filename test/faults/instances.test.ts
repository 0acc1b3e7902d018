/** Several instances on one database, data directory and broker: none gets in another's way. */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { errorsLogged, eventually, query } from '../acceptance/helpers.js'
import { auditFindings } from '../support/audit.js'
import { type Client, login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { createDatabase, dropDatabase } from '../support/postgres.js'
import { type QueueReader, readQueue } from '../support/queue.js'
import { sealing, type TestService, type TestStore, testStore } from '../support/service.js'
import { stateOfStore } from '../support/store-check.js'
import { tallyOf } from '../support/tally.js'

const ROUNDS = isFull ? 60 : 3
const KILLS = isFull ? 10 : 1
const RACERS = 8
/** Milliseconds, for a busy machine. */
const LIMIT = isFull ? 3_600_000 : 600_000

interface Instance {
  service: TestService
  client: Client
}

let store: TestStore | undefined
let queue: QueueReader | undefined
let database: string | undefined

afterEach(async () => {
  await store?.remove()
  await queue?.close()
  if (database) await dropDatabase(inject('postgresUri'), database)
})

describe.each([
  [2, 'IDENTITY'],
  [4, 'NACL_SEALBOX'],
] as const)('%i instances with %s', (count, middleware) => {
  it(
    'migrate once, race for the same files, die and come back, and lose nothing',
    async () => {
      const tally = tallyOf('instances', `uploads to ${count} at once`)
      store = await testStore()
      database = `test_${randomBytes(8).toString('hex')}`
      const databaseUri = await createDatabase(inject('postgresUri'), database)
      const shared = { ...store, databaseUri }
      queue = await readQueue(inject('brokerUris').instances)
      const environment = {
        BYTES_DB_URI: databaseUri,
        QUEUE_URI: inject('brokerUris').instances,
        ...(middleware === 'NACL_SEALBOX' ? await sealing() : {}),
      }
      const start = async (): Promise<Instance> => {
        const service = await shared.start(environment)
        return { service, client: await login(service.url) }
      }
      // At once, on a database without tables and a directory without folders.
      const instances = await Promise.all(Array.from({ length: count }, start))

      const acknowledged = new Map<string, Buffer>()
      const wrong = tally.violations
      const any = (n: number): Instance => instances[n % count] as Instance
      const rowsOf = async (): Promise<string[]> =>
        (await query<{ id: string }>(databaseUri, 'SELECT id FROM raw_file')).map(({ id }) => id)
      const expectAnnounced = async (): Promise<void> => {
        const ids = await rowsOf()
        const missing = (): string[] => {
          const arrived = new Set(queue?.ids())
          return ids.filter((id) => !arrived.has(id))
        }
        await eventually(() => missing().length === 0, 'every event has arrived')
      }

      /** Everybody uploads the same content: for the same job, and each for a job of their own. */
      const race = async (round: number, mayFail: boolean): Promise<void> => {
        const content = randomBytes(1 + ((round * 40_009) % 200_000))
        const upload = async (n: number, job: string): Promise<string | undefined> => {
          tally.tried++
          try {
            const files = [{ name: 'file', content, tags: ['raced'] }]
            const { file = '' } = await any(n).client.upload(job, files)
            acknowledged.set(file, content)
            return file
          } catch (error) {
            // Only a process that was killed owes no answer.
            if (!mayFail || !(error instanceof TypeError)) wrong.push(String(error))
          }
        }
        const same = await any(round).client.job(`org-${round % 2}`)
        const own = await Promise.all(
          Array.from({ length: RACERS }, () => any(round).client.job(`org-${round % 2}`)),
        )
        const shared = await Promise.all(own.map((_, n) => upload(n, same)))
        if (new Set(shared.filter((id) => id !== undefined)).size > 1) wrong.push('two ids for one')
        await Promise.all(own.map((job, n) => upload(n, job)))
      }

      for (let round = 0; round < ROUNDS; round++) await race(round, false)
      await expectAnnounced()
      const { length } = queue.ids()
      if (new Set(queue.ids()).size < length) wrong.push('an event came twice without a fault')

      // One dies and one is replaced while all upload.
      for (let kill = 0; kill < KILLS; kill++) {
        const [dying, leaving] = [instances[kill % count], instances[(kill + 1) % count]]
        let over = false
        const load = (async () => {
          for (let round = 1000 * (kill + 1); !over; round++) {
            // A job cannot be made by one that is gone.
            await race(round, true).catch((error: unknown) => {
              if (!(error instanceof TypeError)) throw error
            })
          }
        })()
        await sleep(200 + ((kill * 137) % 500))
        await dying?.service.kill()
        instances[kill % count] = await start()
        const code = await leaving?.service.stop()
        if (code !== 0) wrong.push(`an instance ended with ${code}`)
        wrong.push(...errorsLogged(leaving?.service.log() ?? ''))
        instances[(kill + 1) % count] = await start()
        over = true
        await load
      }

      await expectAnnounced()
      const rows = new Set(await rowsOf())
      for (const id of acknowledged.keys()) if (!rows.has(id)) wrong.push(`${id} is lost`)
      // The same id stands for the same message, however often it comes.
      const bodies = new Map<unknown, string>()
      for (const { content, properties } of queue.messages) {
        const id: unknown = properties.messageId
        const body = content.toString()
        if ((bodies.get(id) ?? body) !== body) wrong.push(`${id} stands for two events`)
        if (!rows.has(String(id))) wrong.push(`${id} was announced and is not there`)
        bodies.set(id, body)
      }
      wrong.push(...(await stateOfStore(shared)).damaged.map((id) => `${id} is damaged`))
      wrong.push(...(await auditFindings(store, databaseUri)))
      for (const [n, [id, content]] of [...acknowledged].entries()) {
        const answer = await any(n).client.request(`/bytes/raw/${id}`)
        const same = content.equals(Buffer.from(await answer.arrayBuffer()))
        if (!same) wrong.push(`${id} answered ${answer.status}`)
      }
      for (const { service } of instances) {
        const code = await service.stop()
        if (code !== 0) wrong.push(`an instance ended with ${code}`)
        wrong.push(...errorsLogged(service.log()))
      }
      expect(wrong).toEqual([])
    },
    LIMIT,
  )
})
