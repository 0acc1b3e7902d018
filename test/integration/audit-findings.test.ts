/** Each kind of finding that only a database, a clock or an odd disk can give is told, and swept or not. */
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { FINDING_KINDS, type Finding, type FindingKind } from '../../src/domain/audit.js'
import type { MetaRepository } from '../../src/domain/meta-repository.js'
import { audit } from '../../src/flows/audit.js'
import { createAuditRows } from '../../src/meta/audit.js'
import { createEvidenceRecords } from '../../src/meta/evidence-records.js'
import { createMetaRepository } from '../../src/meta/repository.js'
import { createAuditFiles } from '../../src/raw/audit-files.js'
import { blobFolder } from '../../src/raw/blob-path.js'
import { testDatabase } from '../support/database.js'
import { boefjeMeta, newRawFile } from '../support/rows.js'

const DAY = 24 * 60 * 60

let database: Awaited<ReturnType<typeof testDatabase>>
let meta: MetaRepository
let dataDir: string

beforeAll(async () => {
  database = await testDatabase()
  meta = createMetaRepository(database)
})

afterAll(() => database?.close())

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'bytes-test-audit-'))
  await database.pool.query(
    'TRUNCATE boefje_meta, raw_file, blob, outbox, pending_hash, evidence_record, timestamp_token CASCADE',
  )
})

afterEach(() => rm(dataDir, { recursive: true, force: true }))

const sql = (text: string, values: unknown[] = []) => database.pool.query(text, values)
const sha512 = (content: string): string => createHash('sha512').update(content).digest('hex')
const pathOf = (content: string): string =>
  join(dataDir, blobFolder('org', sha512(content)), sha512(content))

/** A raw file with its blob's file. */
async function stored(content: string): Promise<string> {
  const job = boefjeMeta({ organization: 'org' })
  await meta.insertBoefjeMeta(job)
  const file = newRawFile(job, [], content)
  const [id = ''] = await meta.commitUpload([file])
  await put(pathOf(content), content, 0)
  return id
}

async function put(path: string, content: string, ageDays: number): Promise<void> {
  const then = new Date(Date.now() - ageDays * DAY * 1000)
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, content)
  await utimes(path, then, then)
}

const run = async (sweep = false): Promise<Finding[]> => (await audited(sweep)).findings

async function audited(sweep = false) {
  const findings: Finding[] = []
  const result = await audit(
    { files: createAuditFiles(dataDir), rows: createAuditRows(database.pool) },
    {
      sweep,
      graceSeconds: DAY,
      stuckSeconds: 3600,
      uploadLifetimeSeconds: DAY,
      onFinding: (found) => findings.push(found),
    },
  )
  return { ...result, findings }
}

it('reads each content once, whatever the dates in the database are', async () => {
  const ahead = ['1 second', '2 seconds', '1 hour', '20 years']
  for (const time of ahead) {
    const content = `verified ${time} ahead`
    await stored(content)
    await sql('UPDATE blob SET verified_at = now() + $2::text::interval WHERE address = $1', [
      sha512(content),
      time,
    ])
  }
  await stored('of today')
  await stored('turn')
  await put(pathOf('turn'), 'burn', 0)
  await sql(`UPDATE blob SET created_at = now() + interval '1 day' WHERE address = $1`, [
    sha512('turn'),
  ])
  const { findings, verified, blobs } = await audited()
  expect(findings).toMatchObject([{ kind: 'blob_wrong_digest', address: sha512('turn') }])
  expect([verified, blobs]).toEqual([5, 6])
  expect((await audited()).verified).toBe(5)
})

const oldBlobs = () => sql(`UPDATE blob SET created_at = now() - interval '3 days'`)
const aToken = async (): Promise<string> => {
  const token = createHash('sha512').digest()
  const [record = ''] = await createEvidenceRecords(database.pool).save(token, [token])
  await sql(`DELETE FROM pending_hash`)
  await sql(`UPDATE timestamp_token SET created_at = now() - interval '3 days'`)
  return record
}

/** What makes a finding of each kind, in a store of one good blob; and whether a sweep removes it. */
const MAKE: Record<FindingKind, { make: () => Promise<unknown>; swept?: boolean }> = {
  blob_missing: { make: () => stored('gone').then(() => rm(pathOf('gone'))) },
  blob_wrong_size: { make: () => stored('short').then(() => put(pathOf('short'), 's', 0)) },
  blob_wrong_digest: { make: () => stored('turn').then(() => put(pathOf('turn'), 'burn', 0)) },
  blob_unreadable: {
    make: async () => {
      await stored('a folder in its place')
      await rm(pathOf('a folder in its place'))
      await mkdir(pathOf('a folder in its place'))
    },
  },
  blob_without_row: { make: () => put(pathOf('nobody'), 'nobody', 3), swept: true },
  blob_row_unreferenced: {
    make: async () => {
      await sql('DELETE FROM raw_file WHERE id = $1', [await stored('deleted')])
      await oldBlobs()
    },
    swept: true,
  },
  stray_file: { make: () => put(join(dataDir, 'tmp', 'note.txt'), 'note', 3) },
  temporary_leftover: {
    make: () => put(join(dataDir, 'tmp', randomUUID()), 'left', 3),
    swept: true,
  },
  upload_leftover: {
    make: () => put(join(dataDir, 'uploads', `${randomUUID()}.data`), 'left', 3),
    swept: true,
  },
  event_stuck: {
    make: () =>
      sql(`UPDATE outbox SET created_at = now() - interval '2 hours'
           WHERE id = (SELECT max(id) FROM outbox)`),
  },
  evidence_record_unreferenced: { make: aToken, swept: true },
  timestamp_token_unreferenced: {
    make: async () => sql('DELETE FROM evidence_record WHERE id = $1', [await aToken()]),
    swept: true,
  },
  sweep_refused: {
    make: async () => {
      await put(pathOf('nobody'), 'nobody', 3)
      await rm(pathOf('good'))
    },
  },
}

it.each(FINDING_KINDS)(
  '%s is told, and is gone after a sweep only if nothing refers to it',
  async (kind) => {
    await stored('good')
    await stored('good as well')
    expect(await run(true)).toEqual([])
    const { make, swept = false } = MAKE[kind]
    await make()
    const of = (findings: readonly Finding[]) => findings.filter((found) => found.kind === kind)
    if (kind !== 'sweep_refused') expect(of(await run())).toMatchObject([{ removed: false }])
    expect(of(await run(true))).toMatchObject([{ removed: swept }])
    expect(of(await run(true))).toHaveLength(swept ? 0 : 1)
  },
)

it.each<[string, FindingKind[]]>([
  ['everything', ['blob_without_row', 'blob_row_unreferenced', 'evidence_record_unreferenced']],
  ['rows alone', ['blob_row_unreferenced']],
  ['evidence alone', ['evidence_record_unreferenced']],
])('sweeps nothing of a store that may be two: %s', async (_, kinds) => {
  await stored('good')
  for (const kind of kinds) await MAKE[kind].make()
  await stored('gone')
  await stored('gone as well')
  await rm(pathOf('gone'))
  await rm(pathOf('gone as well'))
  for (let round = 0; round < 2; round++) {
    const { findings, removed } = await audited(true)
    const expected = ['blob_missing', 'blob_missing', ...kinds, 'sweep_refused']
    expect(findings.map(({ kind }) => kind).toSorted()).toEqual(expected.toSorted())
    expect(removed).toBe(0)
  }
})
