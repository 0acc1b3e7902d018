/** A store whose files are stamped by an authority that misbehaves as the test wishes. */
import pg from 'pg'
import { expect } from 'vitest'
import { parseAnchors } from '../../src/hashing/rfc3161/anchors.js'
import { createTimestampVerifier } from '../../src/hashing/rfc3161/verifier.js'
import { createEvidenceRecords } from '../../src/meta/evidence-records.js'
import { eventually, sample } from '../acceptance/helpers.js'
import type { Client } from './client.js'
import { type TestService, testStore } from './service.js'
import type { TestAuthority } from './tsa.js'
import { type AuthorityProxy, startAuthorityProxy } from './tsa-proxy.js'

export interface StampedFile {
  readonly id: string
  readonly secure_hash: string
  readonly link: string | null
  readonly provider: string | null
}

export interface StampedStore {
  readonly databaseUri: string
  readonly proxy: AuthorityProxy
  readonly pool: pg.Pool
  start(environment?: Record<string, string>): Promise<TestService>
  /** What the database has of raw files. */
  filesOf(ids: readonly string[]): Promise<StampedFile[]>
  pendingCount(): Promise<number>
  allStamped(): Promise<boolean>
  /** Every file is there, and its link is a timestamp of its hash by this authority. */
  expectVerified(ids: readonly string[]): Promise<StampedFile[]>
  remove(): Promise<void>
}

/** @param authority behind the one that misbehaves */
export async function stampedStore(authority: TestAuthority): Promise<StampedStore> {
  const proxy = await startAuthorityProxy(authority.url)
  const store = await testStore()
  const pool = new pg.Pool({ connectionString: store.databaseUri, max: 2 })
  // The database is dropped before the last connection knows that it has been ended.
  pool.on('connect', (client) => client.on('error', () => undefined))
  pool.on('error', () => undefined)

  const filesOf = async (ids: readonly string[]): Promise<StampedFile[]> =>
    (
      await pool.query<StampedFile>(
        `SELECT r.id, r.secure_hash, r.hash_retrieval_link AS link, p.url AS provider
         FROM raw_file r LEFT JOIN signing_provider p ON p.id = r.signing_provider_id
         WHERE r.id = ANY($1::uuid[])`,
        [ids],
      )
    ).rows
  const pendingCount = async (): Promise<number> =>
    (await pool.query<{ n: number }>('SELECT count(*)::int AS n FROM pending_hash')).rows[0]?.n ?? 0

  return {
    databaseUri: store.databaseUri,
    proxy,
    pool,
    start: (environment = {}) =>
      store.start({
        BYTES_EXT_HASH_REPOSITORY: 'RFC3161',
        BYTES_RFC3161_PROVIDER: proxy.url,
        BYTES_RFC3161_CERT_FILE: authority.rootFile,
        BYTES_RFC3161_TIMEOUT_SECONDS: '30',
        ...environment,
      }),
    filesOf,
    pendingCount,
    allStamped: () =>
      eventually(async () => (await pendingCount()) === 0, 'every file had its timestamp'),
    expectVerified: async (ids) => {
      const verifier = createTimestampVerifier({
        anchors: parseAnchors(authority.root),
        records: createEvidenceRecords(pool),
      })
      const files = await filesOf(ids)
      expect(files.map(({ id }) => id).toSorted()).toEqual([...ids].toSorted())
      for (const { link, secure_hash: secureHash } of files) {
        const checks = await verifier.verify(link ?? '', secureHash)
        expect(checks.filter(({ passed }) => passed !== true)).toEqual([])
      }
      return files
    },
    remove: async () => {
      await pool.end()
      await store.remove()
      await proxy.stop()
    },
  }
}

let count = 0

/** Stores a new file. @returns its id */
export async function uploadOne(client: Client): Promise<string> {
  const [id = ''] = await uploadMany(client, 1)
  return id
}

/** Stores new files for one job. @returns their ids */
export async function uploadMany(client: Client, files: number): Promise<string[]> {
  const contents = Array.from({ length: files }, () => {
    const name = String(count++)
    return { name, content: `content ${name}`, tags: [`slot/${name}`] }
  })
  return Object.values(await client.upload(await client.job(), contents))
}

/** A sample of the metrics; 0 when there is none. */
export const metricOf = async (client: Client, name: string): Promise<number> =>
  sample(await (await client.request('/metrics')).text(), name) ?? 0
