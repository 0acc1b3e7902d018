import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest'
import { createEvidenceRecords } from '../../src/meta/evidence-records.js'
import { evidenceRecordsContract } from '../contracts/evidence-records.contract.js'
import { testDatabase } from '../support/database.js'
import { memoryEvidenceRecords } from '../support/evidence-records.js'

let database: Awaited<ReturnType<typeof testDatabase>>

beforeAll(async () => {
  database = await testDatabase()
})

beforeEach(async () => {
  await database.pool.query('TRUNCATE timestamp_token CASCADE')
})

afterAll(() => database?.close())

evidenceRecordsContract('memory', memoryEvidenceRecords)
evidenceRecordsContract('Postgres', () => createEvidenceRecords(database.pool))

const count = async (table: string): Promise<number> => {
  const { rows } = await database.pool.query(`SELECT count(*)::int AS n FROM ${table}`)
  return rows[0].n
}

it('stores a token once, in one statement', async () => {
  const records = createEvidenceRecords(database.pool)
  const query = vi.spyOn(database.pool, 'query')
  await records.save(Buffer.of(1), [Buffer.of(2), Buffer.of(3)])
  expect(query).toHaveBeenCalledTimes(1)
  query.mockRestore()
  expect([await count('timestamp_token'), await count('evidence_record')]).toEqual([1, 2])
})

it('stores no token without a record', async () => {
  await createEvidenceRecords(database.pool).save(Buffer.of(1), [])
  expect(await count('timestamp_token')).toBe(0)
})

it('says that the database cannot be reached', async () => {
  const gone = await testDatabase()
  const records = createEvidenceRecords(gone.pool)
  await gone.close()
  const unavailable = { code: 'database_unavailable' }
  await expect(records.save(Buffer.of(1), [Buffer.of(2)])).rejects.toMatchObject(unavailable)
  await expect(records.find('00000000-0000-4000-8000-000000000000')).rejects.toMatchObject(
    unavailable,
  )
})
