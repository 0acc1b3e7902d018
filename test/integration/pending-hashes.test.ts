import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { MetaRepository, NewRawFile } from '../../src/domain/meta-repository.js'
import type { PendingHashes } from '../../src/domain/pending-hashes.js'
import { type Database, openDatabase } from '../../src/meta/client.js'
import { createPendingHashes } from '../../src/meta/pending-hashes.js'
import { createMetaRepository } from '../../src/meta/repository.js'
import { pendingHashesContract } from '../contracts/pending-hashes.contract.js'
import { testDatabase } from '../support/database.js'
import { silentLog } from '../support/postgres.js'
import { boefjeMeta, newRawFile } from '../support/rows.js'

let database: Awaited<ReturnType<typeof testDatabase>>
/** The pool of another process on the same database. */
let other: Database
let meta: MetaRepository
let pending: PendingHashes

beforeAll(async () => {
  database = await testDatabase()
  other = openDatabase(database.uri, 16, silentLog)
  meta = createMetaRepository(database)
  pending = createPendingHashes(database.pool)
})

afterAll(async () => {
  await other?.close()
  await database?.close()
})

beforeEach(async () => {
  await database.pool.query('DELETE FROM raw_file')
})

/** Files of a new job that have no link yet. */
async function waitingFiles(...secureHashes: string[]): Promise<NewRawFile[]> {
  const job = boefjeMeta()
  await meta.insertBoefjeMeta(job)
  const files = secureHashes.map((secureHash, i) => ({
    ...newRawFile(job, [`slot/${i}`]),
    secureHash,
    hashRetrievalLink: null,
  }))
  await meta.commitUpload(files)
  return files
}

const waitingRows = async (): Promise<string[]> =>
  (
    await database.pool.query<{ raw_file_id: string }>(
      'SELECT raw_file_id FROM pending_hash ORDER BY id',
    )
  ).rows.map((row) => row.raw_file_id)

pendingHashesContract('Postgres', async () => ({
  pending,
  rival: createPendingHashes(other.pool),
  insert: async (secureHash) => (await waitingFiles(secureHash))[0]?.id ?? '',
  remove: async (id) => {
    await database.pool.query('DELETE FROM raw_file WHERE id = $1', [id])
  },
  pass: async (ms) => {
    await database.pool.query(
      `UPDATE pending_hash SET created_at = created_at - $1 * interval '1 ms',
                               claimed_until = claimed_until - $1 * interval '1 ms'`,
      [ms],
    )
  },
  fileOf: async (id) => {
    const found = await meta.findRawFile(id)
    if (!found) throw new Error(`there is no raw file ${id}`)
    const { hashRetrievalLink: link, signingProviderUrl } = found.rawFile
    return { link, signingProviderUrl }
  },
}))

describe('an upload', () => {
  it('leaves those of its files pending that have no link', async () => {
    const job = boefjeMeta()
    await meta.insertBoefjeMeta(job)
    const files = ['a', 'b', 'c', 'd'].map((tag, i) => ({
      ...newRawFile(job, [tag]),
      ...(i % 2 === 1 && { hashRetrievalLink: null }),
    }))
    await meta.commitUpload(files)
    expect(await waitingRows()).toEqual([files[1]?.id, files[3]?.id])
    const links = await Promise.all(files.map(({ id }) => meta.findRawFile(id)))
    expect(links.map((found) => found?.rawFile.hashRetrievalLink)).toEqual(
      files.map((file) => file.hashRetrievalLink),
    )
  })

  it('of a file that exists leaves nothing pending', async () => {
    const [file] = await waitingFiles('sha512:1')
    if (!file) throw new Error('nothing was stored')
    const again = { ...file, id: randomUUID() }
    expect(await meta.commitUpload([again])).toEqual([file.id])
    expect(await waitingRows()).toEqual([file.id])
  })

  it('of more files than go into one statement leaves them all pending, in order', async () => {
    const hashes = Array.from({ length: 250 }, (_, n) => `sha512:${n}`)
    const files = await waitingFiles(...hashes)
    expect(await waitingRows()).toEqual(files.map(({ id }) => id))
    const claim = await pending.claim({ limit: 1000, leaseMs: 1000, waitMs: 0 })
    expect(claim?.hashes.map(({ secureHash }) => secureHash)).toEqual(hashes)
  })

  it('that fails leaves nothing pending', async () => {
    const job = boefjeMeta()
    await meta.insertBoefjeMeta(job)
    const file = { ...newRawFile(job, ['x']), hashRetrievalLink: null }
    await expect(
      meta.commitUpload([file, { ...newRawFile(job, ['y']), id: 'no uuid' }]),
    ).rejects.toMatchObject({ code: 'invalid_value' })
    expect(await waitingRows()).toEqual([])
  })
})

it('does not write to the rows of a batch that is not full', async () => {
  await waitingFiles('sha512:1', 'sha512:2')
  expect(await pending.claim({ limit: 3, leaseMs: 1000, waitMs: 600_000 })).toBeUndefined()
  // A row that was locked has the locker's number.
  const { rows } = await database.pool.query('SELECT DISTINCT xmax::text FROM pending_hash')
  expect(rows).toEqual([{ xmax: '0' }])
})

it.each([
  'SELECT 1 FROM raw_file WHERE id = $1 FOR UPDATE',
  'SELECT 1 FROM pending_hash WHERE raw_file_id = $1 FOR UPDATE',
  'DELETE FROM raw_file WHERE id = $1',
])('a file that is locked holds up no other: %s', async (lock) => {
  const ids = (await waitingFiles('sha512:1', 'sha512:2', 'sha512:3')).map(({ id }) => id)
  const [, locked = '', last = ''] = ids
  const claim = await pending.claim({ limit: 3, leaseMs: 60_000, waitMs: 0 })
  if (!claim) throw new Error('nothing was claimed')
  const locker = await other.pool.connect()
  try {
    await locker.query('BEGIN')
    await locker.query(lock, [locked])
    const links = new Map(ids.slice(0, 2).map((id) => [id, `link ${id}`]))
    await pending.complete(claim, 'https://tsa.example/', links)
    expect(await waitingRows()).toEqual([locked, last])
    expect((await meta.findRawFile(locked))?.rawFile.hashRetrievalLink).toBeNull()
    await pending.release(claim)
    const next = await pending.claim({ limit: 3, leaseMs: 60_000, waitMs: 0 })
    expect(next?.hashes.map(({ rawFileId }) => rawFileId)).toContain(last)
    if (next) await pending.release(next)
  } finally {
    await locker.query('ROLLBACK')
    locker.release()
  }
  await pending.release(claim)
  const again = await pending.claim({ limit: 3, leaseMs: 60_000, waitMs: 0 })
  expect(again?.hashes.map(({ rawFileId }) => rawFileId)).toEqual([locked, last])
})

describe('providers', () => {
  const stampOne = async (url: string): Promise<void> => {
    await waitingFiles('sha512:1')
    const claim = await pending.claim({ limit: 1, leaseMs: 60_000, waitMs: 0 })
    if (!claim) throw new Error('nothing was claimed')
    const links = new Map(claim.hashes.map(({ rawFileId }) => [rawFileId, 'link']))
    await pending.complete(claim, url, links)
  }
  const idOf = async (url: string): Promise<number | undefined> =>
    (await database.pool.query('SELECT id FROM signing_provider WHERE url = $1', [url])).rows[0]?.id

  it('use one number each, however often they are recorded', async () => {
    await stampOne('https://one.example/')
    for (let i = 0; i < 5; i++) await stampOne('https://one.example/')
    await stampOne('https://two.example/')
    const one = await idOf('https://one.example/')
    expect(await idOf('https://two.example/')).toBe((one ?? 0) + 1)
  })

  it('can be recorded by two at the same time', async () => {
    await waitingFiles(...Array.from({ length: 8 }, (_, n) => `sha512:${n}`))
    const rival = createPendingHashes(other.pool)
    const one = async (by: PendingHashes): Promise<void> => {
      const claim = await by.claim({ limit: 1, leaseMs: 60_000, waitMs: 0 })
      const links = new Map(claim?.hashes.map(({ rawFileId }) => [rawFileId, 'link']))
      if (claim) await by.complete(claim, 'https://new.example/', links)
    }
    await Promise.all([pending, rival, pending, rival, pending, rival, pending, rival].map(one))
    const { rows } = await database.pool.query(
      `SELECT count(*)::int AS files, count(DISTINCT signing_provider_id)::int AS providers
       FROM raw_file WHERE signing_provider_id IS NOT NULL`,
    )
    expect(rows).toEqual([{ files: 8, providers: 1 }])
  })
})

it('is unavailable when the database is', async () => {
  const closed = openDatabase(database.uri, 16, silentLog)
  await closed.close()
  const gone = createPendingHashes(closed.pool)
  const claim = { id: randomUUID(), hashes: [] }
  for (const attempt of [
    () => gone.claim({ limit: 1, leaseMs: 1, waitMs: 0 }),
    () => gone.complete(claim, null, new Map([[randomUUID(), 'link']])),
    () => gone.release(claim),
    () => gone.isPending(randomUUID()),
    () => gone.pendingState(),
  ]) {
    await expect(attempt()).rejects.toMatchObject({ code: 'database_unavailable' })
  }
})

describe('a clock that was set back by a year', () => {
  const claimAll = { limit: 10, leaseMs: 600_000, waitMs: 600_000 }
  const shift = (column: string) =>
    database.pool.query(`UPDATE pending_hash SET ${column} = ${column} + interval '1 year'`)

  it('holds up no hash that waits for company', async () => {
    const [file] = await waitingFiles('sha512:1')
    expect(await pending.claim(claimAll)).toBeUndefined()
    await shift('created_at')
    expect((await pending.claim(claimAll))?.hashes).toMatchObject([{ rawFileId: file?.id }])
  })

  it('holds up no hash that somebody claimed before and never gave away', async () => {
    const [file] = await waitingFiles('sha512:1')
    const claimNow = { ...claimAll, waitMs: 0 }
    await pending.claim(claimNow)
    expect(await pending.claim(claimNow)).toBeUndefined()
    await shift('claimed_until')
    expect((await pending.claim(claimNow))?.hashes).toMatchObject([{ rawFileId: file?.id }])
  })
})
