/** What an upload that heals a blob leaves behind, however the upload ends. */
import { randomUUID } from 'node:crypto'
import { mkdtemp, readdir, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { BytesError } from '../../src/domain/errors.js'
import type { MetaRepository } from '../../src/domain/meta-repository.js'
import type { FileMiddleware, RawRepository } from '../../src/domain/ports.js'
import { Budget } from '../../src/flows/budget.js'
import { MAX_EVENTS } from '../../src/flows/event-room.js'
import { type IngestPorts, ingest } from '../../src/flows/ingest.js'
import { createAuditRows } from '../../src/meta/audit.js'
import { createMetaRepository } from '../../src/meta/repository.js'
import { blobFolder } from '../../src/raw/blob-path.js'
import { openDiskRepository } from '../../src/raw/disk-repository.js'
import { identity } from '../../src/raw/middleware/identity.js'
import { createKeyRing, generateKeyPair } from '../../src/raw/middleware/sealed-box/keys.js'
import { createSealedBox } from '../../src/raw/middleware/sealed-box/sealed-box.js'
import { testDatabase } from '../support/database.js'
import { PATIENCE } from '../support/patience.js'
import { silentLog } from '../support/postgres.js'
import { boefjeMeta } from '../support/rows.js'

let database: Awaited<ReturnType<typeof testDatabase>>
let meta: MetaRepository
let dataDir: string
let wakes = 0
let eventMemory: IngestPorts['eventMemory'] = new Budget(MAX_EVENTS)
const box = createSealedBox(createKeyRing(generateKeyPair()))

beforeAll(async () => {
  database = await testDatabase()
  meta = createMetaRepository(database)
  dataDir = await mkdtemp(join(tmpdir(), 'bytes-test-keep-'))
})

afterAll(async () => {
  vi.useRealTimers()
  await database?.close()
  if (dataDir) await rm(dataDir, { recursive: true, force: true })
})

const openRepository = (middleware: FileMiddleware = box): Promise<RawRepository> =>
  openDiskRepository({
    dataDir,
    folderPermission: 0o740,
    filePermission: 0o640,
    reserveBytes: 0,
    middleware,
    readers: [identity, box],
  })

async function upload(raw: RawRepository, rows: MetaRepository, content: string): Promise<string> {
  const job = boefjeMeta({ organization: 'org' })
  await meta.insertBoefjeMeta(job)
  const [id = ''] = await uploadTo(raw, rows, job.id, [[], content])
  return id
}

async function uploadTo(
  raw: RawRepository,
  rows: MetaRepository,
  boefjeMetaId: string,
  ...files: readonly (readonly [tags: readonly string[], content: string])[]
): Promise<string[]> {
  const stored = await ingest(
    {
      meta: rows,
      raw,
      log: silentLog,
      hashes: { store: async () => 'link' },
      algorithm: 'sha512',
      eventMemory,
      wakeRelay: () => {
        wakes++
      },
      wakeTimestamper: () => undefined,
    },
    {
      boefjeMetaId,
      buffered: true,
      receive: (hold) =>
        Promise.all(
          files.map(async ([tags, content], i) => ({
            name: `file ${i}`,
            fileName: null,
            tags,
            content: await hold([Buffer.from(content)]),
          })),
        ),
    },
  )
  return stored.map(([, id]) => id)
}

async function read(raw: RawRepository, id: string): Promise<string> {
  const found = await meta.findRawFile(id)
  if (!found) throw new Error('the raw file has no row')
  const pieces: Uint8Array[] = []
  for await (const piece of await raw.get(found.blob)) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}

async function damaged(raw: RawRepository, content: string) {
  const id = await upload(raw, meta, content)
  const blob = (await meta.findRawFile(id))?.blob
  if (!blob) throw new Error('what was uploaded has no row')
  await truncate(join(dataDir, blobFolder('org', blob.address), blob.address), 3)
  return { id, blob }
}

describe('an upload whose events are long', () => {
  it('takes memory for their MIME types as well', async () => {
    const raw = await openRepository()
    const asked: number[] = []
    eventMemory = {
      take: async (amount) => {
        asked.push(amount)
        return () => undefined
      },
    }
    const job = boefjeMeta({ organization: 'types' })
    await meta.insertBoefjeMeta(job)
    // In JSON each character of them is six.
    const tags = Array.from({ length: 900 }, (_, i) => `${'\u0001'.repeat(60)}${i}`)
    const [id = ''] = await uploadTo(raw, meta, job.id, [tags, 'a'])
    const { rows } = await database.pool.query<{ length: number }>(
      'SELECT length(body) AS length FROM outbox WHERE message_id = $1',
      [id],
    )
    expect(asked).toHaveLength(1)
    // All but some hundred characters of the event itself.
    const length = rows[0]?.length ?? 0
    expect(length).toBeGreaterThan(300_000)
    expect(length - (asked[0] ?? 0)).toBeGreaterThan(0)
    expect(length - (asked[0] ?? 0)).toBeLessThan(500)
  })

  async function upload(raw: RawRepository): Promise<string[]> {
    const args = JSON.stringify({ x: 'x'.repeat(300_000) })
    const job = boefjeMeta({ organization: 'long', arguments: args })
    await meta.insertBoefjeMeta(job)
    return uploadTo(raw, meta, job.id, [['a'], `a ${job.id}`], [['b'], `b ${job.id}`])
  }
  const folders = (): Promise<string[]> =>
    readdir(join(dataDir, blobFolder('long', ''))).catch(() => [])

  afterEach(() => {
    eventMemory = new Budget(MAX_EVENTS)
  })

  it('is refused when others keep the memory for too long, and leaves nothing', async () => {
    const raw = await openRepository()
    eventMemory = { take: async () => undefined }
    const before = await folders()
    await expect(upload(raw)).rejects.toMatchObject({ code: 'busy' })
    expect(await folders()).toEqual(before)
    expect(await readdir(join(dataDir, 'tmp'))).toEqual([])
  })

  it('waits for others that take the memory, and gives back its own', async () => {
    const raw = await openRepository()
    const budget = new Budget(MAX_EVENTS)
    const release = await budget.take(MAX_EVENTS, 1000)
    let asked = 0
    eventMemory = {
      take: (amount, waitMs) => {
        asked = amount
        return budget.take(amount, waitMs)
      },
    }
    const stored = upload(raw)
    await vi.waitUntil(() => asked > 0, PATIENCE)
    expect(asked).toBeGreaterThan(600_000)
    expect(await folders()).toEqual([])
    release?.()
    expect(await stored).toHaveLength(2)
    expect(await folders()).not.toEqual([])
    expect(await budget.take(MAX_EVENTS, 1000)).toBeTypeOf('function')
  })
})

it('an upload that heals a blob and is then refused leaves it healed', async () => {
  const raw = await openRepository()
  const content = `healed ${randomUUID()}`
  const { id } = await damaged(raw, content)
  const refusing: MetaRepository = {
    ...meta,
    commitUpload: async () => {
      throw new BytesError('boefje_meta_not_found', 'deleted meanwhile')
    },
  }
  await expect(upload(raw, refusing, content)).rejects.toMatchObject({
    code: 'boefje_meta_not_found',
  })
  expect(await read(raw, id)).toBe(content)
})

describe.each([
  ['identity', identity],
  ['sealed-box', box],
])('an upload that is repeated (%s)', (_, middleware) => {
  const pathOf = async (id: string): Promise<string> => {
    const blob = (await meta.findRawFile(id))?.blob
    if (!blob) throw new Error('what was uploaded has no row')
    return join(dataDir, blobFolder('org', blob.address), blob.address)
  }

  const blobFiles = async (): Promise<number> => {
    const entries = await readdir(join(dataDir, 'blobs'), { recursive: true, withFileTypes: true })
    return entries.filter((entry) => entry.isFile()).length
  }

  it('heals what has been damaged or lost meanwhile, and leaves what is whole as it is', async () => {
    const raw = await openRepository(middleware)
    const job = boefjeMeta({ organization: 'org' })
    await meta.insertBoefjeMeta(job)
    const files = ['cut', 'lost', 'whole', 'cut as well'].map(
      (name) => [[name], `${name} ${randomUUID()}`] as const,
    )
    const created = `new ${randomUUID()}`
    const ids = await uploadTo(raw, meta, job.id, ...files)
    const paths = await Promise.all(ids.map(pathOf))
    const [cut = '', lost = '', whole = '', also = ''] = paths
    await truncate(cut, 3)
    await rm(lost)
    await truncate(also, 0)
    const { ino } = await stat(whole)
    const before = await blobFiles()
    wakes = 0
    expect(await uploadTo(raw, meta, job.id, ...files.slice(0, 3))).toEqual(ids.slice(0, 3))
    expect(wakes).toBe(0)
    // With one that is new.
    const [again, fresh = ''] = await uploadTo(raw, meta, job.id, files[3] ?? [[], ''], [
      ['new'],
      created,
    ])
    expect([again, wakes]).toEqual([ids[3], 1])
    for (const [i, [, content]] of files.entries()) {
      expect(await read(raw, ids[i] ?? '')).toBe(content)
    }
    expect(await read(raw, fresh)).toBe(created)
    expect((await stat(await pathOf(ids[2] ?? ''))).ino).toBe(ino)
    // The lost one, and the new one: what was replaced has not stayed.
    expect(await blobFiles()).toBe(before + 2)
  })

  it('with other content for the same MIME types stores nothing', async () => {
    const raw = await openRepository(middleware)
    const job = boefjeMeta({ organization: 'org' })
    await meta.insertBoefjeMeta(job)
    const content = `first ${randomUUID()}`
    const ids = await uploadTo(raw, meta, job.id, [['a'], content])
    expect(await uploadTo(raw, meta, job.id, [['a'], 'another'])).toEqual(ids)
    expect(await read(raw, ids[0] ?? '')).toBe(content)
  })
})

it('a row that an upload is healing is as new, so that no sweep takes it meanwhile', async () => {
  const raw = await openRepository()
  const content = `healed ${randomUUID()}`
  const { id, blob } = await damaged(raw, content)
  await database.pool.query('DELETE FROM raw_file WHERE id = $1', [id])
  const { rows: found } = await database.pool.query<{ id: number }>(
    `UPDATE blob SET created_at = now() - interval '3 days', verified_at = now() - interval '2 days'
     WHERE address = $1 RETURNING id::float8 AS id`,
    [blob.address],
  )
  const [{ id: blobId } = { id: -1 }] = found
  let removed: boolean | undefined
  const sweeping: MetaRepository = {
    ...meta,
    commitUpload: async (files) => {
      removed = await createAuditRows(database.pool).removeBlobRow(blobId, 24 * 60 * 60)
      return meta.commitUpload(files)
    },
  }
  expect(await read(raw, await upload(raw, sweeping, content))).toBe(content)
  expect(removed).toBe(false)
  const { rows } = await database.pool.query('SELECT verified_at FROM blob WHERE id = $1', [blobId])
  expect(rows).toEqual([{ verified_at: null }])
})

it('the start of another instance leaves what an upload that takes hours has staged', async () => {
  const raw = await openRepository()
  const temporary = join(dataDir, 'tmp')
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  const staged = await raw.stage([Buffer.from('the first file')], () => 'sha512:00')
  const [name = ''] = await readdir(temporary)
  const old = new Date(Date.now() - 2 * 60 * 60 * 1000)
  const leftBehind = randomUUID()
  await writeFile(join(temporary, leftBehind), 'of the dead')
  for (const each of [name, leftBehind]) await utimes(join(temporary, each), old, old)
  vi.advanceTimersByTime(10 * 60 * 1000)
  await vi.waitFor(async () => {
    const { mtimeMs } = await stat(join(temporary, name))
    expect(mtimeMs).toBeGreaterThan(old.getTime() + 1000)
  }, PATIENCE)
  await openRepository()
  expect(await readdir(temporary)).toEqual([name])
  await raw.publish('org', [staged])
  expect(await readdir(temporary)).toEqual([])
  expect(vi.getTimerCount()).toBe(0)
  vi.useRealTimers()
})
