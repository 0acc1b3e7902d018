import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import type { JobKey } from '../../src/domain/cursor.js'
import type {
  End,
  Listed,
  MetaRepository,
  NewRawFile,
  Page,
} from '../../src/domain/meta-repository.js'
import { type Database, openDatabase } from '../../src/meta/client.js'
import { createMetaRepository } from '../../src/meta/repository.js'
import { metaRepositoryContract } from '../contracts/meta-repository.contract.js'
import { testDatabase } from '../support/database.js'
import { PATIENCE } from '../support/patience.js'
import { silentLog } from '../support/postgres.js'
import { boefjeMeta, newRawFile, normalizerMeta, storedFiles } from '../support/rows.js'

type TestDatabase = Awaited<ReturnType<typeof testDatabase>>

let database: TestDatabase
/** The pool of another process on the same database. */
let other: Database
let meta: MetaRepository

beforeAll(async () => {
  database = await testDatabase()
  meta = createMetaRepository(database)
  other = openDatabase(database.uri, 16, silentLog)
})

afterAll(async () => {
  await other?.close()
  await database?.close()
})

afterEach(() => {
  vi.restoreAllMocks()
})

metaRepositoryContract('Postgres', async () => ({ meta, rival: createMetaRepository(other) }))

const count = async (table: string, where = 'true'): Promise<number> => {
  const { rows } = await database.pool.query(
    `SELECT count(*)::int AS n FROM ${table} WHERE ${where}`,
  )
  return rows[0].n
}
const counts = async (): Promise<number[]> =>
  Promise.all(['blob', 'raw_file', 'outbox'].map((table) => count(table)))

async function storedJob() {
  const job = boefjeMeta()
  await meta.insertBoefjeMeta(job)
  return job
}

describe('the commit of an upload', () => {
  it('is one prepared statement, and so is the look-up before it', async () => {
    const job = await storedJob()
    const files = ['x', 'y', 'z'].map((tag) => newRawFile(job, [tag]))
    const query = vi.spyOn(database.uploads, 'query')
    const connect = vi.spyOn(pg.Client.prototype, 'query')
    await meta.findUploadTarget(job.id, [])
    expect(connect).toHaveBeenCalledTimes(1)
    await meta.commitUpload(files)
    expect(query).toHaveBeenCalledTimes(2)
    expect(connect).toHaveBeenCalledTimes(2)
    for (const [config] of connect.mock.calls) expect(config).toHaveProperty('name')
  })

  it('shares its statement with others only up to a hundred files, and some megabytes', async () => {
    const job = await storedJob()
    const files = (count: number, body = '{}') =>
      Array.from({ length: count }, () => {
        const file = newRawFile(job, [randomUUID()])
        return { ...file, event: { ...file.event, body } }
      })
    const query = vi.spyOn(database.uploads, 'query')
    const sent = () =>
      query.mock.calls.map(([config]) => (config as { values?: unknown[] }).values ?? [])
    const uploads = [
      ...Array.from({ length: 10 }, () => files(30)),
      ...Array.from({ length: 10 }, () => files(1, 'x'.repeat(2 * 1024 * 1024))),
    ]
    await Promise.all(uploads.map((upload) => meta.commitUpload(upload)))
    const rows = sent().map(([ids]) => (ids as string[]).length)
    expect(rows.slice(0, 4)).toEqual([30, 90, 90, 90])
    expect(rows.slice(4).every((count) => count < 10)).toBe(true)
    expect(await count('raw_file', `boefje_meta_id = '${job.id}'`)).toBe(310)

    query.mockClear()
    const digests = (upload: readonly NewRawFile[]) => upload.map((file) => file.mimeTypesDigest)
    const contents = (upload: readonly NewRawFile[]) => upload.map(({ blob }) => blob.contentDigest)
    const targets = await Promise.all(
      uploads
        .slice(0, 10)
        .map((upload) => meta.findUploadTarget(job.id, digests(upload), contents(upload))),
    )
    // One look-up finds what any of its group has asked for.
    for (const target of targets) expect(target?.existing.size).toBeLessThanOrEqual(90)
    expect(sent().map((values) => (values[1] as Buffer[]).length)).toEqual([30, 90, 90, 90])
  })

  it('writes rows and events that the database has as text for text', async () => {
    const job = await storedJob()
    const file = newRawFile(job, ['b', 'a'])
    const body = '{"n":1.10,"s":"\\u00e9 é 💾"}'
    await meta.commitUpload([{ ...file, event: { ...file.event, body } }])
    const { rows } = await database.pool.query(
      `SELECT o.message_id, o.event_id, o.body, o.headers, r.mime_types, r.organization,
              r.mime_types_digest = sha256(convert_to(array_to_json(r.mime_types)::text, 'UTF8')) AS same
       FROM outbox o JOIN raw_file r ON r.id = o.message_id WHERE r.id = $1`,
      [file.id],
    )
    expect(rows).toEqual([
      {
        message_id: file.id,
        event_id: 'raw_file_received',
        body,
        headers: file.event.headers,
        mime_types: ['a', 'b'],
        organization: job.organization,
        same: true,
      },
    ])
  })

  it.each([
    ['its MIME types are too long', { mimeTypes: ['x'.repeat(65)] }, 'invalid_value'],
    ['its hash is too long', { secureHash: 'x'.repeat(257) }, 'invalid_value'],
    ['its id is no UUID', { id: 'no uuid' }, 'invalid_value'],
    ['its link has a null character', { hashRetrievalLink: 'a\u0000' }, 'invalid_value'],
  ])('stores nothing at all when one file fails: %s', async (_, changes, code) => {
    const job = await storedJob()
    const before = await counts()
    const files = [newRawFile(job, ['x']), { ...newRawFile(job, ['y']), ...changes }]
    await expect(meta.commitUpload(files)).rejects.toMatchObject({ name: 'BytesError', code })
    expect(await counts()).toEqual(before)
  })

  it('stores nothing at all when the events cannot be written', async () => {
    const job = await storedJob()
    const before = await counts()
    await database.pool.query('ALTER TABLE outbox ADD CONSTRAINT none CHECK (false) NOT VALID')
    try {
      await expect(meta.commitUpload([newRawFile(job, ['x'])])).rejects.toThrow()
    } finally {
      await database.pool.query('ALTER TABLE outbox DROP CONSTRAINT none')
    }
    expect(await counts()).toEqual(before)
    await meta.commitUpload([newRawFile(job, ['x'])])
  })

  it('says that the job is gone when somebody deletes it meanwhile', async () => {
    const gone = { code: 'boefje_meta_not_found', message: expect.stringContaining('deleted') }
    const job = await storedJob()
    const files = [newRawFile(job, ['x'])]
    await meta.findUploadTarget(job.id, [])
    await database.pool.query('DELETE FROM boefje_meta WHERE id = $1', [job.id])
    const before = await counts()
    await expect(meta.commitUpload(files)).rejects.toMatchObject(gone)
    expect(await counts()).toEqual(before)

    // The deletion is not committed yet when the upload comes.
    const second = await storedJob()
    const client = await database.pool.connect()
    await client.query('BEGIN')
    await client.query('DELETE FROM boefje_meta WHERE id = $1', [second.id])
    const upload = expect(meta.commitUpload([newRawFile(second, ['x'])])).rejects.toMatchObject(
      gone,
    )
    await vi.waitFor(async () => {
      expect(
        await count(
          'pg_stat_activity',
          "wait_event_type = 'Lock' AND datname = current_database()",
        ),
      ).toBe(1)
    }, PATIENCE)
    await client.query('COMMIT')
    client.release()
    await upload
    expect(await counts()).toEqual(before)
  })

  it.each([
    ['the raw file that was there before', 'DELETE FROM raw_file WHERE id = $1', 1],
    [
      'the job with all of them',
      'DELETE FROM boefje_meta WHERE id = (SELECT boefje_meta_id FROM raw_file WHERE id = $1)',
      0,
    ],
  ])(
    'does not say that nothing was stored when somebody deletes %s after it',
    async (_, statement, left) => {
      const job = await storedJob()
      const [before = ''] = await meta.commitUpload([newRawFile(job, ['x'])])
      const [lost, fresh] = [newRawFile(job, ['x']), newRawFile(job, ['y'])]
      const query = database.uploads.query.bind(database.uploads) as (
        config: unknown,
      ) => Promise<unknown>
      const spy = vi
        .spyOn(database.uploads, 'query')
        .mockImplementationOnce(async (config: unknown) => {
          const result = await query(config)
          await database.pool.query(statement, [before])
          return result
        })
      // The blob of `fresh` is in use by now: no failure that was before the commit.
      await expect(meta.commitUpload([lost, fresh])).rejects.toMatchObject({
        code: 'database_timeout',
        message: expect.stringContaining('again'),
      })
      spy.mockRestore()
      expect(await count('raw_file', `id = '${fresh.id}'`)).toBe(left)
    },
  )

  it('waits for an equal upload, and takes over when that is rolled back', async () => {
    const job = await storedJob()
    const file = newRawFile(job, ['x'], 'content of both')
    const blob = file.blob
    const client = await database.pool.connect()
    await client.query('BEGIN')
    const { rows } = await client.query(
      `INSERT INTO blob (organization, content_digest, size, address, stored_size, middleware)
       VALUES ($1, $2, $3, $4, $3, 'IDENTITY') RETURNING id`,
      [blob.organization, blob.contentDigest, blob.size, blob.address],
    )
    await client.query(
      `INSERT INTO raw_file (id, boefje_meta_id, organization, mime_types, mime_types_digest, blob_id)
       VALUES ($1, $2, $3, '{x}', $4, $5)`,
      [randomUUID(), job.id, job.organization, file.mimeTypesDigest, rows[0].id],
    )
    const upload = meta.commitUpload([file])
    await vi.waitFor(async () => {
      expect(
        await count(
          'pg_stat_activity',
          "wait_event_type = 'Lock' AND datname = current_database()",
        ),
      ).toBe(1)
    }, PATIENCE)
    await client.query('ROLLBACK')
    client.release()
    expect(await upload).toEqual([file.id])
    expect(await meta.findRawFile(file.id)).toMatchObject({ blob })
  })

  it('keeps one blob for all equal files that come at once', async () => {
    const jobs = await Promise.all(Array.from({ length: 12 }, storedJob))
    const files = jobs.map((job) => newRawFile(job, ['x'], 'shared by twelve'))
    await Promise.all(files.map((file) => meta.commitUpload([file])))
    const digest = files[0]?.blob.contentDigest
    expect(await count('blob', `content_digest = '${digest}'`)).toBe(1)
    expect(await count('raw_file', `secure_hash = '${digest}'`)).toBe(12)
  })

  it('keeps the row of a known blob as it is', async () => {
    const [a, b] = [await storedJob(), await storedJob()]
    const first = newRawFile(a, ['x'], 'kept')
    await meta.commitUpload([first])
    const second = newRawFile(b, ['x'], 'kept')
    await meta.commitUpload([{ ...second, blob: { ...second.blob, address: 'elsewhere' } }])
    expect((await meta.findRawFile(second.id))?.blob).toEqual(first.blob)
  })
})

describe('rows of another version of the service', () => {
  it('without times, hashes or MIME types can be read', async () => {
    const { ids, job } = await storedFiles(meta, [['x']], {})
    await database.pool.query('UPDATE boefje_meta SET started_at = NULL WHERE id = $1', [job.id])
    await database.pool.query(
      'UPDATE raw_file SET mime_types = NULL, secure_hash = NULL, hash_retrieval_link = NULL WHERE id = $1',
      ids,
    )
    expect((await meta.findRawFile(ids[0] ?? ''))?.rawFile).toMatchObject({
      boefjeMeta: { startedAt: '0001-01-01T00:00:00Z' },
      mimeTypes: [],
      secureHash: null,
      hashRetrievalLink: null,
    })
  })

  it('tell the signing provider', async () => {
    const { ids } = await storedFiles(meta, [['x']], {})
    await database.pool.query(
      `WITH p AS (INSERT INTO signing_provider (url) VALUES ('https://tsa.example') RETURNING id)
       UPDATE raw_file SET signing_provider_id = p.id FROM p WHERE raw_file.id = $1`,
      ids,
    )
    const found = await meta.findRawFile(ids[0] ?? '')
    expect(found?.rawFile.signingProviderUrl).toBe('https://tsa.example')
  })
})

describe('a job that someone has locked', () => {
  it('holds up the uploads to it for a limited time, and those to others not for ever', async () => {
    const [locked, free] = [await storedJob(), await storedJob()]
    const client = await database.pool.connect()
    try {
      await client.query('BEGIN')
      await client.query('SELECT FROM boefje_meta WHERE id = $1 FOR UPDATE', [locked.id])
      const stuck = ['a', 'b', 'c'].map((tag) => meta.commitUpload([newRawFile(locked, [tag])]))
      const refused = Promise.allSettled(stuck)
      const file = newRawFile(free, ['x'])
      expect(await meta.commitUpload([file])).toEqual([file.id])
      for (const result of await refused) {
        expect(result).toMatchObject({ status: 'rejected', reason: { code: 'database_timeout' } })
      }
    } finally {
      await client.query('ROLLBACK')
      client.release()
    }
    const file = newRawFile(locked, ['a'])
    expect(await meta.commitUpload([file])).toEqual([file.id])
  })
})

describe('the check', () => {
  it('fails while the migrations are missing', async () => {
    await expect(meta.check()).resolves.toBeUndefined()
    await database.pool.query('ALTER TABLE pending_hash RENAME TO elsewhere')
    try {
      await expect(meta.check()).rejects.toMatchObject({ code: 'database_unavailable' })
    } finally {
      await database.pool.query('ALTER TABLE elsewhere RENAME TO pending_hash')
    }
  })
})

describe('a slice', () => {
  const long = (letter: string) => ({ arguments: `{"${letter}":"${letter.repeat(1_000_000)}"}` })
  const LIMIT = { limit: 100, offset: 0 }

  it('has as many rows as there is room for, and the long texts', async () => {
    const organization = randomUUID().replaceAll('-', '')
    const jobs = []
    for (let n = 0; n < 8; n++) {
      const startedAt = `2026-01-01T00:00:0${n}Z`
      const environment = n === 2 ? `{"E":"${'é'.repeat(500_000)}"}` : null
      const job = boefjeMeta({
        organization,
        startedAt,
        environment,
        ...(n % 2 ? {} : long(`${n}`)),
      })
      await meta.insertBoefjeMeta(job)
      jobs.push(job)
    }
    const filter = { organization, descending: false }
    expect(await meta.listBoefjeMeta(filter, { ...LIMIT, limit: 4 })).toMatchObject({
      rows: jobs.slice(0, 4),
      next: { id: jobs[3]?.id },
    })
    await meta.insertBoefjeMeta(
      boefjeMeta({ organization, startedAt: '2026-01-01T00:00:09Z', ...long('z') }),
    )
    await meta.insertBoefjeMeta(boefjeMeta({ organization, startedAt: '2026-01-01T00:00:10Z' }))
    const { rows, next } = await meta.listBoefjeMeta(filter, LIMIT)
    // Five long texts are more than it holds.
    expect(rows).toEqual(jobs.slice(0, 7))
    const rest = await meta.listBoefjeMeta(filter, { ...LIMIT, after: next })
    expect(rest.rows).toMatchObject([jobs[7], {}, {}])
    expect(rest.next).toBeUndefined()
  })

  it('reads a long job once for all its rows', async () => {
    const organization = randomUUID().replaceAll('-', '')
    const tags = Array.from({ length: 30 }, (_, n) => [`${n}`])
    const { job, ids } = await storedFiles(meta, tags, { organization, ...long('x') })
    for (const id of ids) await meta.insertNormalizerMeta(normalizerMeta(id))
    const query = vi.spyOn(database.pool, 'query')
    const filter = { organizations: [organization], rawIds: [], mimeTypes: [] }
    const files = await meta.listRawFiles(filter, LIMIT)
    expect(files.rows.map(({ rawFile }) => rawFile.id)).toEqual(ids)
    expect(new Set(files.rows.map(({ rawFile }) => rawFile.boefjeMeta.arguments))).toEqual(
      new Set([job.arguments]),
    )
    expect(query).toHaveBeenCalledTimes(2)
    const metas = await meta.listNormalizerMeta({ organization, descending: true }, LIMIT)
    expect(metas.rows.map(({ rawFile }) => rawFile.boefjeMeta)).toEqual(tags.map(() => job))
    expect(query).toHaveBeenCalledTimes(4)
    const contents = await meta.listContents(filter, LIMIT)
    expect(contents.rows).toEqual(
      files.rows.map(({ rawFile: { id, mimeTypes }, blob }) => ({
        rawFile: { id, mimeTypes },
        blob,
      })),
    )
    expect(query).toHaveBeenCalledTimes(5)
    expect(
      query.mock.calls
        .at(-1)
        ?.map((part) => JSON.stringify(part))
        .join(),
    ).not.toMatch(/arguments|environment|boefje_meta/)
  })

  it('leaves out a job that is deleted before its texts are read', async () => {
    const organization = randomUUID().replaceAll('-', '')
    const { job } = await storedFiles(meta, [['a'], ['b']], { organization, ...long('x') })
    const other = await storedFiles(meta, [['a']], { organization })
    const query = database.pool.query.bind(database.pool) as (
      ...sent: unknown[]
    ) => Promise<unknown>
    vi.spyOn(database.pool, 'query').mockImplementationOnce((async (...sent: unknown[]) => {
      const found = await query(...sent)
      await query('DELETE FROM boefje_meta WHERE id = $1', [job.id])
      return found
    }) as never)
    const filter = { organizations: [organization], rawIds: [], mimeTypes: [] }
    const { rows, next } = await meta.listRawFiles(filter, LIMIT)
    expect([rows.map(({ rawFile }) => rawFile.id), next]).toEqual([other.ids, undefined])
  })

  it('of raw files ends where it is told to', async () => {
    const organization = randomUUID().replaceAll('-', '')
    const { ids } = await storedFiles(meta, [['a'], ['b'], ['c'], ['d']], { organization })
    const filter = { organizations: [organization], rawIds: [], mimeTypes: [] }
    const { next: after } = await meta.listRawFiles(filter, { limit: 1 })
    const { next: second } = await meta.listRawFiles(filter, { limit: 2 })
    expect(await meta.endOfRawFiles(filter, { limit: 1, after })).toEqual({
      last: second,
      more: true,
    })
    const { last } = await meta.endOfRawFiles(filter, { limit: 3, after })
    expect(await meta.endOfRawFiles(filter, { limit: 9, after })).toEqual({ last, more: false })
    expect(await meta.endOfRawFiles(filter, { limit: 9, after: last })).toEqual({
      last: undefined,
      more: false,
    })
    for (const list of [meta.listRawFiles, meta.listContents]) {
      const found = await list(filter, { limit: 9, after, until: second })
      expect([found.rows.map(({ rawFile }) => rawFile.id), found.next]).toEqual([
        [ids[1]],
        undefined,
      ])
    }
  })
})

describe('a walk over all pages', () => {
  // Another version of the service may have left rows without a time.
  const withoutTime = (table: string, organization: string, every: number) =>
    database.pool.query(
      `UPDATE ${table} SET started_at = NULL WHERE id IN (
         SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM ${table}
                         WHERE organization = $1) AS numbered WHERE n % $2 = 0)`,
      [organization, every],
    )

  const lists = {
    boefje_meta: (filter: Filter, page: Page<JobKey>): Promise<Listed<Row, JobKey>> =>
      meta.listBoefjeMeta(filter, page),
    normalizer_meta: (filter: Filter, page: Page<JobKey>): Promise<Listed<Row, JobKey>> =>
      meta.listNormalizerMeta(filter, page),
  }
  type Filter = { organization: string; descending: boolean }
  type Row = { readonly id: string }

  const endOf = (table: string, filter: Filter, page: Page<JobKey>): Promise<End<JobKey>> =>
    table === 'boefje_meta'
      ? meta.endOfBoefjeMeta(filter, page)
      : meta.endOfNormalizerMeta(filter, page)

  it.each(Object.entries(lists))(
    'of %s gives each row once, without times and while rows go',
    async (table, list) => {
      const walks = fc.record({
        rows: fc.integer({ min: 1, max: 9 }),
        every: fc.integer({ min: 1, max: 5 }),
        limit: fc.integer({ min: 1, max: 4 }),
        offset: fc.integer({ min: 0, max: 5 }),
        descending: fc.boolean(),
        deletes: fc.array(fc.nat(8), { maxLength: 3 }),
      })
      const run = async ({ rows, every, limit, offset, descending, deletes }: Walk) => {
        const organization = randomUUID().replaceAll('-', '')
        for (let i = 0; i < rows; i++) {
          // Each job has one normalizer meta; three have the same time.
          const startedAt = `2026-01-01T00:00:0${i % 3}.000001Z`
          const { ids } = await storedFiles(meta, [['x']], { organization, startedAt })
          await meta.insertNormalizerMeta(normalizerMeta(ids[0] ?? '', { startedAt }))
        }
        await withoutTime(table, organization, every)
        const filter = { organization, descending }
        const all = idsOf(await list(filter, { limit: 100, offset: 0 }))
        expect(all.length).toBe(rows)

        const found: string[] = []
        const gone: string[] = []
        let after: JobKey | undefined
        do {
          const page: Listed<Row, JobKey> = await list(filter, { limit, offset: 0, after })
          const end = await endOf(table, filter, { limit, offset: 0, after })
          expect([end.more, end.more ? end.last : undefined]).toEqual([
            page.next !== undefined,
            page.next,
          ])
          expect(end.last?.id).toBe(page.rows.at(-1)?.id)
          const within = { limit: 100, offset: 0, after, until: end.last }
          if (end.last) expect(await list(filter, within)).toEqual({ ...page, next: undefined })
          const rest = all
            .slice(all.indexOf(idsOf(page)[0] ?? ''))
            .filter((id) => !gone.includes(id))
          expect(idsOf(await list(filter, { limit: 100, offset, after }))).toEqual(
            rest.slice(offset),
          )
          found.push(...idsOf(page))
          after = page.next
          const doomed = all[deletes.pop() ?? -1]
          if (doomed === undefined) continue
          gone.push(doomed)
          await database.pool.query(`DELETE FROM ${table} WHERE id = $1`, [doomed])
        } while (after)
        expect(new Set(found).size).toBe(found.length)
        expect(found).toEqual(all.filter((id) => found.includes(id)))
        expect(found).toEqual(expect.arrayContaining(all.filter((id) => !gone.includes(id))))
      }
      await fc.assert(fc.asyncProperty(walks, run), { numRuns: 60 })
    },
  )

  const idsOf = ({ rows }: Listed<Row, JobKey>): string[] => rows.map(({ id }) => id)
  type Walk = {
    rows: number
    every: number
    limit: number
    offset: number
    descending: boolean
    deletes: number[]
  }
})

describe('the connection', () => {
  it('keeps its session settings beside options in the URI', async () => {
    const uri = new URL(database.uri)
    uri.searchParams.set('options', '-c TimeZone=Asia/Kolkata -c statement_timeout=4321')
    const own = openDatabase(uri.href, 4, silentLog)
    try {
      const { rows } = await own.pool.query(
        "SELECT current_setting('TimeZone') AS zone, current_setting('statement_timeout') AS timeout",
      )
      expect(rows).toEqual([{ zone: 'UTC', timeout: '4321ms' }])
    } finally {
      await own.close()
    }
  })

  const terminateAll = async (): Promise<void> => {
    await database.pool.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND pid <> pg_backend_pid()
       -- Those that wait for a lock first: they would get it from the others.
       ORDER BY wait_event_type = 'Lock' DESC NULLS LAST`,
    )
    // The pools have to see it: they would still hand out a connection that is lost.
    await vi.waitFor(() => {
      const pools = [database.pool, database.uploads, other.pool, other.uploads]
      expect(pools.map((pool) => pool.totalCount)).toEqual([1, 0, 0, 0])
    }, PATIENCE)
  }

  it('is in UTC and ISO, whatever the database prefers', async () => {
    const name = new URL(database.uri).pathname.slice(1)
    await database.pool.query(`ALTER DATABASE ${name} SET TimeZone = 'Asia/Kolkata'`)
    await database.pool.query(`ALTER DATABASE ${name} SET DateStyle = 'German'`)
    await terminateAll()
    const job = boefjeMeta()
    const rival = createMetaRepository(other)
    await rival.insertBoefjeMeta(job)
    expect(await rival.findBoefjeMeta(job.id)).toEqual(job)
  })

  it('that is lost makes a domain error', async () => {
    const client = new pg.Client({ connectionString: database.uri })
    client.on('error', () => {})
    await client.connect()
    try {
      await client.query('BEGIN')
      await client.query('LOCK TABLE boefje_meta')
      const blocked = expect(meta.findBoefjeMeta(randomUUID())).rejects.toMatchObject({
        name: 'BytesError',
        code: 'database_unavailable',
      })
      await vi.waitFor(async () => {
        expect(
          await count(
            'pg_stat_activity',
            "wait_event_type = 'Lock' AND datname = current_database()",
          ),
        ).toBe(1)
      }, PATIENCE)
      await terminateAll()
      await blocked
      await meta.check()
    } finally {
      await client.end().catch(() => undefined)
    }
  })
})
