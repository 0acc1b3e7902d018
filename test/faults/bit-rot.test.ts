/** Promise 3: content that is damaged on the disk is found when it is read, told with its id, and never served. */
import { randomBytes } from 'node:crypto'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually, query, sample } from '../acceptance/helpers.js'
import { type Client, login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { sealing, type TestService, type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'

const MIB = 1024 * 1024
/** Below, at and above what is read in one piece, and what is hashed on another thread. */
const SIZES = isFull
  ? [1, 2, 100, 65_536, 65_537, 262_144, 262_145, MIB, MIB + 1, 5 * MIB]
  : [1, 2 * MIB]

/** What happens to the bytes of a blob; undefined takes the file away. */
type Damage = (bytes: Buffer, other: Buffer) => Buffer | undefined
const flip = (bytes: Buffer, at: number, bit: number): Buffer => {
  const changed = Buffer.from(bytes)
  changed[at] = (changed[at] ?? 0) ^ (1 << bit)
  return changed
}
const DAMAGES: Readonly<Record<string, Damage>> = {
  'the first bit flipped': (bytes) => flip(bytes, 0, 0),
  'a bit in the middle flipped': (bytes) => flip(bytes, Math.floor(bytes.length / 2), 5),
  'the last bit flipped': (bytes) => flip(bytes, bytes.length - 1, 7),
  'the last byte cut off': (bytes) => bytes.subarray(0, -1),
  'half of it cut off': (bytes) => bytes.subarray(0, Math.floor(bytes.length / 2)),
  'all of it cut off': (bytes) => bytes.subarray(0, 0),
  'a byte appended': (bytes) => Buffer.concat([bytes, Buffer.from('x')]),
  'zeros in its place': (bytes) => Buffer.alloc(bytes.length),
  'another blob of its size in its place': (_, other) => other,
  removed: () => undefined,
}

interface Stored {
  readonly id: string
  readonly job: string
  readonly digest: string
  readonly content: Buffer
  readonly path: string
}

describe.each(['IDENTITY', 'NACL_SEALBOX'])('a blob of %s', (middleware) => {
  const sort = middleware === 'IDENTITY' ? 'clear' : 'encrypted'
  let store: TestStore
  let service: TestService
  let client: Client

  beforeAll(async () => {
    store = await testStore()
    service = await store.start(middleware === 'IDENTITY' ? {} : await sealing())
    client = await login(service.url)
  })

  afterAll(() => store?.remove())

  async function storeOne(size: number): Promise<Stored> {
    const content = randomBytes(size)
    const job = await client.job()
    const ids = await client.upload(job, [{ name: 'file', content, tags: ['rot'] }])
    const id = ids.file ?? ''
    const [row] = await query<{ address: string; digest: string }>(
      store.databaseUri,
      `SELECT b.address, b.content_digest AS digest
       FROM raw_file r JOIN blob b ON b.id = r.blob_id WHERE r.id = $1`,
      [id],
    )
    const { address = '', digest = '' } = row ?? {}
    const path = join(store.dataDir, 'blobs/v1/org', address.slice(0, 2), address)
    return { id, job, digest, content, path }
  }

  const errorCount = async (): Promise<number> => {
    const page = await (await client.request('/metrics')).text()
    return ['blob_damaged', 'blob_missing']
      .map((code) => sample(page, `bytes_blob_errors_total{code="${code}"}`) ?? 0)
      .reduce((sum, count) => sum + count, 0)
  }

  /** Everything that gives the whole content, with the name that its errors have. */
  const readers = ({ id, digest, job }: Stored): [path: string, name: string][] => [
    [`/bytes/raw/${id}`, id],
    [`/bytes/raws?raw_ids=${id}`, id],
    [`/bytes/raws?boefje_meta_id=${job}`, id],
    [`/bytes/blobs/${digest}?organization=org`, digest],
  ]

  /** @returns what is wrong with the answer to a read of damaged content */
  async function readDamaged(path: string, name: string): Promise<string | undefined> {
    const answer = await client.request(path)
    let body: string
    try {
      body = await answer.text()
    } catch (error) {
      // The transfer was broken off: nobody takes it for whole.
      if (answer.status !== 200 || !(error instanceof TypeError)) return String(error)
      const told = () => service.log().includes(`${name} cannot be read`)
      return (await eventually(told, `${path} is told of`)) ? undefined : 'no log'
    }
    if (answer.status !== 500) return `${path} answered ${answer.status}`
    return body.includes(name) ? undefined : `${path} did not tell the name: ${body}`
  }

  /** @returns what is wrong with a verification of it */
  async function verifyDamaged({ id }: Stored): Promise<string | undefined> {
    const answer = await client.request(`/bytes/raw/${id}/verify`)
    const { verdict } = (await answer.json()) as { verdict?: string }
    return verdict === 'failed' ? undefined : `verify: ${answer.status}, ${verdict}`
  }

  it('that is damaged is found whichever way it is read, and healed by an upload', async () => {
    const tally = tallyOf('bit rot', `reads of damaged ${sort} blobs`)
    const wrong = tally.violations
    let sameJob = true
    for (const size of SIZES) {
      const other = await storeOne(size)
      const otherBytes = await readFile(other.path)
      for (const [what, damage] of Object.entries(DAMAGES)) {
        const victim = await storeOne(size)
        const bytes = await readFile(victim.path)
        const damaged = damage(bytes, otherBytes)
        // Of a single byte some damages are none, or what another one is as well.
        if (damaged?.equals(bytes)) continue
        if (damaged === undefined) await rename(victim.path, `${victim.path}.away`)
        else await writeFile(victim.path, damaged)
        const before = await errorCount()
        const found = []
        for (const [path, name] of readers(victim)) found.push(await readDamaged(path, name))
        found.push(await verifyDamaged(victim))
        tally.tried += found.length
        // The verification tells it in its answer.
        if ((await errorCount()) < before + found.length - 1) found.push('it was not counted')
        if (!service.log().includes(`Raw file ${victim.id} cannot be read`)) found.push('no log')
        await rm(`${victim.path}.away`, { force: true })

        // An equal upload puts a good blob in its place, and leaves others as they are: also the
        // very same one, of which nothing but the content is new.
        const again = sameJob ? victim.job : await client.job()
        sameJob = !sameJob
        await client.upload(again, [{ name: 'file', content: victim.content, tags: ['rot'] }])
        for (const { id, content } of [victim, other]) {
          const answer = await client.request(`/bytes/raw/${id}`)
          const same = content.equals(Buffer.from(await answer.arrayBuffer()))
          if (answer.status !== 200 || !same) found.push(`${id} is not healed`)
        }
        const problems = found.filter((problem) => problem !== undefined)
        wrong.push(...problems.map((problem) => `${size} bytes, ${what}: ${problem}`))
      }
    }
    expect(wrong).toEqual([])
    expect(tally.tried).toBeGreaterThan(SIZES.length * 15)
  }, 1_800_000)

  it('that was swapped with another is found in both, and in parts where parts are checked', async () => {
    const tally = tallyOf('bit rot', `reads of swapped ${sort} blobs`)
    const wrong = tally.violations
    for (const size of SIZES.filter((each) => each > 1)) {
      const pair = [await storeOne(size), await storeOne(size)] as const
      await rename(pair[0].path, `${pair[0].path}.away`)
      await rename(pair[1].path, pair[0].path)
      await rename(`${pair[0].path}.away`, pair[1].path)
      for (const { id } of pair) {
        tally.tried++
        const problem = await readDamaged(`/bytes/raw/${id}`, id)
        if (problem) wrong.push(`${size} bytes: ${problem}`)
        // Only what is encrypted can be checked in parts.
        if (middleware === 'IDENTITY') continue
        tally.tried++
        const range = `bytes=${size - 1}-`
        const part = await client.request(`/bytes/raw/${id}`, { headers: { range } })
        if (part.status !== 500) wrong.push(`${size} bytes: a range answered ${part.status}`)
        await part.arrayBuffer()
      }
    }
    expect(wrong).toEqual([])
  })
})
