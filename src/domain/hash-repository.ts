import type { Instant } from './instant.js'
import type { SecureHash } from './models.js'

/** One thing that a verification looked at. */
export interface Check {
  /** In snake case, such as `timestamp_signature`. */
  readonly name: string
  /** Null when it could not be checked, or was not because another check failed before it. */
  readonly passed: boolean | null
  /** What was found, or what is wrong, for people. */
  readonly detail: string
  /** The time that is proved. */
  readonly time?: Instant
  /** Distinguished name of whoever signed. */
  readonly signer?: string
  /** Serial number of the timestamp, in hex. */
  readonly serial?: string
}

/** Checks what hash repositories of one kind have given. */
export interface HashVerifier {
  /** Whether the word of this repository is that of a third party, and not our own. */
  readonly thirdParty: boolean
  /** Whether `link` has the form of the links of this kind. */
  recognizes(link: string): boolean
  /**
   * Checks that `link` was given for exactly this hash. What is wrong is a check that has not
   * passed, and no error.
   * @returns at least one check; the link is verified when all have passed
   */
  verify(link: string, secureHash: SecureHash): Promise<readonly Check[]>
}

/** The third party that a secure hash is given to. */
export interface HashRepository extends HashVerifier {
  /** Address of the third party, or null when there is none. */
  readonly signingProviderUrl: string | null
  /**
   * Gives the hash away; resolves to the retrieval link.
   * @param signal gives up; then, and when it fails, it is not known whether the hash was given away
   * @throws BytesError `hash_repository_failed`
   */
  store(secureHash: SecureHash, signal?: AbortSignal): Promise<string>
  /**
   * Gives different hashes away at once, at the price of one. Left out where each has its price.
   * @throws BytesError `hash_repository_failed`
   */
  readonly storeBatch?: (
    secureHashes: readonly SecureHash[],
    signal?: AbortSignal,
  ) => Promise<KeepLinks>
}

/**
 * Keeps here what a third party has given; it has had its price, and may be kept again when that
 * has failed.
 * @returns the retrieval links, in the order of the hashes
 * @throws BytesError `database_unavailable` and the like
 */
export type KeepLinks = () => Promise<readonly string[]>

/** What an outsider needs to check a timestamp (RFC 3161) of a secure hash. */
export interface TimestampProof {
  /** Time of the timestamp. */
  readonly time: Instant
  /** TimeStampToken in DER. */
  readonly token: Uint8Array
  /** EvidenceRecord (RFC 4998) in DER; null when the token is that of the hash itself. */
  readonly record: Uint8Array | null
  /**
   * The way from the hash to what the token is for. Each step joins hashes in the given order, null
   * standing for the one of the step before, and the SHA-512 of that is the next one. The first
   * null is the SHA-512 of the secure hash's ASCII text. Empty without a record.
   */
  readonly steps: readonly (readonly (Uint8Array | null)[])[]
  /** The certificates in the token, PEM. */
  readonly certificates: string
  /** The trust anchors that it is verified with here, PEM. */
  readonly anchors: string
}
