import type { TimestampProof } from '../domain/hash-repository.js'
import type { SecureHash } from '../domain/models.js'
import type { VerifyPorts } from './verify.js'

export interface EvidencePorts extends VerifyPorts {
  /** The proof behind a retrieval link; undefined when it is no timestamp, or none that verifies. */
  readonly proof: (link: string, secureHash: SecureHash) => Promise<TimestampProof | undefined>
}
