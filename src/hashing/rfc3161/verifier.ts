import type { EvidenceRecords } from '../../domain/evidence-records.js'
import type { Check, HashVerifier, TimestampProof } from '../../domain/hash-repository.js'
import type { SecureHash } from '../../domain/models.js'
import { EvidenceRecordError } from '../evidence-record/errors.js'
import { encodeEvidenceRecord } from '../evidence-record/record.js'
import type { Anchors } from './anchors.js'
import {
  checkTimestamp,
  examineTimestamp,
  type TimestampEvidence,
  withoutEvidence,
} from './check.js'
import { parseTimestampLink } from './links.js'

export interface TimestampVerifier extends HashVerifier {
  /**
   * @returns undefined when the link does not lead to a timestamp that verifies for this hash;
   *   `verify` tells why
   * @throws BytesError `database_unavailable`
   */
  proof(link: string, secureHash: SecureHash): Promise<TimestampProof | undefined>
}

export interface TimestampVerifierOptions {
  readonly anchors: Anchors
  /** Undefined where there are none to look up: records can then not be verified by their links. */
  readonly records: Pick<EvidenceRecords, 'find'> | undefined
}

/**
 * Verifies timestamps (RFC 3161) and evidence records (RFC 4998) by their links. Its methods throw
 * BytesError `database_unavailable` when records cannot be read.
 */
export function createTimestampVerifier({
  anchors,
  records,
}: TimestampVerifierOptions): TimestampVerifier {
  /** What a link leads to, or the checks that say why there is nothing. */
  async function follow(link: string): Promise<TimestampEvidence | readonly Check[]> {
    const parsed = parseTimestampLink(link)
    if (parsed === undefined) return withoutEvidence(false, false, 'the link is not a timestamp')
    if (parsed.kind === 'token') return { token: parsed.token, record: null }
    if (records === undefined) {
      return withoutEvidence(true, null, 'evidence records cannot be looked up here')
    }
    const stored = await records.find(parsed.id)
    if (stored === undefined) return withoutEvidence(true, false, 'no such evidence record')
    try {
      return { token: stored.token, record: encodeEvidenceRecord(stored) }
    } catch (error) {
      if (!(error instanceof EvidenceRecordError)) throw error
      return withoutEvidence(true, false, error.message)
    }
  }

  return {
    thirdParty: true,
    recognizes: (link) => parseTimestampLink(link) !== undefined,

    async verify(link, secureHash) {
      const found = await follow(link)
      return isChecks(found) ? found : checkTimestamp(found, secureHash, anchors)
    },

    async proof(link, secureHash) {
      const found = await follow(link)
      if (isChecks(found)) return undefined
      const { verified } = examineTimestamp(found, secureHash, anchors)
      if (verified === undefined) return undefined
      const { timestamp, token, steps } = verified
      return {
        time: timestamp.time,
        token,
        record: found.record,
        steps,
        certificates: timestamp.certificates,
        anchors: anchors.pem,
      }
    },
  }
}

function isChecks(found: TimestampEvidence | readonly Check[]): found is readonly Check[] {
  return Array.isArray(found)
}
