import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { BlobKeys } from '../../src/domain/blob-keys.js'
import type { SealedKey } from '../../src/domain/models.js'
import { rotateKeys } from '../../src/flows/rotate-keys.js'
import { createBlobKeys } from '../../src/meta/blob-keys.js'
import { type Database, openDatabase } from '../../src/meta/client.js'
import { open, seal } from '../../src/raw/middleware/sealed-box/box.js'
import { blobKeysContract } from '../contracts/blob-keys.contract.js'
import { newPair } from '../support/blob-keys.js'
import { testDatabase } from '../support/database.js'
import { PATIENCE } from '../support/patience.js'
import { silentLog } from '../support/postgres.js'

let database: Awaited<ReturnType<typeof testDatabase>>
/** The pool of another process on the same database. */
let other: Database
let keys: BlobKeys
let rival: BlobKeys

beforeAll(async () => {
  // A deadlock is looked for once: it must be there by then, also on a busy machine.
  database = await testDatabase('-c deadlock_timeout=5s')
  other = openDatabase(database.uri, 16, silentLog)
  keys = createBlobKeys(database.pool)
  rival = createBlobKeys(other.pool)
})

afterAll(async () => {
  await other?.close()
  await database?.close()
})

async function insert(sealedKey: SealedKey | null): Promise<number> {
  const { rows } = await database.pool.query(
    `INSERT INTO blob (organization, content_digest, size, address, stored_size, middleware, key_id,
                       sealed_key)
     VALUES ('org', $1, 1, $1, 1, $2, $3, $4) RETURNING id::int`,
    [
      randomBytes(8).toString('hex'),
      sealedKey ? 'NACL_SEALBOX' : 'IDENTITY',
      sealedKey?.keyId ?? null,
      sealedKey?.sealed ?? null,
    ],
  )
  return rows[0].id
}

async function remove(blobId: number): Promise<void> {
  await database.pool.query('DELETE FROM blob WHERE id = $1', [blobId])
}

/** Waits until a statement waits for a lock. */
async function lockWait(): Promise<void> {
  await vi.waitFor(async () => {
    const { rows } = await database.pool.query(
      `SELECT count(*)::int AS n FROM pg_stat_activity
       WHERE wait_event_type = 'Lock' AND datname = current_database()`,
    )
    expect(rows[0].n).toBe(1)
  }, PATIENCE)
}

const clear = () => database.pool.query('TRUNCATE blob CASCADE')

blobKeysContract('Postgres', async () => {
  await clear()
  return { keys, rival, insert, remove }
})

it('are replaced also after a deadlock with someone else', async () => {
  await clear()
  const from = { keyId: '0123456789abcdef', sealed: Uint8Array.of(1) }
  const to = { keyId: 'fedcba9876543210', sealed: Uint8Array.of(2) }
  const [first = 0, second = 0] = [await insert(from), await insert(from)]
  const client = await database.pool.connect()
  const lock = (id: number) =>
    client.query('SELECT FROM blob WHERE id = $1 FOR NO KEY UPDATE', [id])
  // The victim is the other one.
  await client.query("BEGIN; SET LOCAL deadlock_timeout = '1min'")
  await lock(second)
  const victims = vi.spyOn(other.pool, 'query')
  const replaced = rival.replaceSealedKeys([first, second].map((blobId) => ({ blobId, from, to })))
  await lockWait()
  await lock(first)
  await client.query('ROLLBACK')
  client.release()
  expect(await replaced).toBe(2)
  expect(victims).toHaveBeenCalledTimes(2)
  victims.mockRestore()
})

describe('rotation on Postgres', () => {
  const [old, current] = [newPair(), newPair()]
  const ports = {
    current: current.publicKey,
    keyRing: { pairOf: (keyId: string) => (keyId === old.publicKey.id ? old : undefined) },
  }

  /** The file key of the n-th blob. */
  const fileKey = (n: number): Uint8Array => new Uint8Array(16).fill(n)
  const fill = async (count: number): Promise<number[]> => {
    await clear()
    const ids: number[] = []
    for (let n = 0; n < count; n++) {
      ids.push(await insert({ keyId: old.publicKey.id, sealed: seal(fileKey(n), old.publicKey) }))
    }
    return ids
  }
  const opened = async (): Promise<Map<number, Uint8Array | undefined>> => {
    const { rows } = await database.pool.query('SELECT id::int, key_id, sealed_key FROM blob')
    return new Map(
      rows.map((row) => [
        row.id,
        row.key_id === current.publicKey.id ? open(row.sealed_key, current) : undefined,
      ]),
    )
  }

  it('twice at the same time re-seals each key once, while others are deleted and added', async () => {
    const ids = await fill(200)
    const doomed = ids.filter((_, n) => n % 7 === 3)
    let deleted = 0
    const deleteSome = async (): Promise<void> => {
      for (; deleted < doomed.length; deleted++) await remove(doomed[deleted] ?? 0)
    }
    const added: number[] = []
    const addSome = async (): Promise<void> => {
      for (let n = 200; n < 220; n++) {
        added.push(
          await insert({
            keyId: current.publicKey.id,
            sealed: seal(fileKey(n), current.publicKey),
          }),
        )
      }
    }
    const [mine, theirs] = await Promise.all([
      rotateKeys({ ...ports, blobKeys: keys }, { batchSize: 13 }),
      rotateKeys({ ...ports, blobKeys: rival }, { batchSize: 17 }),
      deleteSome(),
      addSome(),
    ])
    expect([mine.failed, theirs.failed, mine.left, theirs.left]).toEqual([0, 0, 0, 0])
    expect(mine.rotated + theirs.rotated).toBeGreaterThanOrEqual(ids.length - doomed.length)
    expect(mine.rotated + theirs.rotated).toBeLessThanOrEqual(ids.length)
    const left = [...ids.filter((id) => !doomed.includes(id)), ...added]
    expect(await opened()).toEqual(
      new Map(left.map((id) => [id, fileKey([...ids, ...added].indexOf(id))])),
    )
  })

  it('brings no key back that is deleted between the reading and the writing', async () => {
    const [gone = 0, stays = 0] = await fill(2)
    const { replaceSealedKeys } = keys
    const blobKeys: BlobKeys = {
      ...keys,
      replaceSealedKeys: async (batch) => {
        await remove(gone)
        return replaceSealedKeys(batch)
      },
    }
    expect(await rotateKeys({ ...ports, blobKeys })).toEqual({ rotated: 1, failed: 0, left: 0 })
    expect(await opened()).toEqual(new Map([[stays, fileKey(1)]]))
  })

  it('waits for a deletion that is under way, and leaves the rest whole', async () => {
    const [gone = 0, stays = 0] = await fill(2)
    const client = await database.pool.connect()
    await client.query('BEGIN')
    await client.query('DELETE FROM blob WHERE id = $1', [gone])
    const rotation = rotateKeys({ ...ports, blobKeys: keys })
    await lockWait()
    await client.query('COMMIT')
    client.release()
    expect(await rotation).toEqual({ rotated: 1, failed: 0, left: 0 })
    expect(await opened()).toEqual(new Map([[stays, fileKey(1)]]))
  })
})

describe('the statements, with 100,000 blobs', () => {
  const ids = ['1111111111111111', '5555555555555555', '9999999999999999']

  beforeAll(async () => {
    await clear()
    await database.pool.query(
      `INSERT INTO blob (organization, content_digest, size, address, stored_size, middleware,
                         key_id, sealed_key)
       SELECT 'org', n, 1, n, 1, 'NACL_SEALBOX', ($1::text[])[n % 3 + 1], sha256(n::text::bytea)
       FROM generate_series(1, 100000) n`,
      [ids],
    )
    await database.pool.query('VACUUM ANALYZE blob')
  })

  interface Plan {
    readonly 'Node Type': string
    readonly 'Index Name'?: string
    readonly Plans?: readonly Plan[]
  }
  const nodesOf = (plan: Plan): Plan[] => [plan, ...(plan.Plans ?? []).flatMap(nodesOf)]

  /** The nodes of the plan of the one statement that an action sends. */
  async function planOf(action: () => Promise<unknown>): Promise<Plan[]> {
    const query = vi.spyOn(database.pool, 'query')
    await action()
    const [text, values] = query.mock.calls[0] as unknown as [string, unknown[]]
    query.mockRestore()
    const { rows } = await database.pool.query(`EXPLAIN (FORMAT JSON) ${text}`, values)
    return nodesOf(rows[0]['QUERY PLAN'][0].Plan)
  }
  const used = (plan: readonly Plan[]): string[] => [
    ...new Set(plan.flatMap((node) => node['Index Name'] ?? [])),
  ]

  it.each(ids)('read a batch by the index: without %s', async (keyId) => {
    const [first] = await keys.listSealedKeys(keyId, undefined, 1)
    for (const after of [undefined, first]) {
      const plan = await planOf(() => keys.listSealedKeys(keyId, after, 500))
      expect(used(plan)).toEqual(['ix_blob_key_id'])
      expect(plan.map((node) => node['Node Type'])).not.toContain('Seq Scan')
      expect(plan.map((node) => node['Node Type'])).not.toContain('Sort')
    }
  })

  it('replace a batch by the primary key', async () => {
    const batch = await keys.listSealedKeys('', undefined, 500)
    const replaced = batch.map(({ blobId, sealedKey }) => ({
      blobId,
      from: sealedKey,
      to: sealedKey,
    }))
    const plan = await planOf(() => keys.replaceSealedKeys(replaced))
    expect(used(plan)).toEqual(['blob_pkey'])
    expect(plan.map((node) => node['Node Type'])).not.toContain('Seq Scan')
  })
})
