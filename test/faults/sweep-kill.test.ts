/** Two sweeps at once, killed in the middle of it while the same contents are uploaded, lose nothing. */
import { createHash, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { filesBelow } from '../acceptance/helpers.js'
import { auditFindings } from '../support/audit.js'
import { type Client, login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import {
  PASSWORD,
  SECRET,
  spawnProcess,
  type TestStore,
  testStore,
  USERNAME,
} from '../support/service.js'
import { stateOfStore } from '../support/store-check.js'
import { tallyOf } from '../support/tally.js'

const ROUNDS = isFull ? 100 : 2
const ORPHANS = isFull ? 400 : 240
/** Of them, those that uploads may want: the others are left for the sweeps, however quick the uploads are. */
const WANTED = ORPHANS / 2
/** Most removals of a sweep that is killed. */
const REMOVALS = ORPHANS / 16
const UPLOADERS = 2

let store: TestStore
let client: Client

beforeAll(async () => {
  store = await testStore()
  client = await login((await store.start({ BYTES_SCRUB_BYTES_PER_SECOND: '0' })).url)
})

afterAll(() => store?.remove())

const contentOf = (round: number, i: number): string => `content ${i} of round ${round}`

/** Old files at the addresses of contents, which no row has. */
async function leaveOrphans(round: number): Promise<void> {
  const then = new Date(Date.now() - 48 * 3600 * 1000)
  for (let i = 0; i < ORPHANS; i++) {
    const content = contentOf(round, i)
    const address = createHash('sha512').update(content).digest('hex')
    const folder = join(store.dataDir, 'blobs', 'v1', 'org', address.slice(0, 2))
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, address), content)
    await utimes(join(folder, address), then, then)
  }
}

/** @param killedAfter removals; undefined lets it come to its end. @returns what it has told */
async function sweep(killedAfter?: number): Promise<{ code: number | null; told: string }> {
  const child = spawnProcess(['audit', '--sweep', '--sample', '0%'], {
    BYTES_USERNAME: USERNAME,
    BYTES_PASSWORD: PASSWORD,
    BYTES_SECRET: SECRET,
    BYTES_DB_URI: store.databaseUri,
    BYTES_DATA_DIR: store.dataDir,
  })
  let told = ''
  child.stdout?.on('data', (chunk) => {
    told += chunk
    const removals = told.split('removed: ').length - 1
    if (killedAfter !== undefined && removals >= killedAfter) child.kill('SIGKILL')
  })
  child.stderr?.on('data', (chunk) => {
    told += chunk
  })
  const [code] = await once(child, 'close')
  return { code, told }
}

it('kill -9 of sweeps beside uploads of the same contents loses nothing', async () => {
  const tally = tallyOf('sweep', 'kill -9 beside uploads')
  const acknowledged = new Map<string, string>()
  const upload = async (content: string): Promise<void> => {
    const { file = '' } = await client.upload(await client.job(), [{ name: 'file', content }])
    acknowledged.set(file, content)
  }
  const read = async (id: string): Promise<string> => {
    const answer = await client.request(`/bytes/raw/${id}`)
    return answer.status === 200 ? answer.text() : `status ${answer.status}`
  }
  const wrong = tally.violations
  const check = async (): Promise<void> => {
    for (const [id, content] of acknowledged) {
      const found = await read(id)
      if (found !== content) wrong.push(`${content}: ${found}`)
    }
  }
  await upload('what is there from the beginning')
  for (let round = 0; round < ROUNDS; round++) {
    await leaveOrphans(round)
    let sweeping = true
    const uploading = Array.from({ length: UPLOADERS }, async () => {
      while (sweeping) await upload(contentOf(round, randomInt(WANTED)))
    })
    const ends = await Promise.all([sweep(1 + randomInt(REMOVALS)), sweep(1 + randomInt(REMOVALS))])
    sweeping = false
    await Promise.all(uploading)
    tally.tried += ends.filter(({ code }) => code === null).length
    if (round % 10 === 9) await check()
  }
  const last = await sweep()
  expect(last).toMatchObject({ code: 0 })
  expect(last.told).toContain('removed: blob without row')
  await check()
  const left = await filesBelow(join(store.dataDir, 'blobs'))
  wrong.push(...left.filter((name) => name.endsWith('.swept')))
  const { damaged, orphans } = await stateOfStore(store)
  wrong.push(...damaged, ...(await auditFindings(store)))
  expect(orphans).toEqual([])
  expect(wrong).toEqual([])
  expect(tally.tried).toBeGreaterThan(ROUNDS / 2)
  expect(acknowledged.size).toBeGreaterThan(ROUNDS)
}, 1_200_000)
