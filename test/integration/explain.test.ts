/** With 100,000 raw files no query of the API may read a whole table. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { AuditRows } from '../../src/domain/audit.js'
import type { JobKey } from '../../src/domain/cursor.js'
import type {
  Listed,
  MetaRepository,
  Page,
  RawFileFilter,
} from '../../src/domain/meta-repository.js'
import { canonicalMimeTypes, mimeTypesDigest } from '../../src/domain/mime-types.js'
import type { PendingHashes } from '../../src/domain/pending-hashes.js'
import type { ScrubRows } from '../../src/domain/scrub.js'
import { createAuditRows } from '../../src/meta/audit.js'
import { createPendingHashes } from '../../src/meta/pending-hashes.js'
import { createMetaRepository } from '../../src/meta/repository.js'
import { createScrubRows } from '../../src/meta/scrub.js'
import { testDatabase } from '../support/database.js'
import { boefjeMeta, newRawFile } from '../support/rows.js'

const JOBS = 2_000
const FILES = 100_000

let database: Awaited<ReturnType<typeof testDatabase>>
let meta: MetaRepository

/** An id that the generated rows have, by kind and number. */
const id = (kind: 'job' | 'raw' | 'normalizer', n: number): string => {
  const prefix = { job: '00000001', raw: '00000002', normalizer: '00000003' }[kind]
  return `${prefix}-0000-4000-8000-${n.toString(16).padStart(12, '0')}`
}
const sqlId = (kind: Parameters<typeof id>[0], n: string): string =>
  `('${id(kind, 0).slice(0, 24)}' || lpad(to_hex(${n}), 12, '0'))::uuid`

/** 50 files for each job; every organization has 10 jobs; the types of each job's files differ. */
const FILL = `
  INSERT INTO boefje_meta (id, boefje_id, organization, arguments, started_at, ended_at, input_ooi)
  SELECT ${sqlId('job', 'n')}, 'boefje-' || n % 40, 'org-' || n % 200, '{}',
         now() - n * interval '1 minute', now(), CASE n % 3 WHEN 0 THEN NULL ELSE 'Ooi|' || n END
  FROM generate_series(1, ${JOBS}) n;
  INSERT INTO blob (organization, content_digest, size, address, stored_size, middleware)
  SELECT 'org-' || n % 200, 'sha512:' || n, 10, n, 10, 'IDENTITY' FROM generate_series(1, ${FILES}) n;
  INSERT INTO raw_file (id, boefje_meta_id, organization, mime_types, mime_types_digest, secure_hash, blob_id)
  SELECT ${sqlId('raw', 'n')}, ${sqlId('job', `n % ${JOBS} + 1`)}, 'org-' || (n % ${JOBS} + 1) % 200, types,
         sha256(convert_to(array_to_json(types)::text, 'UTF8')), 'sha512:' || n, n
  FROM generate_series(1, ${FILES}) n, LATERAL (
    SELECT CASE WHEN n % 20000 = 0 THEN ARRAY['rare/type', 'slot/' || n / ${JOBS}]
                ELSE ARRAY['boefje/' || n % 40, 'slot/' || n / ${JOBS}, 'text/plain'] END::varchar[] AS types
  ) t;
  INSERT INTO normalizer_meta (id, normalizer_id, started_at, ended_at, raw_file_id, organization)
  SELECT ${sqlId('normalizer', 'n')}, 'normalizer-' || n % 2000, now() - n * interval '1 second', now(),
         ${sqlId('raw', 'n')}, 'org-' || (n % ${JOBS} + 1) % 200
  FROM generate_series(1, ${FILES / 2}) n;
  INSERT INTO pending_hash (raw_file_id, claim_id, claimed_until)
  SELECT ${sqlId('raw', 'n')}, CASE WHEN n % 10 = 0 THEN ${sqlId('job', 'n')} END,
         CASE WHEN n % 10 = 0 THEN now() + interval '1 hour' END
  FROM generate_series(1, ${FILES / 2}) n;
`

beforeAll(async () => {
  database = await testDatabase()
  meta = createMetaRepository(database)
  await database.pool.query(FILL)
  await database.pool.query('ANALYZE')
})

afterAll(() => database?.close())

interface Plan {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Index Name'?: string
  readonly 'Index Cond'?: string
  readonly Plans?: readonly Plan[]
}

const nodesOf = (plan: Plan): Plan[] => [plan, ...(plan.Plans ?? []).flatMap(nodesOf)]

interface Sent {
  readonly text: string
  readonly values: unknown[]
  /** Of a prepared statement. */
  readonly name?: string | undefined
}

/** The statements that an action sends to the database, with their parameters. */
async function capture(action: () => Promise<unknown>): Promise<Sent[]> {
  const spies = [vi.spyOn(database.pool, 'query'), vi.spyOn(database.uploads, 'query')]
  try {
    await action()
    const calls = spies.flatMap((spy) => spy.mock.calls)
    return calls.map((call: unknown[]) => {
      const [first, second] = call
      const config = typeof first === 'string' ? { text: first } : (first as Partial<Sent>)
      return {
        text: config.text ?? '',
        values: (second as unknown[]) ?? config.values ?? [],
        name: config.name,
      }
    })
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
}

async function plansOf(sent: readonly Sent[]): Promise<Plan[]> {
  const plans: Plan[] = []
  for (const { text, values, name } of sent) {
    const rows = name ? await genericPlan(name, text) : await plan(text, values)
    plans.push(...nodesOf(rows[0]['QUERY PLAN'][0].Plan))
  }
  return plans
}

async function plan(text: string, values: unknown[]) {
  return (await database.pool.query(`EXPLAIN (FORMAT JSON) ${text}`, values)).rows
}

/** The one plan that a prepared statement keeps: the values that it is asked with do not count. */
async function genericPlan(name: string, text: string) {
  const client = await database.uploads.connect()
  try {
    await client.query(`PREPARE "explain ${name}" AS ${text}`)
    const last = Math.max(...[...text.matchAll(/\$(\d+)/g)].map((match) => Number(match[1])))
    const nulls = Array(last).fill('NULL').join(', ')
    return (await client.query(`EXPLAIN (FORMAT JSON) EXECUTE "explain ${name}" (${nulls})`)).rows
  } finally {
    client.release(true)
  }
}

const filter = (changes: Partial<RawFileFilter>): RawFileFilter => ({
  organizations: [],
  rawIds: [],
  mimeTypes: [],
  ...changes,
})
const PAGE = { limit: 10, offset: 0 }
const organization = 'org-7'
const KEY: JobKey = { startedAt: '2026-01-01T00:00:00Z', id: id('job', 7) }
const TYPES = mimeTypesDigest(canonicalMimeTypes(['text/plain']))

const QUERIES: Record<string, (meta: MetaRepository) => Promise<unknown>> = {
  'raw files of an organization': (m) =>
    m.listRawFiles(filter({ organizations: [organization] }), { limit: 10 }),
  'a hundred raw files of an organization': (m) =>
    m.listRawFiles(filter({ organizations: [organization] }), { limit: 100 }),
  'contents of an organization': (m) =>
    m.listContents(filter({ organizations: [organization] }), { limit: 100, until: 90_000 }),
  'the end of the raw files of an organization': (m) =>
    m.endOfRawFiles(filter({ organizations: [organization] }), { limit: 100, after: 10 }),
  'raw files of two organizations': (m) =>
    m.listRawFiles(filter({ organizations: [organization, 'org-8'] }), { limit: 10 }),
  'raw files of an organization that has none': (m) =>
    m.listRawFiles(filter({ organizations: ['never seen'] }), { limit: 10 }),
  'raw files of a job': (m) =>
    m.listRawFiles(filter({ boefjeMetaId: id('job', 7) }), { limit: 100 }),
  'raw files of a job in an organization': (m) =>
    m.listRawFiles(filter({ organizations: [organization], boefjeMetaId: id('job', 7) }), {
      limit: 100,
    }),
  'raw files by id': (m) =>
    m.listRawFiles(filter({ rawIds: [id('raw', 5), id('raw', 99_999)] }), { limit: 10 }),
  'raw files of a rare type': (m) =>
    m.listRawFiles(filter({ mimeTypes: ['rare/type'] }), { limit: 10 }),
  'raw files of a rare type in an organization': (m) =>
    m.listRawFiles(filter({ organizations: [organization], mimeTypes: ['rare/type'] }), {
      limit: 10,
    }),
  'the latest unread raw files of an organization': (m) =>
    m.listRawFiles(filter({ organizations: [organization], normalized: false }), { limit: 10 }),
  'read raw files of a job': (m) =>
    m.listRawFiles(filter({ boefjeMetaId: id('job', 7), normalized: true }), { limit: 10 }),
  'a raw file': (m) => m.findRawFile(id('raw', 77)),
  'a blob': (m) => m.findBlob('org-77', 'sha512:77'),
  'types of an organization': (m) =>
    m.countMimeTypes(filter({ organizations: [organization] }), { limit: 20_000 }),
  'types of an organization after one': (m) =>
    m.countMimeTypes(filter({ organizations: [organization] }), { limit: 20_000, after: 'a' }),
  'the end of the types of an organization': (m) =>
    m.endOfMimeTypes(filter({ organizations: [organization] }), { limit: 80_000, after: 'a' }),
  'types of a job': (m) =>
    m.countMimeTypes(filter({ boefjeMetaId: id('job', 7) }), { limit: 20_000 }),
  'types of rare files': (m) =>
    m.countMimeTypes(filter({ mimeTypes: ['rare/type'] }), { limit: 20_000 }),
  'a job': (m) => m.findBoefjeMeta(id('job', 7)),
  'the latest jobs of an organization': (m) =>
    m.listBoefjeMeta({ organization, descending: true }, PAGE),
  'the latest jobs of a boefje': (m) =>
    m.listBoefjeMeta({ organization, boefjeId: 'boefje-7', descending: true }, PAGE),
  'the latest jobs of an input': (m) =>
    m.listBoefjeMeta({ organization, inputOoi: 'Ooi|7', descending: true }, PAGE),
  'the latest jobs of a boefje without an input': (m) =>
    m.listBoefjeMeta(
      { organization, boefjeId: 'boefje-7', inputOoi: null, descending: true },
      PAGE,
    ),
  'the end of the jobs of an organization': (m) =>
    m.endOfBoefjeMeta({ organization, descending: true }, { ...PAGE, after: KEY }),
  'the end of the normalizer metas of an organization': (m) =>
    m.endOfNormalizerMeta({ organization, descending: false }, { ...PAGE, after: KEY }),
  'the jobs of an organization up to one': (m) =>
    m.listBoefjeMeta({ organization, descending: true }, { ...PAGE, until: KEY }),
  'a normalizer meta': (m) => m.findNormalizerMeta(id('normalizer', 7)),
  'the latest normalizer metas of an organization': (m) =>
    m.listNormalizerMeta({ organization, descending: true }, PAGE),
  'normalizer metas of a raw file': (m) =>
    m.listNormalizerMeta({ organization, rawId: id('raw', 7), descending: true }, PAGE),
  'the latest normalizer metas of a normalizer': (m) =>
    m.listNormalizerMeta({ organization, normalizerId: 'normalizer-7', descending: true }, PAGE),
  'the target of an upload': (m) => m.findUploadTarget(id('job', 7), [TYPES]),
  'the commit of an upload': async (m) => {
    const job = boefjeMeta({ id: randomUUID() })
    await m.insertBoefjeMeta(job)
    await m.commitUpload([newRawFile(job, ['x']), newRawFile(job, ['y'])])
  },
}

const lease = { leaseMs: 1000, waitMs: 1000 }
const claimed = { id: id('job', 10), hashes: [] }
const linksOf = (count: number) =>
  new Map(Array.from({ length: count }, (_, n) => [id('raw', n + 1), 'link']))
const PENDING_QUERIES: Record<string, (pending: PendingHashes) => Promise<unknown>> = {
  'a claim of one': (p) => p.claim({ limit: 1, ...lease }),
  'a claim of a thousand': (p) => p.claim({ limit: 1000, ...lease }),
  'a claim that is too early': (p) => p.claim({ limit: FILES, ...lease, waitMs: 600_000 }),
  'the link of one': (p) => p.complete(claimed, 'https://tsa.example/', linksOf(1)),
  'the links of a hundred': (p) => p.complete(claimed, 'https://tsa.example/', linksOf(100)),
  'a release': (p) => p.release(claimed),
  'whether a file is pending': (p) => p.isPending(id('raw', 7)),
}

const far = { since: '2001-01-01', id: 1 }
const BLOB_QUERIES: Record<string, (rows: AuditRows & ScrubRows) => Promise<unknown>> = {
  'blobs, with whether a raw file has them': (r) => r.listBlobs(50_000, 1000, 0),
  'blobs that were not verified for long': (r) => r.listUnverified(far, '2002-01-01', 64),
  'blobs that are dated in the future': (r) => r.listAhead(undefined, 64),
  'a claim of the scrub': (r) =>
    r.claim({ minAgeSeconds: 86_400, limit: 16, maxBytes: 1e9, bytesPerSecond: 1e6 }),
  'the blob that was not verified for the longest time': (r) => r.oldestUnverifiedSeconds(),
}

it('has filled its tables', async () => {
  const { rows } = await database.pool.query(
    'SELECT (SELECT count(*) FROM raw_file)::int AS files, (SELECT count(*) FROM boefje_meta)::int AS jobs',
  )
  expect(rows).toEqual([{ files: FILES, jobs: JOBS }])
  const count = async (changes: Partial<RawFileFilter>) =>
    (await meta.listRawFiles(filter(changes), { limit: 1000 })).rows.length
  expect(await count({ mimeTypes: ['rare/type'] })).toBe(5)
  expect(await count({ organizations: [organization] })).toBe(500)
})

it('sees that a query reads a whole table', async () => {
  const nodes = await plansOf([{ text: 'SELECT count(secure_hash) FROM raw_file', values: [] }])
  expect(nodes.map((node) => [node['Node Type'], node['Relation Name']])).toContainEqual([
    'Seq Scan',
    'raw_file',
  ])
})

it.each([...Object.keys(QUERIES), ...Object.keys(PENDING_QUERIES), ...Object.keys(BLOB_QUERIES)])(
  'reads no whole table for %s',
  async (name) => {
    const { pool } = database
    const run = (): Promise<unknown> | undefined =>
      QUERIES[name]?.(meta) ??
      PENDING_QUERIES[name]?.(createPendingHashes(pool)) ??
      BLOB_QUERIES[name]?.({ ...createAuditRows(pool), ...createScrubRows(pool) })
    const sent = await capture(() => run() ?? Promise.reject())
    expect(sent.length).toBeGreaterThan(0)
    const nodes = await plansOf(sent)
    const whole = nodes.filter((node) => node['Node Type'] === 'Seq Scan' && node['Relation Name'])
    // Few rows for ever: one for each timestamp authority.
    const tables = whole.map((node) => node['Relation Name'])
    expect(tables.filter((table) => table !== 'signing_provider')).toEqual([])
  },
)

it('finds the target of an upload by job, however common its MIME types are', async () => {
  const [sent] = await capture(() => meta.findUploadTarget(id('job', 7), [TYPES]))
  if (!sent) throw new Error('nothing was sent')
  const files = (await plansOf([sent])).filter((node) => node['Relation Name'] === 'raw_file')
  expect(files.map((node) => node['Index Cond'])).toEqual([
    expect.stringMatching(/boefje_meta_id = .*mime_types_digest = ANY/),
  ])
})

describe('a page deep in a list', () => {
  const ROWS = 30_000
  const deep = 'deep'

  beforeAll(async () => {
    await database.pool.query(`
      INSERT INTO boefje_meta (id, boefje_id, organization, arguments, started_at, ended_at)
      SELECT gen_random_uuid(), 'boefje', '${deep}', '{}', now() - n % 10000 * interval '1 second', now()
      FROM generate_series(1, ${ROWS}) n;
      INSERT INTO normalizer_meta (id, normalizer_id, started_at, ended_at, raw_file_id, organization)
      SELECT gen_random_uuid(), 'normalizer', now() - n % 10000 * interval '1 second', now(),
             ${sqlId('raw', 'n')}, '${deep}'
      FROM generate_series(1, ${ROWS}) n;
      ANALYZE`)
  })

  interface Ran extends Plan {
    readonly 'Actual Rows': number
    readonly 'Actual Loops': number
    readonly 'Rows Removed by Filter'?: number
    readonly Plans?: readonly Ran[]
  }

  /** How many rows of tables the last statement of an action reads. */
  async function rowsRead(action: () => Promise<unknown>): Promise<number> {
    const sent = (await capture(action)).at(-1)
    if (!sent) throw new Error('nothing was sent')
    const explain = `EXPLAIN (ANALYZE, FORMAT JSON) ${sent.text}`
    const { rows } = await database.pool.query(explain, sent.values)
    const count = (node: Ran): number => {
      const { 'Actual Rows': given, 'Rows Removed by Filter': dropped = 0 } = node
      // A bitmap's entries are read as rows as well.
      const own = /Scan/.test(node['Node Type']) ? (given + dropped) * node['Actual Loops'] : 0
      return (node.Plans ?? []).reduce((sum, each) => sum + count(each), own)
    }
    return count(rows[0]['QUERY PLAN'][0].Plan)
  }

  type List = (
    m: MetaRepository,
    page: Page<JobKey>,
    descending: boolean,
  ) => Promise<Listed<unknown, JobKey>>
  const jobLists: [string, List][] = [
    ['jobs', (m, page, descending) => m.listBoefjeMeta({ organization: deep, descending }, page)],
    [
      'normalizer metas',
      (m, page, descending) => m.listNormalizerMeta({ organization: deep, descending }, page),
    ],
  ]

  it.each(jobLists)('of %s reads no rows but its own', async (_, list) => {
    for (const descending of [true, false]) {
      const half = { limit: ROWS / 2, offset: 0 }
      const { next: after } = await list(meta, half, descending)
      const page = { limit: 10, offset: 0, after }
      // A page's rows, each with those of three tables that belong to it.
      expect(await rowsRead(() => list(meta, page, descending))).toBeLessThan(100)
      const far = { limit: 10, offset: ROWS / 2 }
      expect(await rowsRead(() => list(meta, far, descending))).toBeGreaterThan(ROWS / 2)
    }
  })

  const rawLists: [string, Partial<RawFileFilter>][] = [
    ['all raw files', {}],
    ['raw files of an organization', { organizations: [organization] }],
    ['unread raw files', { organizations: [organization], normalized: false }],
  ]

  it.each(rawLists)('of %s reads no rows but its own', async (_, changes) => {
    const page = { limit: 10, after: FILES * 0.8 }
    expect(await rowsRead(() => meta.listRawFiles(filter(changes), page))).toBeLessThan(100)
    // Its end in the middle of a slice does not let it look for others beyond.
    const until = { ...page, until: FILES * 0.8 + 1 }
    expect(await rowsRead(() => meta.listRawFiles(filter(changes), until))).toBeLessThan(100)
    expect(await rowsRead(() => meta.endOfRawFiles(filter(changes), page))).toBeLessThan(100)
  })
})
