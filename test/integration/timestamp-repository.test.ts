/** RFC 3161 and RFC 4998 with a real authority, and Postgres. */
import { execFile, execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { EvidenceRecords } from '../../src/domain/evidence-records.js'
import type { Check, HashRepository, TimestampProof } from '../../src/domain/hash-repository.js'
import { encodeEvidenceRecord } from '../../src/hashing/evidence-record/record.js'
import { type Anchors, parseAnchors } from '../../src/hashing/rfc3161/anchors.js'
import { createTimestampAuthority } from '../../src/hashing/rfc3161/authority.js'
import { checkTimestamp } from '../../src/hashing/rfc3161/check.js'
import { parseTimestampLink, recordLink } from '../../src/hashing/rfc3161/links.js'
import { createTimestampRepository } from '../../src/hashing/rfc3161/repository.js'
import { createTimestampVerifier } from '../../src/hashing/rfc3161/verifier.js'
import { createEvidenceRecords } from '../../src/meta/evidence-records.js'
import { hashRepositoryContract } from '../contracts/hash-repository.contract.js'
import { testDatabase } from '../support/database.js'
import { startTestAuthority, type TestAuthority } from '../support/tsa.js'

const OF_TOKEN = [
  'timestamp_format',
  'timestamp_imprint',
  'timestamp_signature',
  'timestamp_certificate',
]
const OF_RECORD = ['evidence_record', 'hash_tree', ...OF_TOKEN]

const hashOf = (n: number): string => `sha512:${String(n).padStart(128, '0')}`
const names = (checks: readonly Check[]): string[] => checks.map(({ name }) => name)
const outcomes = (checks: readonly Check[]): (boolean | null)[] => checks.map((c) => c.passed)
const failed = (checks: readonly Check[]): Check | undefined =>
  checks.find(({ passed }) => passed === false)

/** Expects that the check `name` is the first that has not passed, and those after it not made. */
function expectFailure(checks: readonly Check[], all: readonly string[], name: string): string {
  expect(names(checks)).toEqual(all)
  const at = all.indexOf(name)
  expect(outcomes(checks)).toEqual(all.map((_, n) => (n < at ? true : n > at ? null : false)))
  for (const { detail } of checks.slice(at + 1)) expect(detail).toContain(name)
  return checks[at]?.detail ?? ''
}

let database: Awaited<ReturnType<typeof testDatabase>>
let tsa: TestAuthority
/** Another one, which the anchors do not lead to. */
let stranger: TestAuthority
let anchors: Anchors
let records: EvidenceRecords
let repository: HashRepository
let verifier: ReturnType<typeof createTimestampVerifier>

function repositoryAt(
  url: string,
  trusted: Anchors,
  saver: Pick<EvidenceRecords, 'save'> = records,
): HashRepository {
  const limits = { timeoutMs: 30_000, maxSkewMs: 300_000, minIntervalMs: 0 }
  const authority = createTimestampAuthority({ url, anchors: trusted, ...limits })
  return createTimestampRepository({ authority, verifier, records: saver })
}

beforeAll(async () => {
  ;[database, tsa, stranger] = await Promise.all([
    testDatabase(),
    startTestAuthority(),
    startTestAuthority({ key: 'rsa' }),
  ])
  anchors = parseAnchors(tsa.root)
  records = createEvidenceRecords(database.pool)
  verifier = createTimestampVerifier({ anchors, records })
  repository = repositoryAt(tsa.url, anchors)
})

afterAll(async () => {
  await Promise.all([tsa?.stop(), stranger?.stop()])
  await database?.close()
})

const linksOf = async (hashes: readonly string[], of = repository): Promise<readonly string[]> => {
  const keep = await of.storeBatch?.(hashes)
  return (await keep?.()) ?? []
}
const batchOf = (count: number): Promise<readonly string[]> =>
  linksOf(Array.from({ length: count }, (_, n) => hashOf(n)))
const idOf = (link: string | undefined): string => {
  const parsed = parseTimestampLink(link ?? '')
  if (parsed?.kind !== 'record') throw new Error(`no link of a record: ${link}`)
  return parsed.id
}
const derOf = async (link: string | undefined): Promise<{ record: Buffer; token: Uint8Array }> => {
  const stored = await records.find(idOf(link))
  if (stored === undefined) throw new Error('no such record')
  return { record: encodeEvidenceRecord(stored), token: stored.token }
}
const tokenOf = (link: string): Uint8Array => {
  const parsed = parseTimestampLink(link)
  if (parsed?.kind !== 'token') throw new Error(`no link of a token: ${link}`)
  return parsed.token
}

hashRepositoryContract('RFC3161', () => repository, { batches: true })

describe('a timestamp of one hash', () => {
  it('is the word of a third party, whose address is known', () => {
    expect(repository.thirdParty).toBe(true)
    expect(repository.signingProviderUrl).toBe(tsa.url)
  })

  it('tells when and by whom', async () => {
    const checks = await repository.verify(await repository.store(hashOf(1)), hashOf(1))
    expect(names(checks)).toEqual(OF_TOKEN)
    expect(outcomes(checks)).toEqual([true, true, true, true])
    const [, imprint, signature, certificate] = checks
    expect(imprint?.detail).toContain('SHA-512')
    expect(signature?.signer).toContain('CN=Timestamp authority for trying out')
    expect(signature?.serial).toMatch(/^[0-9a-f]+$/i)
    expect(Math.abs(Date.parse(signature?.time ?? '') - Date.now())).toBeLessThan(300_000)
    expect(signature?.detail).toContain(signature?.time)
    const options = ['x509', '-noout', '-fingerprint', '-sha256', '-in', tsa.rootFile]
    const printed = execFileSync('openssl', options, { encoding: 'utf8' })
    expect(certificate?.detail).toContain(printed.trim().split('=')[1])
    expect(certificate?.detail).toContain('CN=Root for trying out')
    expect(certificate?.signer).toBe(signature?.signer)
  })

  it.each<[string, (link: string) => string]>([
    ['white space', (link) => `${link.slice(0, 76)}\n${link.slice(76)}`],
    ['letters of base64url', (link) => link.replaceAll('+', '-').replaceAll('/', '_')],
    ['something else', () => 'https://example.invalid/'],
  ])('is not read from a link with %s', async (_, change) => {
    const link = change(await repository.store(hashOf(1)))
    expect(repository.recognizes(link)).toBe(false)
    expectFailure(await repository.verify(link, hashOf(1)), OF_TOKEN, 'timestamp_format')
  })

  it('is not one of another hash', async () => {
    const link = await repository.store(hashOf(1))
    expectFailure(await repository.verify(link, hashOf(2)), OF_TOKEN, 'timestamp_imprint')
  })

  it('is not one of another authority', async () => {
    const link = await repositoryAt(stranger.url, parseAnchors(stranger.root)).store(hashOf(1))
    const checks = await repository.verify(link, hashOf(1))
    expectFailure(checks, OF_TOKEN, 'timestamp_certificate')
  })

  it('is not what is no token', async () => {
    const link = Buffer.from('3003020101', 'hex').toString('base64')
    expect(repository.recognizes(link)).toBe(true)
    expectFailure(await repository.verify(link, hashOf(1)), OF_TOKEN, 'timestamp_format')
  })
})

describe('timestamps of several hashes', () => {
  it('are one, with a record for each hash', async () => {
    await database.pool.query('TRUNCATE timestamp_token CASCADE')
    const links = await batchOf(5)
    for (const link of links) expect(link).toMatch(/^\/bytes\/evidence_records\/[0-9a-f-]{36}$/)
    const { rows } = await database.pool.query('SELECT count(*)::int AS n FROM timestamp_token')
    expect(rows[0].n).toBe(1)
    const checks = await repository.verify(links[4] ?? '', hashOf(4))
    expect(names(checks)).toEqual(OF_RECORD)
    expect(outcomes(checks)).toEqual(OF_RECORD.map(() => true))
    expect(checks[4]?.time).toBeDefined()
  })

  it('are tokens where there is only one hash', async () => {
    expect(tokenOf((await batchOf(1))[0] ?? '').length).toBeGreaterThan(1000)
    const [first, second, ...more] = await linksOf([hashOf(1), hashOf(1)])
    expect(more).toEqual([])
    expect(second).toBe(first)
    expect(tokenOf(first ?? '').length).toBeGreaterThan(1000)
  })

  it('prove the hash beside their own as well, and no other of the batch', async () => {
    const links = await batchOf(7)
    for (const [at, link] of links.entries()) {
      for (let other = 0; other < 7; other++) {
        const checks = await repository.verify(link, hashOf(other))
        if (other === at || other === (at ^ 1)) expect(failed(checks)).toBeUndefined()
        else expectFailure(checks, OF_RECORD, 'hash_tree')
      }
    }
  })

  it('may be of many hashes', async () => {
    const links = await batchOf(1001)
    expect(new Set(links).size).toBe(1001)
    for (const at of [0, 499, 500, 501, 1000]) {
      expect(failed(await repository.verify(links[at] ?? '', hashOf(at)))).toBeUndefined()
    }
  })

  it('fail when the record was removed', async () => {
    const [link = ''] = await batchOf(2)
    await database.pool.query('DELETE FROM evidence_record WHERE id = $1', [idOf(link)])
    const checks = await repository.verify(link, hashOf(0))
    expect(expectFailure(checks, OF_RECORD, 'evidence_record')).toBe('no such evidence record')
    const never = recordLink('00000000-0000-4000-8000-000000000000')
    expectFailure(await repository.verify(never, hashOf(0)), OF_RECORD, 'evidence_record')
  })

  /** Changes the last byte of what is stored for a link. */
  const damage = (link: string, column: string): Promise<unknown> =>
    database.pool.query(
      `WITH found AS (SELECT * FROM evidence_record WHERE id = $1),
       tree AS (
         UPDATE evidence_record r
         SET reduced_hash_tree = CASE WHEN $2 = 'tree' THEN set_byte(r.reduced_hash_tree,
             length(r.reduced_hash_tree) - 1, 255 - get_byte(r.reduced_hash_tree,
             length(r.reduced_hash_tree) - 1))
             WHEN $2 = 'form' THEN set_byte(r.reduced_hash_tree, 0, 0)
             ELSE r.reduced_hash_tree END
         FROM found WHERE r.id = found.id)
       UPDATE timestamp_token t
       SET token = CASE WHEN $2 = 'token' THEN set_byte(t.token, length(t.token) - 1,
           255 - get_byte(t.token, length(t.token) - 1)) ELSE t.token END
       FROM found WHERE t.id = found.timestamp_token_id`,
      [idOf(link), column],
    )

  it.each([
    ['tree', 'timestamp_imprint'],
    ['form', 'evidence_record'],
    ['token', 'timestamp_signature'],
  ])('fail when the stored %s was changed', async (what, check) => {
    const [link = ''] = await batchOf(4)
    await damage(link, what)
    expectFailure(await repository.verify(link, hashOf(0)), OF_RECORD, check)
  })

  it('are of no authority that is not trusted', async () => {
    const other = createTimestampVerifier({ anchors: parseAnchors(stranger.root), records })
    const [link = ''] = await batchOf(2)
    expectFailure(await other.verify(link, hashOf(0)), OF_RECORD, 'timestamp_certificate')
  })

  it('cannot be checked where records cannot be looked up', async () => {
    const offline = createTimestampVerifier({ anchors, records: undefined })
    const [link = ''] = await batchOf(2)
    const checks = await offline.verify(link, hashOf(0))
    expect(names(checks)).toEqual(OF_RECORD)
    expect(outcomes(checks)).toEqual(OF_RECORD.map(() => null))
  })
})

describe('checkTimestamp', () => {
  it('takes a record with the token in it, or the same beside it', async () => {
    const { record, token } = await derOf((await batchOf(3))[1])
    for (const evidence of [{ record }, { record, token }]) {
      expect(failed(checkTimestamp(evidence, hashOf(1), anchors))).toBeUndefined()
    }
    const other = tokenOf(await repository.store(hashOf(1)))
    const checks = checkTimestamp({ record, token: other }, hashOf(1), anchors)
    expect(expectFailure(checks, OF_RECORD, 'evidence_record')).toContain('another timestamp')
  })

  it('fails without a timestamp', () => {
    const checks = checkTimestamp({ record: null }, hashOf(1), anchors)
    expectFailure(checks, OF_TOKEN, 'timestamp_format')
  })

  it('accepts no record with a changed byte, and none that is cut off', async () => {
    const { record } = await derOf((await batchOf(6))[2])
    const accepted = (der: Uint8Array): boolean =>
      failed(checkTimestamp({ record: der }, hashOf(2), anchors)) === undefined
    expect(accepted(record)).toBe(true)
    for (let at = 0; at < record.length; at++) {
      const changed = Buffer.from(record)
      changed.writeUInt8(changed.readUInt8(at) ^ (1 << (at % 8)), at)
      expect([at, accepted(changed)]).toEqual([at, false])
      expect([at, accepted(record.subarray(0, at))]).toEqual([at, false])
    }
  })
})

describe('proof', () => {
  const openssl = promisify(execFile)

  /** What the token is for: the hash's text, or what the last step joins. */
  function preimageOf({ steps }: TimestampProof, secureHash: string): Buffer {
    let data = Buffer.from(secureHash)
    for (const step of steps) {
      const node = createHash('sha512').update(data).digest()
      data = Buffer.concat(step.map((hash) => hash ?? node))
    }
    return data
  }

  it.each([1, 2, 3, 13])('of one of %i hashes is what openssl accepts', async (count) => {
    const links = await batchOf(count)
    const at = count - 1
    const proof = await verifier.proof(links[at] ?? '', hashOf(at))
    if (proof === undefined) throw new Error('no proof')
    expect(proof.record === null).toBe(count === 1)
    expect(proof.steps.length > 0).toBe(count > 1)
    for (const step of proof.steps) {
      expect(step.length).toBeGreaterThan(1)
      expect(step.filter((hash) => hash === null)).toHaveLength(1)
    }
    expect(proof.certificates).toContain('BEGIN CERTIFICATE')
    expect(proof.anchors).toBe(anchors.pem)
    const folder = await mkdtemp(join(tmpdir(), 'bytes-test-proof-'))
    const path = (name: string): string => join(folder, name)
    try {
      await writeFile(path('token'), proof.token)
      await writeFile(path('anchors'), proof.anchors)
      await writeFile(path('certificates'), proof.certificates)
      const options = ['-token_in', '-in', path('token'), '-CAfile', path('anchors')]
      const args = ['ts', '-verify', ...options, '-untrusted', path('certificates')]
      await writeFile(path('data'), preimageOf(proof, hashOf(at)))
      const { stdout, stderr } = await openssl('openssl', [...args, '-data', path('data')])
      expect(`${stdout}${stderr}`).toContain('Verification: OK')
      await writeFile(path('data'), preimageOf(proof, hashOf(at + 1)))
      await expect(openssl('openssl', [...args, '-data', path('data')])).rejects.toThrow()
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

  it('is there only for what verifies', async () => {
    const [first = '', second = ''] = await batchOf(3)
    const token = await repository.store(hashOf(0))
    for (const link of [first, token]) {
      expect(await verifier.proof(link, hashOf(0))).toBeDefined()
      expect(await verifier.proof(link, hashOf(9))).toBeUndefined()
    }
    await database.pool.query('DELETE FROM evidence_record WHERE id = $1', [idOf(second)])
    expect(await verifier.proof(second, hashOf(1))).toBeUndefined()
    expect(await verifier.proof('', hashOf(0))).toBeUndefined()
    expect(await verifier.proof('no link', hashOf(0))).toBeUndefined()
  })
})

describe('a hash that cannot be given away', () => {
  const refusal = async (stored: Promise<unknown>): Promise<unknown> =>
    stored.then(
      () => undefined,
      (error: unknown) => error,
    )

  it('is told with the reason of the timestamp', async () => {
    const misplaced = repositoryAt(stranger.url, anchors)
    const gone = repositoryAt(new URL('/', 'http://127.0.0.1:1').href, anchors)
    const cases = [
      [misplaced, 'untrusted'],
      [gone, 'unreachable'],
    ] as const
    for (const [bad, code] of cases) {
      for (const stored of [bad.store(hashOf(1)), bad.storeBatch?.([hashOf(1), hashOf(2)])]) {
        expect(await refusal(Promise.resolve(stored))).toMatchObject({
          code: 'hash_repository_failed',
          cause: { name: 'TimestampError', code },
        })
      }
    }
  })

  it('is given up when the caller says so', async () => {
    const stored = repository.store(hashOf(1), AbortSignal.abort())
    expect(await refusal(stored)).toMatchObject({
      code: 'hash_repository_failed',
      cause: { code: 'aborted' },
    })
  })

  it('of several is told when the records cannot be kept', async () => {
    const lost = new Error('lost')
    let tries = 0
    const saver: Pick<EvidenceRecords, 'save'> = {
      save: async (...given) => {
        if (tries++ === 0) throw lost
        return records.save(...given)
      },
    }
    const keep = await repositoryAt(tsa.url, anchors, saver).storeBatch?.([hashOf(1), hashOf(2)])
    expect(await refusal(Promise.resolve(keep?.()))).toBe(lost)
    const links = (await keep?.()) ?? []
    expect(links).toHaveLength(2)
    expect(outcomes(await repository.verify(links[1] ?? '', hashOf(2)))).not.toContain(false)
  })
})
