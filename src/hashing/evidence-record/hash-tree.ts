/** Hash trees (Merkle) and reduced hash trees of RFC 4998, section 4, with SHA-512. */
import { createHash } from 'node:crypto'
import type { SecureHash } from '../../domain/models.js'
import { EvidenceRecordError } from './errors.js'

/** Bytes of a SHA-512. */
export const HASH_BYTES = 64

/** Hashes with the same father, in binary ascending order. */
export type PartialHashTree = readonly Uint8Array[]

/**
 * The first list holds the hash of the data and its siblings, each later one the siblings of the
 * father of the list before. Empty when the hash of the data is the root.
 */
export type ReducedHashTree = readonly PartialHashTree[]

export interface HashTree {
  /** What the timestamp is for, 64 bytes. */
  readonly root: Uint8Array
  /** @throws RangeError when there is no such leaf */
  reduced(leaf: number): ReducedHashTree
}

/** Hashes in the order in which they are joined; null stands for that of the step before. */
export type Step = readonly (Uint8Array | null)[]

function sha512(pieces: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha512')
  for (const piece of pieces) hash.update(piece)
  return hash.digest()
}

/** The leaf of a secure hash, and the imprint of its own timestamp: SHA-512 of its ASCII text. */
export function leafOf(secureHash: SecureHash): Buffer {
  return sha512([Buffer.from(secureHash)])
}

/**
 * Two by two; the last one of an odd number moves up as it is, and its level is left out of the
 * reduced tree: a list of one hash would be hashed once more by some readers of section 4.3.
 * @param leaves SHA-512 hashes, each once, at least one
 * @throws RangeError when there is none, or one twice
 */
export function buildHashTree(leaves: readonly Uint8Array[]): HashTree {
  const [first] = leaves
  if (first === undefined) throw new RangeError('a hash tree needs a leaf')
  if (new Set(leaves.map((leaf) => Buffer.from(leaf).toString('latin1'))).size < leaves.length) {
    throw new RangeError('a leaf is in the hash tree twice')
  }
  const levels: (readonly Uint8Array[])[] = []
  let level = leaves
  for (; level.length > 1; level = fathersOf(level)) levels.push(level)
  return { root: level[0] ?? first, reduced: (leaf) => reduce(levels, leaves, leaf) }
}

function fathersOf(level: readonly Uint8Array[]): Uint8Array[] {
  const fathers: Uint8Array[] = []
  for (let at = 0; at < level.length; at += 2) {
    const pair = level.slice(at, at + 2)
    fathers.push(...(pair.length === 1 ? pair : [sha512(pair.sort(Buffer.compare))]))
  }
  return fathers
}

function reduce(
  levels: readonly (readonly Uint8Array[])[],
  leaves: readonly Uint8Array[],
  leaf: number,
): ReducedHashTree {
  const own = leaves[leaf]
  if (own === undefined) throw new RangeError(`no leaf ${leaf} in a hash tree of ${leaves.length}`)
  const lists: PartialHashTree[] = []
  let at = leaf
  for (const level of levels) {
    const sibling = level[at ^ 1]
    if (sibling !== undefined) {
      lists.push(lists.length === 0 ? [own, sibling].sort(Buffer.compare) : [sibling])
    }
    at >>= 1
  }
  return lists
}

/**
 * The way from a leaf to the root (section 4.3): the SHA-512 of each step's hashes, joined, is the
 * null of the next. A first list of the leaf alone is no step: Bouncy Castle writes such ones, and
 * does not hash them again.
 * @throws EvidenceRecordError `hash_not_in_tree` when the first list does not hold the leaf
 */
export function stepsFrom(leaf: Uint8Array, tree: ReducedHashTree): readonly Step[] {
  const [first, ...others] = tree
  if (first === undefined) return []
  const isLeaf = (hash: Uint8Array): boolean => Buffer.compare(hash, leaf) === 0
  if (!first.some(isLeaf)) {
    throw new EvidenceRecordError('hash_not_in_tree', 'the hash tree is not of this secure hash')
  }
  const steps: Step[] = []
  let node = leaf
  const join = (hashes: readonly Uint8Array[], isNode: (hash: Uint8Array) => boolean): void => {
    steps.push(hashes.map((hash) => (isNode(hash) ? null : hash)))
    node = sha512(hashes)
  }
  if (first.length > 1) join(first, isLeaf)
  for (const list of others) {
    const own = node
    join([...list, own].sort(Buffer.compare), (hash) => hash === own)
  }
  return steps
}

/** Walks steps of `stepsFrom` from the leaf. @returns the root */
export function rootOf(leaf: Uint8Array, steps: readonly Step[]): Uint8Array {
  let node = leaf
  for (const step of steps) {
    const own = node
    node = sha512(step.map((hash) => hash ?? own))
  }
  return node
}
