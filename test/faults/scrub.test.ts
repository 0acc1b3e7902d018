/** Promise 3: damage to what nobody reads is found by the scrub and by `bytes audit`, which name the raw files. */
import { randomBytes } from 'node:crypto'
import { readFile, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { eventually, query, sample } from '../acceptance/helpers.js'
import { auditReport } from '../support/audit.js'
import { login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { sealing, type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'

const SIZES = isFull ? [16, 100, 65_537, 262_145, 5 * 1024 * 1024] : [70_000]
const MIDDLEWARES = ['IDENTITY', 'NACL_SEALBOX'] as const
/** The scrub rests for a second after each blob that is wrong. */
const PATIENCE_MS = isFull ? 300_000 : 90_000

/** A content, and the raw files that have it. */
interface Stored {
  readonly ids: readonly string[]
  readonly path: string
}

async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path)
  const index = Math.floor(at * (bytes.length - 1))
  bytes[index] = (bytes[index] ?? 0) ^ 1
  await writeFile(path, bytes)
}

/** Each is done to a blob; what an audit calls it; whether `make test` has it. */
type Damage = readonly [finding: string, damage: (path: string) => Promise<void>, always?: boolean]
const cut = async (path: string) => truncate(path, (await readFile(path)).length - 1)
const ALL: readonly Damage[] = [
  ['blob_wrong_digest', (path) => flip(path, 0)],
  ['blob_wrong_digest', (path) => flip(path, 0.5), true],
  ['blob_wrong_digest', (path) => flip(path, 1)],
  ['blob_wrong_size', cut, true],
  ['blob_wrong_size', (path) => truncate(path, 0)],
  ['blob_missing', (path) => rm(path), true],
]
const DAMAGES = ALL.filter(([, , always]) => isFull || always)

let store: TestStore
let keys: Record<string, string>

beforeEach(async () => {
  store = await testStore()
  keys = await sealing()
})

afterEach(() => store?.remove())

const start = (middleware: string, environment: Record<string, string> = {}) =>
  store.start({ ...keys, BYTES_ENCRYPTION_MIDDLEWARE: middleware, ...environment })

/** Stores contents of each size, each as two raw files. */
async function storeAll(middleware: string, count: number): Promise<Stored[]> {
  const service = await start(middleware, { BYTES_SCRUB_BYTES_PER_SECOND: '0' })
  const client = await login(service.url)
  const stored: Stored[] = []
  for (const size of SIZES) {
    for (let i = 0; i < count; i++) {
      const content = randomBytes(size)
      const files = ['a', 'b'].map((name) => ({ name, content, tags: [name] }))
      const ids = Object.values(await client.upload(await client.job(), files))
      const [{ address = '' } = {}] = await query<{ address: string }>(
        store.databaseUri,
        'SELECT b.address FROM raw_file r JOIN blob b ON b.id = r.blob_id WHERE r.id = $1',
        [ids[0]],
      )
      const path = join(store.dataDir, 'blobs/v1/org', address.slice(0, 2), address)
      stored.push({ ids: ids.toSorted(), path })
    }
  }
  expect(await service.stop()).toBe(0)
  return stored
}

/** A line of the log. */
interface Told {
  readonly rawFileIds: readonly string[]
}

it(
  'damage of every sort is told once, with the raw files, and counted',
  async () => {
    const tally = tallyOf('bit rot', 'blobs that nobody reads')
    const intact: Stored[] = []
    /** What an audit has to find, by the first raw file. */
    const damaged = new Map<string, Stored & { finding: string }>()
    for (const middleware of MIDDLEWARES) {
      const stored = await storeAll(middleware, DAMAGES.length + 3)
      while (stored.length > 0) {
        const [first, second, ...rest] = stored.splice(0, DAMAGES.length + 3)
        if (!first || !second) throw new Error('too few were stored')
        // Each has the size of the other.
        await rename(first.path, `${first.path}.away`)
        await rename(second.path, first.path)
        await rename(`${first.path}.away`, second.path)
        for (const one of [first, second]) {
          damaged.set(one.ids[0] ?? '', { ...one, finding: 'blob_wrong_digest' })
        }
        for (const [i, one] of rest.entries()) {
          const [finding, damage] = DAMAGES[i] ?? []
          await damage?.(one.path)
          if (finding) damaged.set(one.ids[0] ?? '', { ...one, finding })
          else intact.push(one)
        }
      }
    }
    tally.tried = damaged.size

    // It reads what has not been read for a day.
    await query(store.databaseUri, `UPDATE blob SET created_at = now() - interval '2 days'`)
    const service = await start('IDENTITY', { BYTES_SCRUB_BYTES_PER_SECOND: '1000000000' })
    const told = (): Told[] =>
      service
        .log()
        .split('\n')
        .filter((line) => line.includes('a stored content is missing or damaged'))
        .map((line) => JSON.parse(line))
    await expect
      .poll(() => told().length, { timeout: PATIENCE_MS, interval: 200 })
      .toBeGreaterThanOrEqual(damaged.size)
    const verified = `SELECT 1 FROM blob WHERE verified_at IS NOT NULL`
    const read = async () => (await query(store.databaseUri, verified)).length === intact.length
    await eventually(read, 'what is whole was read')

    const wanted = [...damaged.values()].map(({ ids }) => ids.join()).toSorted()
    const found = told().map(({ rawFileIds }) => rawFileIds.toSorted().join())
    expect(found.toSorted()).toEqual(wanted)
    const page = await (await (await login(service.url)).request('/metrics')).text()
    const counted = (code: string) => sample(page, `bytes_blob_errors_total{code="${code}"}`)
    const missing = [...damaged.values()].filter(({ finding }) => finding === 'blob_missing').length
    expect(counted('blob_missing')).toBe(missing)
    expect(counted('blob_damaged')).toBe(damaged.size - missing)
    expect(await service.stop()).toBe(0)

    const { findings } = await auditReport(store)
    const named = findings.map(({ kind, raw_file_ids: ids }) => `${kind} ${ids.toSorted().join()}`)
    const kinds = [...damaged.values()].map(({ ids, finding }) => `${finding} ${ids.join()}`)
    expect(named.toSorted()).toEqual(kinds.toSorted())
  },
  isFull ? 1_800_000 : 300_000,
)
