/** What there is of the timestamp of a raw file: a proof, or the files that one is made of. */
import { BytesError } from '../domain/errors.js'
import type { EvidenceRecords, StoredRecord } from '../domain/evidence-records.js'
import type { TimestampProof } from '../domain/hash-repository.js'
import type { SecureHash, StoredRawFile, Uuid } from '../domain/models.js'
import { EvidenceRecordError } from '../hashing/evidence-record/errors.js'
import { encodeEvidenceRecord } from '../hashing/evidence-record/record.js'
import { parseTimestampLink } from '../hashing/rfc3161/links.js'
import { checkLink, noSecureHash, type VerifyPorts } from './verify.js'

export interface ProofPorts extends VerifyPorts {
  /** The proof behind a retrieval link; undefined when it is no timestamp, or none that verifies. */
  readonly proof: (link: string, secureHash: SecureHash) => Promise<TimestampProof | undefined>
  readonly records: Pick<EvidenceRecords, 'find'>
}

/** That nothing is proved by a timestamp. */
export interface NoProof {
  /** Why, in words that complete a sentence. */
  readonly reason: string
  /** Where a third party shows the secure hash. */
  readonly publishedAt: string | undefined
  /** A timestamp that does not verify. */
  readonly files: TimestampFiles | undefined
}

/** A timestamp of which nothing has been checked. */
export interface TimestampFiles {
  /** TimeStampToken in DER. */
  readonly token: Uint8Array
  /** EvidenceRecord in DER; null when the token is of the raw file alone, or the record is damaged. */
  readonly record: Uint8Array | null
}

/** The timestamp of a raw file, or why there is none. @throws BytesError `database_unavailable` */
export async function proofOf(
  ports: ProofPorts,
  file: StoredRawFile,
): Promise<TimestampProof | NoProof> {
  const { secureHash, hashRetrievalLink: link } = file.rawFile
  if (link !== null && secureHash !== null) {
    const proof = await ports.proof(link, secureHash)
    if (proof !== undefined) return proof
  }
  const files = link === null ? undefined : await filesOf(ports, link)
  return { ...(await whyNot(ports, file, files !== undefined)), files }
}

async function whyNot(
  ports: ProofPorts,
  file: StoredRawFile,
  isTimestamp: boolean,
): Promise<Omit<NoProof, 'files'>> {
  const { id, secureHash, hashRetrievalLink: link } = file.rawFile
  const none = (reason: string, publishedAt?: string) => ({ reason, publishedAt })
  if (secureHash === null) return none(noSecureHash(null))
  if (link === null) {
    if (await ports.pending.isPending(id)) {
      return none('the secure hash still waits for its timestamp: ask again later')
    }
    const now = await ports.meta.findRawFile(id)
    return now === undefined || now.rawFile.hashRetrievalLink === null
      ? none('the secure hash was given to no third party')
      : none('the timestamp has come this very moment: ask again')
  }
  const { checks, thirdParty } = await checkLink(ports, file)
  const wrong = checks.find(({ passed }) => passed !== true)?.detail ?? 'it does not verify'
  if (isTimestamp) return none(`the timestamp cannot be relied on: ${wrong}`)
  if (!thirdParty) return none('the secure hash was given to no third party')
  return URL.canParse(link) ? none('the secure hash was published instead', link) : none(wrong)
}

async function filesOf(ports: ProofPorts, link: string): Promise<TimestampFiles | undefined> {
  const parsed = parseTimestampLink(link)
  if (parsed === undefined) return undefined
  if (parsed.kind === 'token') return { token: parsed.token, record: null }
  const stored = await ports.records.find(parsed.id)
  if (stored === undefined) return undefined
  const record = encoded(stored)
  return { token: stored.token, record: record instanceof EvidenceRecordError ? null : record }
}

/** In DER, or what is wrong with what the database has of it. */
function encoded(stored: StoredRecord): Uint8Array | EvidenceRecordError {
  try {
    return encodeEvidenceRecord(stored)
  } catch (error) {
    if (error instanceof EvidenceRecordError) return error
    throw error
  }
}

/**
 * The timestamp of a raw file as it was given, whether it verifies or not.
 * @throws BytesError `proof_not_found`, `database_unavailable`
 */
export async function findTimestamp(
  ports: ProofPorts,
  file: StoredRawFile,
): Promise<TimestampFiles> {
  const link = file.rawFile.hashRetrievalLink
  const files = link === null ? undefined : await filesOf(ports, link)
  if (files !== undefined) return files
  const { reason, publishedAt } = await whyNot(ports, file, false)
  const where = publishedAt === undefined ? '' : ` at ${publishedAt}`
  throw new BytesError('proof_not_found', `There is no timestamp: ${reason}${where}`)
}

/**
 * The evidence record (RFC 4998) of a raw file, in DER.
 * @throws BytesError `proof_not_found`, `database_unavailable`
 */
export async function findRecordOf(ports: ProofPorts, file: StoredRawFile): Promise<Uint8Array> {
  const { record } = await findTimestamp(ports, file)
  if (record !== null) return record
  const link = parseTimestampLink(file.rawFile.hashRetrievalLink ?? '')
  if (link?.kind === 'record') return findRecord(ports.records, link.id)
  throw new BytesError(
    'proof_not_found',
    'There is no evidence record: the raw file has a timestamp of its own',
  )
}

/** An evidence record in DER. @throws BytesError `proof_not_found`, `database_unavailable` */
export async function findRecord(
  records: Pick<EvidenceRecords, 'find'>,
  id: Uuid,
): Promise<Uint8Array> {
  const found = await records.find(id)
  if (found === undefined) {
    throw new BytesError('proof_not_found', 'There is no such evidence record')
  }
  const record = encoded(found)
  if (!(record instanceof EvidenceRecordError)) return record
  throw new BytesError(
    'proof_not_found',
    `The evidence record is damaged in the database: ${record.message}`,
    { cause: record },
  )
}
