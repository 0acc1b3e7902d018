import type { Uuid } from './models.js'

/** The parts of an EvidenceRecord (RFC 4998) that differ from record to record, in DER. */
export interface StoredRecord {
  /** The TimeStampToken, which the records of a batch share. */
  readonly token: Uint8Array
  /** The reducedHashtree: SEQUENCE OF PartialHashtree. */
  readonly reducedHashTree: Uint8Array
}

/** Keeps evidence records. */
export interface EvidenceRecords {
  /**
   * Saves the records of one token. They are committed when this resolves.
   * @returns their ids, in order
   * @throws BytesError `database_unavailable`
   */
  save(token: Uint8Array, reducedHashTrees: readonly Uint8Array[]): Promise<readonly Uuid[]>
  /** @throws BytesError `database_unavailable` */
  find(id: Uuid): Promise<StoredRecord | undefined>
}
