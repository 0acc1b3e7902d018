/** What an audit reads of Postgres and sweeps there. */
import { createHash, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import type { AuditRows } from '../../src/domain/audit.js'
import type { EvidenceRecords } from '../../src/domain/evidence-records.js'
import type { MetaRepository } from '../../src/domain/meta-repository.js'
import type { ScrubRows } from '../../src/domain/scrub.js'
import { recordLink } from '../../src/hashing/rfc3161/links.js'
import { createAuditRows } from '../../src/meta/audit.js'
import { openDatabase } from '../../src/meta/client.js'
import { createEvidenceRecords } from '../../src/meta/evidence-records.js'
import { createMetaRepository } from '../../src/meta/repository.js'
import { createScrubRows } from '../../src/meta/scrub.js'
import { testDatabase } from '../support/database.js'
import { PATIENCE } from '../support/patience.js'
import { silentLog } from '../support/postgres.js'
import { newRawFile, storedFiles } from '../support/rows.js'

const DAY = 24 * 60 * 60
const PREFIX = recordLink('')

let database: Awaited<ReturnType<typeof testDatabase>>
let meta: MetaRepository
let rows: AuditRows
let scrub: ScrubRows
let records: EvidenceRecords

beforeAll(async () => {
  // A deadlock is looked for once: it must be there by then, also on a busy machine.
  database = await testDatabase('-c deadlock_timeout=5s')
  meta = createMetaRepository(database)
  rows = createAuditRows(database.pool)
  scrub = createScrubRows(database.pool)
  records = createEvidenceRecords(database.pool)
})

afterAll(() => database?.close())

beforeEach(async () => {
  await database.pool.query(
    'TRUNCATE boefje_meta, raw_file, blob, outbox, pending_hash, evidence_record, timestamp_token CASCADE',
  )
})

const sql = async (text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> =>
  (await database.pool.query(text, values)).rows
const agedBlobs = (days: number) =>
  sql('UPDATE blob SET created_at = now() - $1 * interval $$1 day$$', [days])
/** Resolves when a statement waits for another's lock. */
const lockWait = () =>
  vi.waitFor(async () => {
    const waiting = await sql(
      "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
    )
    expect(waiting).toHaveLength(1)
  }, PATIENCE)
const sets = (count: number): string[][] => Array.from({ length: count }, (_, i) => [`slot/${i}`])

describe('blobs', () => {
  it('are listed with whether a raw file has them', async () => {
    await storedFiles(meta, sets(3))
    // Blobs are stored in the order of their digests.
    await sql(
      'DELETE FROM raw_file WHERE blob_id = (SELECT id FROM blob ORDER BY id OFFSET 1 LIMIT 1)',
    )
    const unreferenced = async (grace: number) =>
      (await rows.listBlobs(0, 10, grace)).map((row) => row.unreferenced)
    expect(await unreferenced(DAY)).toEqual([false, false, false])
    expect(await unreferenced(0)).toEqual([false, true, false])
    const [first, second] = await rows.listBlobs(0, 1, 0)
    expect(second).toBeUndefined()
    expect((await rows.listBlobs(first?.id ?? 0, 10, 0)).length).toBe(2)
    expect(await rows.countBlobs()).toEqual({ blobs: 3, bytes: 108 })
  })

  it('are listed by when they were verified, or stored', async () => {
    await storedFiles(meta, sets(5))
    await agedBlobs(5)
    const all = await rows.listBlobs(0, 10, 0)
    const ids = all.map(({ id }) => id)
    const [a = 0, b = 0, c = 0, d = 0, e = 0] = ids
    await sql(`UPDATE blob SET verified_at = now() - interval '9 days' WHERE id = $1`, [d])
    await sql(`UPDATE blob SET verified_at = now() - interval '2 days' WHERE id = $1`, [a])
    await rows.markVerified([b])
    const before = await rows.now()
    const order: number[] = []
    for (let after: Awaited<ReturnType<AuditRows['listUnverified']>>[number] | undefined; ; ) {
      const page = await rows.listUnverified(after, before, 2)
      order.push(...page.map(({ id }) => id))
      after = page.at(-1)
      if (after === undefined) break
    }
    expect(order).toEqual([d, c, e, a, b])
    expect(Math.round((await scrub.oldestUnverifiedSeconds()) / DAY)).toBe(9)
  })

  it('go only without a raw file, and when they are old', async () => {
    const { job, files, ids } = await storedFiles(meta, sets(1))
    const [{ id } = { id: 0 }] = await rows.listBlobs(0, 1, 0)
    expect(await rows.rawFilesOf(id)).toEqual(ids)
    expect(await rows.removeBlobRow(id, 0)).toBe(false)
    await sql('DELETE FROM raw_file')
    expect(await rows.removeBlobRow(id, DAY)).toBe(false)
    await agedBlobs(2)
    expect(await rows.removeBlobRow(id, DAY)).toBe(true)
    expect(await rows.findBlobRow(id)).toBeUndefined()
    const content = newRawFile(job, ['again'], 'content')
    const again = { ...content, blob: files[0]?.blob ?? content.blob }
    expect(await meta.commitUpload([again])).toEqual([again.id])
  })

  it('are found by address, in one organization or in all', async () => {
    const { files } = await storedFiles(meta, sets(1))
    const address = files[0]?.blob.address ?? ''
    await sql(
      `INSERT INTO blob (organization, content_digest, size, address, stored_size, middleware)
       SELECT 'other', content_digest, size, address, stored_size, middleware FROM blob`,
    )
    expect(await rows.rowsAt([address, 'unknown'], 'org')).toEqual([
      { organization: 'org', address },
    ])
    expect(await rows.rowsAt([address], undefined)).toHaveLength(2)
    expect(await rows.rowsAt([address], 'third')).toEqual([])
  })
})

it('an upload that meets the removal of its blob is committed all the same', async () => {
  const { job, files } = await storedFiles(meta, sets(1))
  await sql('DELETE FROM raw_file')
  await agedBlobs(2)
  const blocker = await database.pool.connect()
  try {
    await blocker.query('BEGIN')
    await blocker.query('DELETE FROM blob')
    const file = newRawFile(job, ['late'], 'content')
    const late = { ...file, blob: files[0]?.blob ?? file.blob }
    // It has seen the row, and waits for the removal to end.
    const committing = meta.commitUpload([late])
    await lockWait()
    await blocker.query('COMMIT')
    expect(await committing).toEqual([late.id])
    expect(await rows.countBlobs()).toMatchObject({ blobs: 1 })
  } finally {
    blocker.release()
  }
})

describe('marks on several blobs at once', () => {
  const MARKS: Readonly<Record<string, (ids: readonly number[]) => Promise<void>>> = {
    'of the audit': (ids) => rows.markVerified(ids),
    'of the scrub': (ids) => scrub.verified(ids),
    'of the scrub that puts them off': (ids) => scrub.postpone(ids, 3600),
  }

  it.each(Object.entries(MARKS))('%s are made also after a deadlock', async (_, mark) => {
    await storedFiles(meta, sets(2))
    const [first = 0, second = 0] = (await rows.listBlobs(0, 2, 0)).map(({ id }) => id)
    const rival = await database.pool.connect()
    const lock = (id: number) =>
      rival.query('SELECT FROM blob WHERE id = $1 FOR NO KEY UPDATE', [id])
    const statements = vi.spyOn(database.pool, 'query')
    const marks = () =>
      statements.mock.calls.filter(([text]) => String(text).includes('UPDATE blob')).length
    try {
      // The victim is the mark.
      await rival.query("BEGIN; SET LOCAL deadlock_timeout = '10min'")
      await lock(second)
      const marking = mark([first, second])
      await lockWait()
      await lock(first)
      await rival.query('ROLLBACK')
      await marking
      // The second may lock the first row before the rival gets it, and be the victim once more.
      expect(marks()).toBeGreaterThanOrEqual(2)
    } finally {
      rival.release()
      statements.mockRestore()
    }
  })
})

describe('claims of the scrub', () => {
  const claim = (limit = 16, maxBytes = 1e9) =>
    scrub.claim({ minAgeSeconds: DAY, limit, maxBytes, bytesPerSecond: 1000 })

  it('give each blob to one, the oldest first, and only when they are of age', async () => {
    await storedFiles(meta, sets(6))
    expect(await claim()).toEqual([])
    await agedBlobs(2)
    const given = await Promise.all([claim(4), claim(4), claim(4)])
    const ids = given.flat().map(({ id }) => id)
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids.length).toBeGreaterThan(3)
    ids.push(...(await claim()).map(({ id }) => id))
    expect([...ids].sort((a, b) => a - b)).toEqual(
      (await rows.listBlobs(0, 10, 0)).map(({ id }) => id),
    )
    await scrub.verified(ids.slice(0, 2))
    await scrub.postpone(ids.slice(2, 3), 3600)
    await scrub.postpone(ids.slice(3), 0)
    expect((await claim()).map(({ id }) => id).sort()).toEqual(ids.slice(3).sort())
  })

  it('take no more than fits, but one; and end by themselves', async () => {
    await storedFiles(meta, sets(4))
    await agedBlobs(2)
    expect(await claim(16, 80)).toHaveLength(2)
    expect(await claim(16, 1)).toHaveLength(1)
    await sql(`UPDATE blob SET verify_claimed_until = verify_claimed_until - interval '61 minutes'`)
    expect(await claim()).toHaveLength(4)
  })
})

describe('after the clock of the database was ahead', () => {
  const claim = (limit = 16) =>
    scrub.claim({ minAgeSeconds: DAY, limit, maxBytes: 60_000, bytesPerSecond: 1000 })
  const ids = (found: readonly { readonly id: number }[]) => found.map(({ id }) => id)
  /** Ids of four blobs: of an old one, one of today, and two of the future. */
  async function fourBlobs(): Promise<number[]> {
    await storedFiles(meta, sets(4))
    const four = ids(await rows.listBlobs(0, 10, 0))
    const [old, , created, verified] = four
    await sql(`UPDATE blob SET created_at = now() - interval '2 days' WHERE id = $1`, [old])
    await sql(`UPDATE blob SET created_at = now() + interval '2 hours' WHERE id = $1`, [created])
    await sql(`UPDATE blob SET verified_at = now() + interval '9 years' WHERE id = $1`, [verified])
    return four
  }

  it('the scrub reads what is dated in the future before what is old', async () => {
    const [old, , created, verified] = await fourBlobs()
    expect(ids(await claim(1))).toEqual([created])
    expect(ids(await claim(2)).toSorted()).toEqual([old, verified])
    expect(await claim()).toEqual([])
    await scrub.verified([created ?? 0, verified ?? 0])
    await sql('UPDATE blob SET verify_claimed_until = NULL')
    expect(ids(await claim())).toEqual([old])
  })

  it('what was committed a moment after a transaction had begun is not of the future', async () => {
    await storedFiles(meta, sets(2))
    const [one = 0, other = 0] = ids(await rows.listBlobs(0, 10, 0))
    await scrub.verified([one])
    await sql(`UPDATE blob SET verified_at = now() + interval '10 seconds' WHERE id = $1`, [other])
    expect(await claim()).toEqual([])
  })

  it('a claim ends that is longer than any can be, and no other', async () => {
    await storedFiles(meta, sets(2))
    await agedBlobs(2)
    const [small = 0, large = 0] = ids(await rows.listBlobs(0, 10, 0))
    await sql('UPDATE blob SET stored_size = 1e9 WHERE id = $1', [large])
    const claims = async () => [...ids(await claim()), ...ids(await claim())]
    expect(await claims()).toEqual([small, large])
    const later = (days: number) =>
      sql(`UPDATE blob SET verify_claimed_until = now() + $1 * interval '1 day'`, [days])
    // To read the large one takes eleven days, and its claim lasts for twice as long.
    await later(0.9)
    expect(await claims()).toEqual([])
    await later(23)
    expect(await claims()).toEqual([small])
    await later(25)
    expect(await claims()).toEqual([small, large])
  })
})

describe('evidence', () => {
  const aged = () => sql("UPDATE timestamp_token SET created_at = now() - interval '2 days'")
  const token = createHash('sha512').digest()

  it('that no raw file names is found and goes, and its token with it', async () => {
    const { ids } = await storedFiles(meta, sets(2))
    const [named = '', lost = ''] = await records.save(token, [token, token])
    const [alone = ''] = await records.save(token, [token])
    await sql('UPDATE raw_file SET hash_retrieval_link = $2 WHERE id = $1', [
      ids[0],
      recordLink(named),
    ])
    await sql('DELETE FROM pending_hash')
    expect(await rows.unnamedRecords(PREFIX, undefined, DAY, 10)).toEqual([])
    await aged()
    const found = await rows.unnamedRecords(PREFIX, undefined, DAY, 10)
    expect([...found].sort()).toEqual([lost, alone].sort())
    expect(await rows.unnamedRecords(PREFIX, found[0], DAY, 10)).toEqual(found.slice(1))
    expect(await rows.unnamedTokens(0, DAY, 10)).toEqual([])
    const removed = await rows.removeUnnamedRecords(PREFIX, [named, lost, alone], DAY)
    expect([...removed].sort()).toEqual([lost, alone].sort())
    const tokens = await rows.unnamedTokens(0, DAY, 10)
    expect(tokens).toHaveLength(1)
    expect(await rows.removeUnnamedTokens(tokens, DAY)).toEqual(tokens)
    expect(await records.find(named)).toBeDefined()
    expect(await records.find(lost)).toBeUndefined()
  })

  it('is looked for, and goes, by statements that have time for whole tables', async () => {
    await storedFiles(meta, sets(1))
    const [lost = ''] = await records.save(token, [token])
    await aged()
    await sql('DELETE FROM pending_hash')
    const uri = new URL(database.uri)
    uri.searchParams.set('options', '-c statement_timeout=300')
    const short = openDatabase(uri.href, 4, silentLog)
    const blocker = await database.pool.connect()
    try {
      const slow = createAuditRows(short.pool)
      for (const act of [
        () => slow.unnamedRecords(PREFIX, undefined, DAY, 10),
        () => slow.removeUnnamedRecords(PREFIX, [lost], DAY),
      ]) {
        await blocker.query('BEGIN; LOCK TABLE raw_file')
        const acting = act()
        await lockWait()
        // For longer than the sessions' own limit.
        await blocker.query('SELECT pg_sleep(0.6)')
        await blocker.query('COMMIT')
        expect(await acting).toEqual([lost])
      }
    } finally {
      blocker.release()
      await short.close()
    }
  })

  it('stays while a hash waits that it may be for', async () => {
    const { ids } = await storedFiles(meta, sets(1))
    await records.save(token, [token])
    await aged()
    await sql('DELETE FROM pending_hash')
    await sql(
      "INSERT INTO pending_hash (raw_file_id, created_at) VALUES ($1, now() - interval '3 days')",
      [ids[0]],
    )
    expect(await rows.unnamedRecords(PREFIX, undefined, DAY, 10)).toEqual([])
    await sql("UPDATE pending_hash SET created_at = now() - interval '1 day'")
    expect(await rows.unnamedRecords(PREFIX, undefined, DAY, 10)).toHaveLength(1)
  })
})

it('events that wait for too long are found, in order', async () => {
  const { ids } = await storedFiles(meta, sets(3), { organization: 'late' })
  await sql("UPDATE outbox SET created_at = now() - interval '2 hours' WHERE message_id <> $1", [
    ids[1],
  ])
  await sql(
    "INSERT INTO outbox (message_id, event_id, body, headers) VALUES ($1, 'raw_file_received', '', '{}')",
    [randomUUID()],
  )
  const found = await rows.stuckEvents(0, 3600, 10)
  expect(found.map(({ messageId }) => messageId)).toEqual([ids[0], ids[2]])
  expect(found[0]).toMatchObject({ organization: 'late', ageSeconds: expect.closeTo(7200, -2) })
  expect(await rows.stuckEvents(found[0]?.id ?? 0, 3600, 10)).toHaveLength(1)
})
