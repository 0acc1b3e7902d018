/**
 * What is wrong with an evidence record: its form, or that its hash tree does not hold the hash.
 * Whether its timestamp is good is another matter.
 */
export class EvidenceRecordError extends Error {
  readonly code: 'evidence_record_malformed' | 'hash_not_in_tree'

  constructor(code: EvidenceRecordError['code'], message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'EvidenceRecordError'
    this.code = code
  }
}
