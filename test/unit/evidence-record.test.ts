import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EvidenceRecordError } from '../../src/hashing/evidence-record/errors.js'
import {
  buildHashTree,
  leafOf,
  type ReducedHashTree,
  rootOf,
  stepsFrom,
} from '../../src/hashing/evidence-record/hash-tree.js'
import {
  decodeEvidenceRecord,
  encodeEvidenceRecord,
  encodeReducedHashTree,
} from '../../src/hashing/evidence-record/record.js'

const sha512 = (...parts: readonly Uint8Array[]): Buffer =>
  createHash('sha512').update(Buffer.concat(parts)).digest()
const sorted = (...hashes: readonly Uint8Array[]): Uint8Array[] => [...hashes].sort(Buffer.compare)
const leaf = (n: number): Buffer => sha512(Buffer.from(`leaf ${n}`))
const leaves = (count: number): Buffer[] => Array.from({ length: count }, (_, n) => leaf(n))
const rootFrom = (hash: Uint8Array, tree: ReducedHashTree): Buffer =>
  Buffer.from(rootOf(hash, stepsFrom(hash, tree)))

/** Section 4.3 of RFC 4998, word for word; undefined when the hash is not in the first list. */
function rootByTheBook(hash: Uint8Array, tree: ReducedHashTree): Buffer | undefined {
  const [first, ...others] = tree.map((list) => list.map((each) => Buffer.from(each)))
  if (first === undefined) return Buffer.from(hash)
  if (!first.some((each) => each.equals(hash))) return undefined
  return others.reduce(
    (node, list) => sha512(...sorted(...list, node)),
    sha512(...sorted(...first)),
  )
}

describe('leafOf', () => {
  it('is the SHA-512 of the text', () => {
    expect(leafOf('sha512:00').toString('hex')).toBe(
      createHash('sha512').update('sha512:00', 'ascii').digest('hex'),
    )
  })
})

describe('buildHashTree', () => {
  it('of one leaf is the leaf', () => {
    const tree = buildHashTree([leaf(0)])
    expect(leaf(0).equals(tree.root)).toBe(true)
    expect(tree.reduced(0)).toEqual([])
  })

  it('joins two leaves in binary ascending order, whatever theirs was', () => {
    const root = sha512(...sorted(leaf(0), leaf(1)))
    for (const pair of [
      [leaf(0), leaf(1)],
      [leaf(1), leaf(0)],
    ]) {
      const tree = buildHashTree(pair)
      expect(root.equals(tree.root)).toBe(true)
      expect(tree.reduced(0)).toEqual([sorted(leaf(0), leaf(1))])
      expect(tree.reduced(1)).toEqual([sorted(leaf(0), leaf(1))])
    }
  })

  it('lets the last of three leaves move up, and leaves its level out', () => {
    const [a, b, c] = [leaf(0), leaf(1), leaf(2)]
    const father = sha512(...sorted(a, b))
    const tree = buildHashTree([a, b, c])
    expect(tree.reduced(0)).toEqual([sorted(a, b), [c]])
    expect(tree.reduced(1)).toEqual([sorted(a, b), [c]])
    expect(tree.reduced(2)).toEqual([sorted(father, c)])
    expect(sha512(...sorted(father, c)).equals(tree.root)).toBe(true)
  })

  it('compares bytes without sign', () => {
    const [low, high] = [Buffer.alloc(64, 0x7f), Buffer.alloc(64, 0x80)]
    expect(buildHashTree([high, low]).reduced(0)).toEqual([[low, high]])
  })

  it('refuses no leaves, a leaf that is there twice, and a leaf that is not there', () => {
    expect(() => buildHashTree([])).toThrow(RangeError)
    expect(() => buildHashTree([leaf(0), leaf(1), leaf(0)])).toThrow(/twice/)
    const tree = buildHashTree(leaves(3))
    expect(() => tree.reduced(3)).toThrow(RangeError)
    expect(() => tree.reduced(-1)).toThrow(RangeError)
  })

  it('proves each of up to 300 leaves with its own reduced tree, and of the others only its sibling', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.nat(), fc.nat(), (count, one, two) => {
        const all = leaves(count)
        const tree = buildHashTree(all)
        for (const [at, hash] of all.entries()) {
          const reduced = tree.reduced(at)
          for (const list of reduced) expect(list.length).toBeGreaterThan(0)
          if (count > 1) expect(reduced[0]).toHaveLength(2)
          expect(reduced.length).toBeLessThanOrEqual(Math.ceil(Math.log2(count)))
          expect(rootFrom(hash, reduced).equals(tree.root)).toBe(true)
          expect(rootByTheBook(hash, reduced)?.equals(tree.root)).toBe(true)
        }
        const [own, other] = [one % count, two % count]
        const reduced = tree.reduced(own)
        if (other !== own && other !== (own ^ 1)) {
          expect(() => stepsFrom(leaf(other), reduced)).toThrow(EvidenceRecordError)
        }
        if (count > 1) expect(() => stepsFrom(leaf(count), reduced)).toThrow(/not of this/)
      }),
      { numRuns: 60 },
    )
  })

  it('has another root when any byte of a reduced tree is changed', () => {
    const count = 13
    const tree = buildHashTree(leaves(count))
    fc.assert(
      fc.property(
        fc.nat(count - 1),
        fc.nat(),
        fc.nat(63),
        fc.integer({ min: 1, max: 255 }),
        (own, which, byte, flip) => {
          const lists = tree.reduced(own).map((list) => list.map((hash) => Buffer.from(hash)))
          const hashes = lists.flat().filter((hash) => !hash.equals(leaf(own)))
          const changed = hashes[which % hashes.length]
          if (changed === undefined) throw new Error('no hash to change')
          changed[byte] = (changed[byte] ?? 0) ^ flip
          const again = lists.map((list) => sorted(...list))
          expect(rootFrom(leaf(own), again).equals(tree.root)).toBe(false)
        },
      ),
    )
  })
})

describe('stepsFrom', () => {
  it('says in which order the hashes are joined', () => {
    const [a, b, c] = [leaf(0), leaf(1), leaf(2)]
    const tree = buildHashTree([a, b, c])
    const [first, second, ...more] = stepsFrom(a, tree.reduced(0))
    expect(more).toEqual([])
    expect(first).toEqual(sorted(a, b).map((hash) => (hash === a ? null : hash)))
    const father = sha512(...sorted(a, b))
    expect(second).toEqual(sorted(father, c).map((hash) => (hash === c ? c : null)))
  })

  it('takes a first list of the leaf alone as it is', () => {
    const tree = [[leaf(0)], [leaf(1)]]
    expect(stepsFrom(leaf(0), tree)).toHaveLength(1)
    expect(rootFrom(leaf(0), tree).equals(sha512(...sorted(leaf(0), leaf(1))))).toBe(true)
  })

  it('joins lists of any length as RFC 4998 wants it', () => {
    const hash = fc.uint8Array({ minLength: 64, maxLength: 64 }).map((bytes) => Buffer.from(bytes))
    const list = fc.array(hash, { minLength: 1, maxLength: 5 }).map((hashes) => sorted(...hashes))
    fc.assert(
      fc.property(hash, list, fc.array(list, { maxLength: 5 }), (own, siblings, others) => {
        const tree = [sorted(own, ...siblings), ...others]
        expect(rootFrom(own, tree).equals(rootByTheBook(own, tree) ?? Buffer.alloc(0))).toBe(true)
      }),
    )
  })
})

/** A SEQUENCE, as little like a token as it may be. */
const TOKEN = Buffer.from('3003020105', 'hex')
const recordOf = (tree: ReducedHashTree): Buffer =>
  encodeEvidenceRecord({ token: TOKEN, reducedHashTree: encodeReducedHashTree(tree) })
const refused = (der: Uint8Array): string => {
  try {
    decodeEvidenceRecord(der)
  } catch (error) {
    expect(error).toBeInstanceOf(EvidenceRecordError)
    expect(error).toMatchObject({ code: 'evidence_record_malformed' })
    return (error as Error).message
  }
  throw new Error(`accepted: ${Buffer.from(der).toString('hex')}`)
}

describe('encodeEvidenceRecord', () => {
  it('writes the DER of RFC 4998', () => {
    const [low, high] = [Buffer.alloc(64, 1), Buffer.alloc(64, 2)]
    const other = Buffer.alloc(64, 3)
    const hash = (bytes: Buffer): string => `0440${bytes.toString('hex')}`
    const lists = `308184${hash(low)}${hash(high)}3042${hash(other)}`
    expect(encodeReducedHashTree([[low, high], [other]]).toString('hex')).toBe(`3081cb${lists}`)
    const parts = [
      '3081ee',
      '020101',
      '300d300b0609608648016503040203',
      `3081d93081d63081d3a281cb${lists}`,
      TOKEN.toString('hex'),
    ]
    expect(recordOf([[low, high], [other]]).toString('hex')).toBe(parts.join(''))
  })

  it('leaves the tree out when the leaf is the root', () => {
    const der = recordOf([])
    expect(der.toString('hex')).toBe(
      `301d020101300d300b0609608648016503040203300930073005${TOKEN.toString('hex')}`,
    )
    expect(decodeEvidenceRecord(der).reducedHashTree).toEqual([])
  })

  it('is read back, whatever the tree', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.nat(), (count, n) => {
        const reduced = buildHashTree(leaves(count)).reduced(n % count)
        const record = decodeEvidenceRecord(recordOf(reduced))
        expect(Buffer.from(record.token).equals(TOKEN)).toBe(true)
        expect(record.reducedHashTree.map((list) => list.map((hash) => Buffer.from(hash)))).toEqual(
          reduced.map((list) => list.map((hash) => Buffer.from(hash))),
        )
      }),
      { numRuns: 40 },
    )
  })

  it('refuses a stored tree that is none', () => {
    for (const bad of [
      '',
      '00',
      '3005',
      '30020500',
      '0400',
      '3100',
      `30443042${'00'.repeat(66)}`,
    ]) {
      const stored = { token: TOKEN, reducedHashTree: Buffer.from(bad, 'hex') }
      expect(() => encodeEvidenceRecord(stored)).toThrow(EvidenceRecordError)
    }
  })
})

/** One element; lengths below 65,536. */
const tlv = (tag: number, ...parts: readonly (Buffer | string)[]): Buffer => {
  const body = Buffer.concat(parts.map((p) => (typeof p === 'string' ? Buffer.from(p, 'hex') : p)))
  const length =
    body.length < 0x80
      ? [body.length]
      : body.length < 0x100
        ? [0x81, body.length]
        : [0x82, body.length >> 8, body.length & 0xff]
  return Buffer.concat([Buffer.of(tag, ...length), body])
}
const VERSION = '020101'
const SHA512 = '0609608648016503040203'
const SHA256 = '0609608648016503040201'
const ALGORITHMS = tlv(0x30, tlv(0x30, SHA512))
const [LOW, HIGH] = [Buffer.alloc(64, 1), Buffer.alloc(64, 2)] as const
const LIST = tlv(0x30, tlv(4, LOW), tlv(4, HIGH))
const TREE = tlv(0xa2, LIST)
const sequenceOf = (...archives: readonly Buffer[]): Buffer => tlv(0x30, tlv(0x30, ...archives))
const archive = (...parts: readonly (Buffer | string)[]): Buffer => sequenceOf(tlv(0x30, ...parts))
const record = (...parts: readonly (Buffer | string)[]): Buffer => tlv(0x30, ...parts)
const withArchive = (...parts: readonly (Buffer | string)[]): Buffer =>
  record(VERSION, ALGORITHMS, archive(...parts))

describe('decodeEvidenceRecord', () => {
  it.each([
    ['as we write it', withArchive(TREE, TOKEN)],
    ['without a tree', withArchive(TOKEN)],
    ['with the digest algorithm', withArchive(tlv(0xa0, SHA512), TREE, TOKEN)],
    ['with NULL parameters', withArchive(tlv(0xa0, SHA512, '0500'), TREE, TOKEN)],
    [
      'with NULL parameters in the list',
      record(VERSION, tlv(0x30, tlv(0x30, SHA512, '0500')), archive(TREE, TOKEN)),
    ],
    ['with several lists', withArchive(tlv(0xa2, LIST, LIST), TOKEN)],
  ])('reads a record %s', (_, der) => {
    expect(Buffer.from(decodeEvidenceRecord(der).token).equals(TOKEN)).toBe(true)
  })

  it.each<[string, Buffer, RegExp]>([
    ['nothing', Buffer.alloc(0), /no DER/],
    ['another type', tlv(0x31, VERSION, ALGORITHMS, archive(TREE, TOKEN)), /missing/],
    ['something that follows', Buffer.concat([withArchive(TREE, TOKEN), Buffer.of(0)]), /follow/],
    ['another version', record('020102', ALGORITHMS, archive(TREE, TOKEN)), /version/],
    ['a version not in DER', record('02020001', ALGORITHMS, archive(TREE, TOKEN)), /DER/],
    ['no version', record(ALGORITHMS, archive(TREE, TOKEN)), /version/],
    ['no digest algorithm', record(VERSION, '3000', archive(TREE, TOKEN)), /algorithm/],
    [
      'two digest algorithms',
      record(VERSION, tlv(0x30, tlv(0x30, SHA512), tlv(0x30, SHA512)), archive(TREE, TOKEN)),
      /several/,
    ],
    [
      'another digest algorithm',
      record(VERSION, tlv(0x30, tlv(0x30, SHA256)), archive(TREE, TOKEN)),
      /not SHA-512/,
    ],
    [
      'other parameters',
      record(VERSION, tlv(0x30, tlv(0x30, SHA512, '0400')), archive(TREE, TOKEN)),
      /parameters/,
    ],
    [
      'parameters twice',
      record(VERSION, tlv(0x30, tlv(0x30, SHA512, '0500', '0500')), archive(TREE, TOKEN)),
      /parameters/,
    ],
    ['a token that is BER', withArchive(TREE, Buffer.from('30800201050000', 'hex')), /DER/],
    ['a token of another type', withArchive(TREE, Buffer.from('3103020105', 'hex')), /more than/],
    [
      'crypto infos',
      record(VERSION, ALGORITHMS, tlv(0xa0, tlv(0x30)), archive(TREE, TOKEN)),
      /encryption/,
    ],
    [
      'encryption information',
      record(VERSION, ALGORITHMS, tlv(0xa1, tlv(0x30)), archive(TREE, TOKEN)),
      /encryption/,
    ],
    ['no archive timestamp', record(VERSION, ALGORITHMS, '3000'), /missing/],
    ['an empty chain', record(VERSION, ALGORITHMS, '30023000'), /missing/],
    [
      'a renewed timestamp',
      record(VERSION, ALGORITHMS, sequenceOf(tlv(0x30, TREE, TOKEN), tlv(0x30, TOKEN))),
      /renewed/,
    ],
    [
      'a renewed hash tree',
      record(
        VERSION,
        ALGORITHMS,
        tlv(0x30, tlv(0x30, tlv(0x30, TREE, TOKEN)), tlv(0x30, tlv(0x30, TOKEN))),
      ),
      /renewed/,
    ],
    ['attributes', withArchive(tlv(0xa1, tlv(0x30)), TREE, TOKEN), /more than a hash tree/],
    ['no timestamp', withArchive(TREE), /more than a hash tree/],
    ['two timestamps', withArchive(TREE, TOKEN, TOKEN), /more than a hash tree/],
    ['a tree after the timestamp', withArchive(TOKEN, TREE), /more than a hash tree/],
    ['two trees', withArchive(TREE, TREE, TOKEN), /more than a hash tree/],
    ['another algorithm of the tree', withArchive(tlv(0xa0, SHA256), TREE, TOKEN), /not SHA-512/],
    [
      'an algorithm with an explicit tag',
      withArchive(tlv(0xa0, tlv(0x30, SHA512)), TREE, TOKEN),
      /algorithm/,
    ],
    ['a tree with an explicit tag', withArchive(tlv(0xa2, tlv(0x30, LIST)), TOKEN), /SHA-512/],
    ['an empty tree', withArchive(tlv(0xa2), TOKEN), /empty/],
    ['an empty list', withArchive(tlv(0xa2, '3000'), TOKEN), /order/],
    [
      'hashes in descending order',
      withArchive(tlv(0xa2, tlv(0x30, tlv(4, HIGH), tlv(4, LOW))), TOKEN),
      /order/,
    ],
    ['a hash twice', withArchive(tlv(0xa2, tlv(0x30, tlv(4, LOW), tlv(4, LOW))), TOKEN), /order/],
    ['a short hash', withArchive(tlv(0xa2, tlv(0x30, tlv(4, '0102'))), TOKEN), /SHA-512/],
    ['a hash of another type', withArchive(tlv(0xa2, tlv(0x30, tlv(12, LOW))), TOKEN), /SHA-512/],
    [
      'a hash in pieces',
      withArchive(
        tlv(0xa2, tlv(0x30, tlv(0x24, tlv(4, LOW.subarray(32)), tlv(4, LOW.subarray(32))))),
        TOKEN,
      ),
      /DER/,
    ],
    [
      'an indefinite length',
      Buffer.concat([
        Buffer.from('3080', 'hex'),
        withArchive(TREE, TOKEN).subarray(3),
        Buffer.alloc(2),
      ]),
      /DER/,
    ],
    [
      'a length that is longer than it need be',
      withArchive(
        Buffer.concat([
          Buffer.from('a28100', 'hex').subarray(0, 1),
          Buffer.from('8200', 'hex'),
          TREE.subarray(2),
        ]),
        TOKEN,
      ),
      /DER/,
    ],
    ['deep nesting', Buffer.alloc(20_000, 0x30), /DER/],
    ['deep nesting of indefinite length', Buffer.from('3080'.repeat(20_000), 'hex'), /DER/],
  ])('refuses %s', (_, der, reason) => {
    expect(refused(der)).toMatch(reason)
  })

  const tree = buildHashTree(leaves(6))
  const der = recordOf(tree.reduced(2))

  it('refuses a record that is cut off anywhere', () => {
    for (let length = 0; length < der.length; length++) refused(der.subarray(0, length))
  })

  it('lets no flipped bit lead to the same root with the same token', () => {
    let accepted = 0
    for (let at = 0; at < der.length * 8; at++) {
      const changed = Buffer.from(der)
      changed.writeUInt8(changed.readUInt8(at >> 3) ^ (1 << (at & 7)), at >> 3)
      try {
        const { token, reducedHashTree } = decodeEvidenceRecord(changed)
        accepted++
        const same = TOKEN.equals(token) && rootFrom(leaf(2), reducedHashTree).equals(tree.root)
        expect(same).toBe(false)
      } catch (error) {
        expect(error).toBeInstanceOf(EvidenceRecordError)
      }
    }
    // Most of the bits are those of hashes.
    expect(accepted).toBeGreaterThan(1000)
  })

  it('never crashes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        refused(bytes)
      }),
      { numRuns: 1000 },
    )
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(der.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }),
        (changes) => {
          const changed = Buffer.from(der)
          for (const [at, value] of changes) changed[at] = value
          if (changed.equals(der)) return
          try {
            decodeEvidenceRecord(changed)
          } catch (error) {
            expect(error).toBeInstanceOf(EvidenceRecordError)
          }
        },
      ),
      { numRuns: 1000 },
    )
  })
})
