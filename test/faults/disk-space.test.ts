/** A disk that is full, has no names left, or is made read-only: refused, whole or not at all, and then as before. */
import { randomBytes } from 'node:crypto'
import { rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { eventually, rowCounts, untilHealthy } from '../acceptance/helpers.js'
import { auditFindings } from '../support/audit.js'
import { type Client, login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { mountMemory, remount, skipFor, unmount } from '../support/fault-tools.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { stateOfStore } from '../support/store-check.js'
import { type Tally, tallyOf } from '../support/tally.js'
import { offsetOf, sendRest, uploadBy, WAYS } from '../support/ways.js'

const KIB = 1024
const MIB = 1024 * KIB
/** Bytes that are left on the disk, and sizes of the files that are tried there. */
const LEFT = isFull ? Array.from({ length: 60 }, (_, i) => i * 12 * KIB) : [0, 24 * KIB, 300 * KIB]
const SIZES = isFull ? [1, 5000, 70_000, 280_000, MIB] : [1, 400_000]

let store: TestStore
let service: TestService
let client: Client
let mounted: boolean
/** What has been acknowledged. */
const stored = new Map<string, Buffer>()

beforeEach(async () => {
  stored.clear()
  store = await testStore()
  mounted = mountMemory(store.dataDir, 'size=32m,nr_inodes=400')
  service = await store.start({ BYTES_DISK_RESERVE_BYTES: '0' })
  client = await login(service.url)
})

afterEach(async () => {
  await service?.kill()
  if (mounted) unmount(store.dataDir)
  await store?.remove()
})

const filler = (): string => join(store.dataDir, 'filler')

/** Fills the disk until so many bytes are left. */
async function fill(left: number): Promise<void> {
  const { bavail, bsize } = await statfs(store.dataDir)
  await writeFile(filler(), Buffer.alloc(Math.max(0, bavail * bsize - left)))
}

/**
 * @param tally counts the uploads
 * @returns what is wrong: acknowledged and not there, refused and half there, or a wrong refusal
 */
async function tryAll(
  organization: string,
  refusals: readonly number[],
  tally?: Tally,
): Promise<string[]> {
  const wrong: string[] = []
  for (const way of WAYS) {
    for (const size of SIZES) {
      const what = `${way} of ${size} bytes to ${organization}`
      const content = randomBytes(size)
      const job = await client.job(organization)
      const before = await rowCounts(store.databaseUri)
      const outcome = await uploadBy(way, service, client, job, content)
      if (tally) tally.tried++
      if (outcome.id !== undefined) stored.set(outcome.id, content)
      else if (!refusals.includes(outcome.status)) wrong.push(`${what}: ${outcome.status}`)
      else if (outcome.status === 503 && !outcome.retryAfter) wrong.push(`${what}: no Retry-After`)
      else {
        const { raw_file: rowsBefore } = before
        const { raw_file: after, outbox } = await rowCounts(store.databaseUri)
        // Of a resumable upload the file may be stored, and its record not be told any more.
        const most = (rowsBefore ?? 0) + (way === 'resumable' ? 1 : 0)
        if ((after ?? 0) > most || after !== outbox) wrong.push(`${what}: rows are left`)
      }
      if (outcome.upload && outcome.id === undefined) {
        const headers = { 'tus-resumable': '1.0.0' }
        await client.request(outcome.upload, { method: 'DELETE', headers })
      }
    }
  }
  const { damaged, temporary, orphans } = await stateOfStore(store)
  for (const id of damaged) wrong.push(`${id} is damaged`)
  for (const name of [...temporary, ...orphans]) wrong.push(`${name} is left over`)
  return wrong
}

async function expectReadable(): Promise<void> {
  expect(stored.size).toBeGreaterThan(0)
  for (const [id, content] of stored) {
    const answer = await client.request(`/bytes/raw/${id}`)
    expect([id, answer.status]).toEqual([id, 200])
    expect(content.equals(Buffer.from(await answer.arrayBuffer()))).toBe(true)
  }
}

/** Every way works again, without a restart. */
async function expectRecovered(organization: string): Promise<void> {
  await untilHealthy(client)
  const before = stored.size
  expect(await tryAll(organization, [])).toEqual([])
  expect(stored.size).toBe(before + WAYS.length * SIZES.length)
  await expectReadable()
}

it('a disk that is full refuses with 507 what does not fit, and keeps what it took', async ({
  skip,
}) => {
  if (!mounted) skipFor(skip, 'no file system may be mounted here')
  const tally = tallyOf('disk', 'uploads to a full disk')
  const wrong = tally.violations
  expect(await tryAll('org', [])).toEqual([])
  for (const [i, left] of LEFT.entries()) {
    await fill(left)
    // Some organizations are new: their folders take space as well.
    wrong.push(...(await tryAll(i % 2 === 0 ? 'org' : `org-${i}`, [507], tally)))
    if (left === 0 && (await client.request('/health')).status !== 503) wrong.push('healthy')
    await rm(filler())
  }
  expect(wrong).toEqual([])
  if (isFull) await expectReadable()
  else await expectRecovered('again')
  expect(await auditFindings(store)).toEqual([])
}, 1_800_000)

it('a disk without a free name refuses with 507', async ({ skip }) => {
  if (!mounted) skipFor(skip, 'no file system may be mounted here')
  const tally = tallyOf('disk', 'uploads to a disk without names')
  const wrong = tally.violations
  const folder = join(store.dataDir, 'names')
  const names: string[] = []
  try {
    for (;;) {
      const path = `${folder}-${names.length}`
      await writeFile(path, '')
      names.push(path)
    }
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' })
  }
  const mostFree = isFull ? 6 : 2
  for (let free = 0; free <= mostFree; free++) {
    // At most so many names are free; an upload takes up to three, in folders that are new.
    wrong.push(...(await tryAll(`org-${free}`, [507], tally)))
    const path = names.pop()
    if (path) await rm(path)
  }
  expect(wrong).toEqual([])
  for (const path of names) await rm(path)
  await expectRecovered('again')
  expect(await auditFindings(store)).toEqual([])
}, 1_800_000)

it('the last names are left to others if some space is', async ({ skip }) => {
  if (!mounted) skipFor(skip, 'no file system may be mounted here')
  tallyOf('disk', 'uploads to a disk with few names').tried = WAYS.length * SIZES.length
  await service.stop()
  service = await store.start({ BYTES_DISK_RESERVE_BYTES: '1' })
  client = await login(service.url)
  expect(await tryAll('org', [])).toEqual([])
  const free = async (): Promise<number> => (await statfs(store.dataDir)).ffree
  const names: string[] = []
  while ((await free()) > 3) {
    names.push(join(store.dataDir, `name-${names.length}`))
    await writeFile(names.at(-1) ?? '', '')
  }
  // What is free is looked at now and then.
  await eventually(async () => {
    const health = await client.request('/health')
    return health.status === 503 && (await health.text()).includes('inodes')
  }, 'it is known')
  expect(await tryAll('org', [507])).toEqual([])
  expect(await free()).toBe(3)
  for (const path of names) await rm(path)
  await expectRecovered('again')
})

it('a resumable upload that met a full disk goes on when there is space', async ({ skip }) => {
  if (!mounted) skipFor(skip, 'no file system may be mounted here')
  const content = randomBytes(3 * MIB)
  const offsets: number[] = []
  const tally = tallyOf('disk', 'resumable uploads that met a full disk')
  // The bytes do not fit; or they do, and the blob that is made of them does not.
  for (const left of [MIB, 4 * MIB]) {
    const job = await client.job('resumed')
    const begun = await client.request('/bytes/uploads', {
      method: 'POST',
      headers: {
        'tus-resumable': '1.0.0',
        'upload-length': String(content.length),
        'upload-metadata': `boefje_meta_id ${Buffer.from(job).toString('base64')}`,
      },
    })
    expect(begun.status).toBe(201)
    const path = new URL(begun.headers.get('location') ?? '', begun.url).pathname
    tally.tried++
    await fill(left)
    const refused = await sendRest(client, path, 0, content)
    expect([refused.status, refused.text]).toEqual([507, expect.stringMatching(/space/)])
    await rm(filler())
    const found = await offsetOf(client, path)
    offsets.push(found.offset)
    const id = found.id ?? (await sendRest(client, path, found.offset, content)).id ?? ''
    const answer = await client.request(`/bytes/raw/${id}`)
    const same = content.equals(Buffer.from(await answer.arrayBuffer()))
    if (!same) tally.violations.push(`with ${left} bytes left it is not given back`)
  }
  expect(tally.violations).toEqual([])
  expect(offsets[0]).toBeLessThan(content.length)
  expect(offsets[1]).toBe(content.length)
  const { damaged, temporary } = await stateOfStore(store)
  expect({ damaged, temporary }).toEqual({ damaged: [], temporary: [] })
  expect(await auditFindings(store)).toEqual([])
})

it('a disk that is remounted read-only refuses with 503 and gives what it has', async ({
  skip,
}) => {
  if (!mounted) skipFor(skip, 'no file system may be mounted here')
  const tally = tallyOf('disk', 'uploads to a read-only disk')
  expect(await tryAll('org', [])).toEqual([])
  const rounds = isFull ? 10 : 1
  const wrong = tally.violations
  for (let round = 0; round < rounds; round++) {
    remount(store.dataDir, 'ro')
    wrong.push(...(await tryAll(round % 2 === 1 ? 'org' : `new-${round}`, [503], tally)))
    if ((await client.request('/health')).status !== 503) wrong.push('it says that it is healthy')
    await expectReadable()
    remount(store.dataDir, 'rw')
    await untilHealthy(client)
  }
  expect(wrong).toEqual([])
  expect(stored.size).toBe(WAYS.length * SIZES.length)
  if (!isFull) await expectRecovered('again')
  expect(await auditFindings(store)).toEqual([])
}, 1_800_000)
