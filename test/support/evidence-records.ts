/** Evidence records in memory, for tests of what uses them. */
import { randomUUID } from 'node:crypto'
import type { EvidenceRecords, StoredRecord } from '../../src/domain/evidence-records.js'
import type { Uuid } from '../../src/domain/models.js'

export interface MemoryEvidenceRecords extends EvidenceRecords {
  readonly records: Map<Uuid, StoredRecord>
}

export function memoryEvidenceRecords(): MemoryEvidenceRecords {
  const records = new Map<Uuid, StoredRecord>()
  return {
    records,
    save: async (token, reducedHashTrees) =>
      reducedHashTrees.map((reducedHashTree) => {
        const id = randomUUID()
        records.set(id, { token: token.slice(), reducedHashTree: reducedHashTree.slice() })
        return id
      }),
    find: async (id) => records.get(id),
  }
}
