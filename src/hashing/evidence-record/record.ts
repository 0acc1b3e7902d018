/**
 * EvidenceRecord (RFC 4998, section 3.1) with one ArchiveTimeStamp and SHA-512 throughout:
 *
 *   EvidenceRecord ::= SEQUENCE {
 *     version INTEGER { v1(1) },
 *     digestAlgorithms SEQUENCE OF AlgorithmIdentifier,
 *     cryptoInfos [0], encryptionInfo [1] OPTIONAL,         -- never here
 *     archiveTimeStampSequence SEQUENCE OF SEQUENCE OF ArchiveTimeStamp }
 *   ArchiveTimeStamp ::= SEQUENCE {
 *     digestAlgorithm [0] AlgorithmIdentifier OPTIONAL,     -- not written: that of the timestamp
 *     attributes [1] OPTIONAL,                              -- never here
 *     reducedHashtree [2] SEQUENCE OF PartialHashtree OPTIONAL,
 *     timeStamp ContentInfo }
 *   PartialHashtree ::= SEQUENCE OF OCTET STRING
 *
 * The tags are implicit.
 */
import type { StoredRecord } from '../../domain/evidence-records.js'
import { contextTag, DerError, type DerNode, numberOf, oidOf, parseDer, TAG } from '../der.js'
import { element } from './der-writer.js'
import { EvidenceRecordError } from './errors.js'
import { HASH_BYTES, type PartialHashTree, type ReducedHashTree } from './hash-tree.js'

const VERSION = element(TAG.integer, Uint8Array.of(1))
const SHA512 = '2.16.840.1.101.3.4.2.3'
const SHA512_OID = element(
  TAG.oid,
  Uint8Array.of(0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03),
)

export interface EvidenceRecord {
  readonly reducedHashTree: ReducedHashTree
  /** TimeStampToken in DER, as it was; whether it is good is left to others. */
  readonly token: Uint8Array
}

/** The reducedHashtree in DER, as a SEQUENCE. Empty without any list. */
export function encodeReducedHashTree(tree: ReducedHashTree): Buffer {
  return element(TAG.sequence, contentsOf(tree))
}

function contentsOf(tree: ReducedHashTree): Buffer {
  const list = (hashes: PartialHashTree): Buffer =>
    element(TAG.sequence, ...hashes.map((hash) => element(TAG.octetString, hash)))
  return Buffer.concat(tree.map(list))
}

/**
 * An EvidenceRecord in DER.
 * @throws EvidenceRecordError `evidence_record_malformed` when the reduced hash tree is none
 */
export function encodeEvidenceRecord({ token, reducedHashTree }: StoredRecord): Buffer {
  const tree = readTree(parse(reducedHashTree), TAG.sequence)
  const parts = tree.length > 0 ? [element(contextTag(2), contentsOf(tree))] : []
  const archiveTimeStamp = element(TAG.sequence, ...parts, token)
  return element(
    TAG.sequence,
    VERSION,
    element(TAG.sequence, element(TAG.sequence, SHA512_OID)),
    element(TAG.sequence, element(TAG.sequence, archiveTimeStamp)),
  )
}

/**
 * Reads one that is exactly as DER wants it, its token included: whatever is unknown, in another
 * order, renewed or surplus is refused.
 * @returns views of what was read
 * @throws EvidenceRecordError `evidence_record_malformed`
 */
export function decodeEvidenceRecord(der: Uint8Array): EvidenceRecord {
  const members = membersOf(parse(der), TAG.sequence, 'the record')
  const [version, algorithms, archives, ...more] = members
  if (numberOf(version) !== 1) throw malformed('its version is not 1')
  if (more.length > 0 || archives?.tag !== TAG.sequence) {
    throw malformed('it holds information on encryption, or more than it may')
  }
  const [algorithm, ...others] = membersOf(
    algorithms,
    TAG.sequence,
    'the list of digest algorithms',
  )
  if (others.length > 0) throw malformed('it names several digest algorithms')
  checkAlgorithm(algorithm, TAG.sequence)
  const [chain, ...chains] = membersOf(archives, TAG.sequence, 'the archive timestamp sequence')
  const [archive, ...renewals] = membersOf(chain, TAG.sequence, 'the archive timestamp chain')
  if (chains.length + renewals.length > 0) {
    throw malformed('its timestamp was renewed, which cannot be checked here')
  }
  return readArchive(archive)
}

function readArchive(archive: DerNode | undefined): EvidenceRecord {
  const members = [...membersOf(archive, TAG.sequence, 'the archive timestamp')]
  const next = (tag: number): DerNode | undefined =>
    members[0]?.tag === tag ? members.shift() : undefined
  const algorithm = next(contextTag(0))
  if (algorithm !== undefined) checkAlgorithm(algorithm, contextTag(0))
  const tree = next(contextTag(2))
  const reducedHashTree = tree === undefined ? [] : readTree(tree, contextTag(2))
  const token = next(TAG.sequence)
  if (token === undefined || members.length > 0) {
    throw malformed('the archive timestamp holds more than a hash tree and a timestamp, or less')
  }
  // One that is empty is left out.
  if (tree !== undefined && reducedHashTree.length === 0) throw malformed('its hash tree is empty')
  return { token: token.raw, reducedHashTree }
}

function malformed(reason: string, cause?: unknown): EvidenceRecordError {
  const message = `not an evidence record that can be checked: ${reason}`
  return new EvidenceRecordError('evidence_record_malformed', message, { cause })
}

function parse(der: Uint8Array): DerNode {
  try {
    return parseDer(der)
  } catch (error) {
    if (!(error instanceof DerError)) throw error
    throw malformed(error.message, error)
  }
}

function membersOf(node: DerNode | undefined, tag: number, what: string): readonly DerNode[] {
  if (node?.tag !== tag) throw malformed(`${what} is missing`)
  return node.children
}

/** The parameters may be left out or NULL (RFC 5754, section 2). */
function checkAlgorithm(algorithm: DerNode | undefined, tag: number): void {
  const [oid, parameters, ...more] = membersOf(algorithm, tag, 'a digest algorithm')
  if (oidOf(oid) !== SHA512) throw malformed('its digest algorithm is not SHA-512')
  if ((parameters !== undefined && parameters.tag !== TAG.null) || more.length > 0) {
    throw malformed('its digest algorithm has parameters')
  }
}

function readTree(node: DerNode, tag: number): ReducedHashTree {
  return membersOf(node, tag, 'the hash tree').map(readList)
}

function readList(node: DerNode): PartialHashTree {
  const hashes = membersOf(node, TAG.sequence, 'a list of the hash tree').map((hash) => {
    if (hash.tag !== TAG.octetString || hash.content.length !== HASH_BYTES) {
      throw malformed('a hash of its tree is not a SHA-512')
    }
    return hash.content
  })
  const ascending = hashes.every((hash, at) => {
    const before = hashes[at - 1]
    return before === undefined || Buffer.compare(before, hash) < 0
  })
  if (hashes.length === 0 || !ascending) {
    throw malformed('the hashes in a list of its tree are not in ascending order')
  }
  return hashes
}
