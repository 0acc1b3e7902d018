/** Checks a timestamp of a secure hash, and tells people what was found. */
import type { Check } from '../../domain/hash-repository.js'
import type { SecureHash } from '../../domain/models.js'
import { EvidenceRecordError } from '../evidence-record/errors.js'
import { leafOf, rootOf, type Step, stepsFrom } from '../evidence-record/hash-tree.js'
import { decodeEvidenceRecord, type EvidenceRecord } from '../evidence-record/record.js'
import type { Anchors } from './anchors.js'
import { TimestampError, type TimestampStage } from './errors.js'
import { type VerifiedToken, verifyToken } from './token.js'

/** What there is to check; all of it in DER. */
export interface TimestampEvidence {
  /** TimeStampToken of the secure hash, or the one in the record, where it may be left out. */
  readonly token?: Uint8Array | undefined
  /** EvidenceRecord of the secure hash; null without one. */
  readonly record: Uint8Array | null
}

export interface TimestampFindings {
  /** In the order in which they were made. */
  readonly checks: readonly Check[]
  /** Undefined unless all checks have passed. */
  readonly verified:
    | {
        readonly timestamp: VerifiedToken
        readonly token: Uint8Array
        readonly steps: readonly Step[]
      }
    | undefined
}

const STAGES: readonly TimestampStage[] = ['format', 'imprint', 'signature', 'certificate']
const nameOf = (stage: TimestampStage): string => `timestamp_${stage}`
const RECORD_CHECKS = ['evidence_record', 'hash_tree'] as const
const PASSED = true

/** The names of all checks, in order. */
function namesOf(withRecord: boolean): string[] {
  return [...(withRecord ? RECORD_CHECKS : []), ...STAGES.map(nameOf)]
}

/** All checks when one does not pass: those before it have, those after it were not made. */
function stoppedAt(
  name: string,
  names: readonly string[],
  outcome: Pick<Check, 'passed' | 'detail'>,
  before: readonly Check[] = [],
): Check[] {
  const after = names.slice(names.indexOf(name) + 1).map((later) => ({
    name: later,
    passed: null,
    detail: `not checked, because ${name} has not passed`,
  }))
  return [...before, { name, ...outcome }, ...after]
}

/**
 * The checks of a link that there is nothing to check of.
 * @param record whether it is the link of a record
 */
export function withoutEvidence(
  record: boolean,
  passed: false | null,
  detail: string,
): readonly Check[] {
  const names = namesOf(record)
  return stoppedAt(names[0] ?? '', names, { passed, detail })
}

/**
 * Checks that the evidence is of exactly this secure hash, in this order: `evidence_record` and
 * `hash_tree` (RFC 4998; records only), then `timestamp_format`, `timestamp_imprint`,
 * `timestamp_signature` and `timestamp_certificate` (RFC 3161). After one that has not passed the
 * others are not made. No database, no network.
 *
 * A record proves the hash beside its own in the tree as well: RFC 4998 lists both, and both were
 * there at the time.
 */
export function checkTimestamp(
  evidence: TimestampEvidence,
  secureHash: SecureHash,
  anchors: Anchors,
): readonly Check[] {
  return examineTimestamp(evidence, secureHash, anchors).checks
}

/** The same, with what was found. */
export function examineTimestamp(
  { token, record }: TimestampEvidence,
  secureHash: SecureHash,
  anchors: Anchors,
): TimestampFindings {
  const leaf = leafOf(secureHash)
  if (record !== null) return examineRecord(record, token, leaf, anchors)
  if (token !== undefined) return examineToken(token, leaf, [], [], anchors)
  return { checks: withoutEvidence(false, false, 'there is no timestamp'), verified: undefined }
}

function examineRecord(
  der: Uint8Array,
  beside: Uint8Array | undefined,
  leaf: Uint8Array,
  anchors: Anchors,
): TimestampFindings {
  const refused = (name: string, detail: string, before: readonly Check[] = []) => ({
    checks: stoppedAt(name, namesOf(true), { passed: false, detail }, before),
    verified: undefined,
  })
  const [formName, treeName] = RECORD_CHECKS
  let record: EvidenceRecord
  try {
    record = decodeEvidenceRecord(der)
  } catch (error) {
    return refused(formName, messageOf(error))
  }
  if (beside !== undefined && Buffer.compare(beside, record.token) !== 0) {
    return refused(formName, 'it holds another timestamp than the one beside it')
  }
  const form: Check = {
    name: formName,
    passed: PASSED,
    detail: 'EvidenceRecord (RFC 4998) with one archive timestamp, SHA-512',
  }
  let steps: readonly Step[]
  try {
    steps = stepsFrom(leaf, record.reducedHashTree)
  } catch (error) {
    return refused(treeName, messageOf(error), [form])
  }
  const way = steps.length === 1 ? '1 step leads' : `${steps.length} steps lead`
  const tree: Check = {
    name: treeName,
    passed: PASSED,
    detail: `SHA-512 of the secure hash is a leaf, from which ${way} to the root`,
  }
  return examineToken(record.token, leaf, steps, [form, tree], anchors)
}

function examineToken(
  token: Uint8Array,
  leaf: Uint8Array,
  steps: readonly Step[],
  before: readonly Check[],
  anchors: Anchors,
): TimestampFindings {
  const imprintOf =
    before.length > 0 ? 'the root of the hash tree' : 'SHA-512 of the ASCII text of the secure hash'
  let timestamp: VerifiedToken
  try {
    timestamp = verifyToken(token, rootOf(leaf, steps), 'sha512', anchors)
  } catch (error) {
    if (!(error instanceof TimestampError) || error.stage === null) throw error
    const failed = STAGES.indexOf(error.stage)
    const passed = checksOf(imprintOf).slice(0, failed)
    const outcome = { passed: false, detail: error.message }
    return {
      checks: stoppedAt(nameOf(error.stage), namesOf(false), outcome, [...before, ...passed]),
      verified: undefined,
    }
  }
  return {
    checks: [...before, ...checksOf(imprintOf, timestamp)],
    verified: { timestamp, token, steps },
  }
}

/** The checks of a token that have passed. */
function checksOf(imprintOf: string, timestamp?: VerifiedToken): readonly Check[] {
  const [format, imprint, signature, certificate] = STAGES.map((stage) => ({
    name: nameOf(stage),
    passed: PASSED,
  }))
  if (!format || !imprint || !signature || !certificate) throw new Error('a stage is missing')
  const first = [
    { ...format, detail: 'TimeStampToken (RFC 3161)' },
    { ...imprint, detail: `it is for ${imprintOf}` },
  ]
  if (timestamp === undefined) {
    return [...first, { ...signature, detail: 'its signature is good' }]
  }
  const { time, signer, serial } = timestamp
  return [
    ...first,
    { ...signature, detail: signatureDetail(timestamp), time, signer, serial },
    { ...certificate, detail: certificateDetail(timestamp), signer },
  ]
}

function signatureDetail({ time, accuracyMs, signer }: VerifiedToken): string {
  const accuracy = accuracyMs === null ? '' : `, give or take ${accuracyMs / 1000} s`
  return `signed by ${signer} at ${time}${accuracy}`
}

function certificateDetail({ chain }: VerifiedToken): string {
  const signer = chain.at(0)
  const anchor = chain.at(-1)
  if (signer === undefined || anchor === undefined) return 'it leads to a trust anchor'
  const validity = `valid from ${signer.notBefore} to ${signer.notAfter}`
  const fingerprint = `(SHA-256 fingerprint ${anchor.fingerprint})`
  if (chain.length === 1) return `${validity}, a trust anchor itself ${fingerprint}`
  const leads = `leads to the trust anchor ${anchor.subject} ${fingerprint}`
  return `issued by ${signer.issuer}, ${validity}, ${leads}`
}

/** @throws the error itself unless it tells what is wrong with a record */
function messageOf(error: unknown): string {
  if (error instanceof EvidenceRecordError) return error.message
  throw error
}
