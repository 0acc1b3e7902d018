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
import {
  type BaseBlock,
  Constructed,
  fromBER,
  Integer,
  ObjectIdentifier,
  OctetString,
  Sequence,
} from 'asn1js'
import type { StoredRecord } from '../../domain/evidence-records.js'
import { element, TAG } from './der.js'
import { EvidenceRecordError } from './errors.js'
import { HASH_BYTES, type PartialHashTree, type ReducedHashTree } from './hash-tree.js'

const VERSION = element(TAG.integer, Uint8Array.of(1))
const SHA512 = '2.16.840.1.101.3.4.2.3'
const SHA512_OID = element(
  TAG.objectIdentifier,
  Uint8Array.of(0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03),
)
/** The parameters may be left out or NULL (RFC 5754, section 2). */
const PARAMETERS = { absent: new Uint8Array(), null: element(TAG.null) } as const
type Parameters = keyof typeof PARAMETERS

/** Where records that mean the same differ. */
interface Form {
  readonly listed: Parameters
  /** Of the ArchiveTimeStamp's digestAlgorithm; undefined without it. */
  readonly own: Parameters | undefined
}
const OUR_FORM: Form = { listed: 'absent', own: undefined }

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
  return encode(token, readTree(parse(reducedHashTree), Sequence), OUR_FORM)
}

function encode(token: Uint8Array, tree: ReducedHashTree, form: Form): Buffer {
  const parts: Buffer[] = []
  if (form.own !== undefined) {
    parts.push(element(TAG.context(0), SHA512_OID, PARAMETERS[form.own]))
  }
  if (tree.length > 0) parts.push(element(TAG.context(2), contentsOf(tree)))
  const archiveTimeStamp = element(TAG.sequence, ...parts, token)
  const algorithm = element(TAG.sequence, SHA512_OID, PARAMETERS[form.listed])
  return element(
    TAG.sequence,
    VERSION,
    element(TAG.sequence, algorithm),
    element(TAG.sequence, element(TAG.sequence, archiveTimeStamp)),
  )
}

/**
 * Reads one that is exactly as DER wants it: whatever is unknown, in another order, renewed or
 * surplus is refused.
 * @throws EvidenceRecordError `evidence_record_malformed`
 */
export function decodeEvidenceRecord(der: Uint8Array): EvidenceRecord {
  const [version, algorithms, archives, ...more] = membersOf(parse(der), Sequence, 'the record')
  if (!(version instanceof Integer) || version.toBigInt() !== 1n) {
    throw malformed('its version is not 1')
  }
  if (more.length > 0 || archives === undefined || !isSequence(archives)) {
    throw malformed('it holds information on encryption, or more than it may')
  }
  const [algorithm, ...others] = membersOf(algorithms, Sequence, 'the list of digest algorithms')
  if (others.length > 0) throw malformed('it names several digest algorithms')
  const listed = parametersOf(algorithm, Sequence)
  const [chain, ...chains] = membersOf(archives, Sequence, 'the archive timestamp sequence')
  const [archive, ...renewals] = membersOf(chain, Sequence, 'the archive timestamp chain')
  if (chains.length + renewals.length > 0) {
    throw malformed('its timestamp was renewed, which cannot be checked here')
  }
  const members = [...membersOf(archive, Sequence, 'the archive timestamp')]
  const own = isTagged(members[0], 0) ? parametersOf(members.shift(), Constructed) : undefined
  const tree = isTagged(members[0], 2) ? readTree(members.shift(), Constructed) : undefined
  const [token, ...rest] = members
  if (token === undefined || !isSequence(token) || rest.length > 0) {
    throw malformed('the archive timestamp holds more than a hash tree and a timestamp, or less')
  }
  if (tree?.length === 0) throw malformed('its hash tree is empty')
  const record = { token: rawOf(token), reducedHashTree: tree ?? [] }
  // One value has one encoding in DER.
  if (Buffer.compare(encode(record.token, record.reducedHashTree, { listed, own }), der) !== 0) {
    throw malformed('it is not DER')
  }
  return record
}

function malformed(reason: string, cause?: unknown): EvidenceRecordError {
  const message = `not an evidence record that can be checked: ${reason}`
  return new EvidenceRecordError('evidence_record_malformed', message, { cause })
}

function parse(der: Uint8Array): BaseBlock {
  let parsed: ReturnType<typeof fromBER>
  try {
    parsed = fromBER(der)
  } catch (error) {
    throw malformed('it is not DER', error)
  }
  if (parsed.offset !== der.length) throw malformed('it is not DER, or something follows')
  return parsed.result
}

type Kind = typeof Sequence | typeof Constructed

/** Sequence is a subclass of Constructed. */
function isSequence(block: BaseBlock | undefined): block is Sequence {
  return block instanceof Sequence
}

function isTagged(block: BaseBlock | undefined, number: number): boolean {
  return (
    block instanceof Constructed &&
    block.idBlock.tagClass === 3 &&
    block.idBlock.tagNumber === number
  )
}

function membersOf(block: BaseBlock | undefined, kind: Kind, what: string): readonly BaseBlock[] {
  if (!(block instanceof kind)) throw malformed(`${what} is missing`)
  return block.valueBlock.value
}

function parametersOf(algorithm: BaseBlock | undefined, kind: Kind): Parameters {
  const [oid, parameters] = membersOf(algorithm, kind, 'a digest algorithm')
  if (!(oid instanceof ObjectIdentifier) || oid.getValue() !== SHA512) {
    throw malformed('its digest algorithm is not SHA-512')
  }
  return parameters === undefined ? 'absent' : 'null'
}

function readTree(block: BaseBlock | undefined, kind: Kind): ReducedHashTree {
  return membersOf(block, kind, 'the hash tree').map(readList)
}

function readList(block: BaseBlock): PartialHashTree {
  const hashes = membersOf(block, Sequence, 'a list of the hash tree').map((hash) => {
    const value = hash instanceof OctetString ? new Uint8Array(hash.getValue()) : undefined
    if (value?.length !== HASH_BYTES) throw malformed('a hash of its tree is not a SHA-512')
    return value
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

/** The bytes that a block was read from. */
function rawOf(block: BaseBlock): Uint8Array {
  return block.valueBeforeDecodeView
}
