/** Bouncy Castle checks our evidence records, and we check its. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { HashRepository } from '../../src/domain/hash-repository.js'
import { buildHashTree, leafOf } from '../../src/hashing/evidence-record/hash-tree.js'
import {
  encodeEvidenceRecord,
  encodeReducedHashTree,
} from '../../src/hashing/evidence-record/record.js'
import { type Anchors, parseAnchors } from '../../src/hashing/rfc3161/anchors.js'
import { createTimestampAuthority } from '../../src/hashing/rfc3161/authority.js'
import { checkTimestamp } from '../../src/hashing/rfc3161/check.js'
import { parseTimestampLink } from '../../src/hashing/rfc3161/links.js'
import { createTimestampRepository } from '../../src/hashing/rfc3161/repository.js'
import { createTimestampVerifier } from '../../src/hashing/rfc3161/verifier.js'
import { hasBouncyCastle, withBouncyCastle } from '../support/bouncy-castle.js'
import { memoryEvidenceRecords } from '../support/evidence-records.js'
import { startTestAuthority, type TestAuthority } from '../support/tsa.js'

const MISSING =
  'Java with its compiler, or Bouncy Castle with evidence records, is not installed: evidence records were not checked with them'
if (!hasBouncyCastle) console.warn(MISSING)

it.runIf(process.env.CI)('Bouncy Castle is there where it counts', () => {
  expect(hasBouncyCastle).toBe(true)
})

const COUNTS = [1, 2, 3, 5, 8, 100]
const hashesOf = (count: number): string[] =>
  Array.from({ length: count }, (_, n) => `sha512:${String(n).padStart(128, '0')}`)
const STRANGER = `sha512:${'f'.repeat(128)}`

/** A copy with one bit of a byte flipped. */
function flipped(bytes: Uint8Array, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeUInt8(copy.readUInt8(at) ^ 1, at)
  return copy
}

/** Byte offset of `part` in `whole`. */
function offsetOf(whole: Buffer, part: Uint8Array): number {
  const at = whole.indexOf(part)
  if (at === -1) throw new Error('it is not there')
  return at
}

const title = hasBouncyCastle ? 'Bouncy Castle' : `Bouncy Castle (skipped: ${MISSING})`
describe.runIf(hasBouncyCastle)(title, () => {
  let tsa: TestAuthority
  let anchors: Anchors
  let stamp: (imprint: Uint8Array) => Promise<Uint8Array>
  let repository: HashRepository
  const records = memoryEvidenceRecords()

  beforeAll(async () => {
    tsa = await startTestAuthority()
    anchors = parseAnchors(tsa.root)
    const limits = { timeoutMs: 30_000, maxSkewMs: 300_000, minIntervalMs: 0 }
    const authority = createTimestampAuthority({ url: tsa.url, anchors, ...limits })
    stamp = (imprint) => authority.stamp(imprint)
    const verifier = createTimestampVerifier({ anchors, records })
    repository = createTimestampRepository({ authority, verifier, records })
  })

  afterAll(() => tsa?.stop())

  /** Records as users get them; of one hash alone, which would have none, one without a tree. */
  async function recordsOf(hashes: readonly string[]): Promise<Buffer[]> {
    const [hash, ...others] = hashes
    if (hash !== undefined && others.length === 0) {
      const token = await stamp(leafOf(hash))
      return [encodeEvidenceRecord({ token, reducedHashTree: encodeReducedHashTree([]) })]
    }
    const keep = await repository.storeBatch?.(hashes)
    const links = (await keep?.()) ?? []
    return links.map((link) => {
      const parsed = parseTimestampLink(link)
      const stored = parsed?.kind === 'record' ? records.records.get(parsed.id) : undefined
      if (stored === undefined) throw new Error(`no record: ${link}`)
      return encodeEvidenceRecord(stored)
    })
  }

  it('accepts our records of their hashes, and of no other', async () => {
    await withBouncyCastle(tsa, async (castle) => {
      const own: number[] = []
      const foreign: number[] = []
      for (const count of COUNTS) {
        const hashes = hashesOf(count)
        for (const [at, record] of (await recordsOf(hashes)).entries()) {
          own.push(castle.verify(record, hashes[at] ?? ''))
          foreign.push(castle.verify(record, STRANGER))
        }
      }
      const answers = await castle.run()
      expect(own).toHaveLength(COUNTS.reduce((sum, count) => sum + count))
      for (const at of own) expect(answers[at]).toBe('ok')
      for (const at of foreign) expect(answers[at]).toMatch(/^refused object hash not found/)
    })
  })

  it('refuses damaged records, as we do', async () => {
    const hashes = hashesOf(8)
    const [hash = ''] = hashes
    const [record = Buffer.alloc(0)] = await recordsOf(hashes)
    const tree = buildHashTree(hashes.map(leafOf))
    const uncles = tree.reduced(0).slice(1).flat()
    // Hashes of the tree, the imprint, the end of the signature.
    const places = [...uncles, tree.root].map((part) => offsetOf(record, part) + 7)
    const damaged = [...places, record.length - 1].map((at) => flipped(record, at))
    const elsewhere = await recordsOf([hash, STRANGER])
    await withBouncyCastle(tsa, async (castle) => {
      const good = castle.verify(record, hash)
      const bad = damaged.map((der) => castle.verify(der, hash))
      const cut = castle.verify(record.subarray(0, -1), hash)
      const other = castle.verify(elsewhere[0] ?? record, hashes[5] ?? '')
      const answers = await castle.run()
      expect(answers[good]).toBe('ok')
      for (const at of [...bad, cut, other]) expect(answers[at]).toMatch(/^refused/)
    })
    for (const der of [...damaged, record.subarray(0, -1)]) {
      const checks = checkTimestamp({ record: der }, hash, anchors)
      expect(checks.some(({ passed }) => passed === false)).toBe(true)
    }
  })

  it('makes records of their hashes that we accept, and of no other', async () => {
    await withBouncyCastle(tsa, async (castle) => {
      const batches = COUNTS.map((count) => hashesOf(count)).map((hashes) => ({
        hashes,
        made: castle.generate(hashes),
      }))
      expect(new Set(await castle.run())).toEqual(new Set(['ok']))
      for (const { hashes, made } of batches) {
        for (const [at, record] of (await made()).entries()) {
          const checks = checkTimestamp({ record }, hashes[at] ?? '', anchors)
          expect(checks.map(({ detail, passed }) => [detail, passed])).toEqual(
            checks.map(({ detail }) => [detail, true]),
          )
          const foreign = checkTimestamp({ record }, STRANGER, anchors)
          expect(foreign.some(({ passed }) => passed === false)).toBe(true)
        }
      }
    })
  })
})
