import { setImmediate } from 'node:timers/promises'
import { BytesError } from '../../domain/errors.js'
import type { EvidenceRecords } from '../../domain/evidence-records.js'
import type { HashRepository, HashVerifier } from '../../domain/hash-repository.js'
import { buildHashTree, leafOf } from '../evidence-record/hash-tree.js'
import { encodeReducedHashTree } from '../evidence-record/record.js'
import type { TimestampAuthority } from './authority.js'
import { TimestampError } from './errors.js'
import { recordLink, tokenLink } from './links.js'

/** Trees of large batches are made in pieces: uploads go on in between. */
const LEAVES_PER_TURN = 500

export interface TimestampRepositoryOptions {
  readonly authority: TimestampAuthority
  readonly verifier: HashVerifier
  readonly records: Pick<EvidenceRecords, 'save'>
}

/**
 * Gives secure hashes to one timestamp authority (RFC 3161): the imprint is the SHA-512 of the ASCII
 * text of one, or the root of the hash tree (RFC 4998) over those of several.
 *
 * The `cause` of `hash_repository_failed` is the TimestampError.
 */
export function createTimestampRepository({
  authority,
  verifier,
  records,
}: TimestampRepositoryOptions): HashRepository {
  /** The authority has verified what it gives. */
  async function stamp(imprint: Uint8Array, signal: AbortSignal | undefined): Promise<Uint8Array> {
    try {
      return await authority.stamp(imprint, signal)
    } catch (error) {
      if (!(error instanceof TimestampError)) throw error
      throw new BytesError('hash_repository_failed', error.message, { cause: error })
    }
  }

  return {
    thirdParty: verifier.thirdParty,
    recognizes: (link) => verifier.recognizes(link),
    verify: (link, secureHash) => verifier.verify(link, secureHash),
    signingProviderUrl: authority.url,

    store: async (secureHash, signal) => tokenLink(await stamp(leafOf(secureHash), signal)),

    async storeBatch(secureHashes, signal) {
      // Equal ones share a leaf, and so a record.
      const hashes = [...new Set(secureHashes)]
      if (hashes.length === 0) return async () => []
      const tree = buildHashTree(hashes.map(leafOf))
      const token = await stamp(tree.root, signal)
      if (hashes.length === 1) return async () => secureHashes.map(() => tokenLink(token))
      return async () => {
        const trees: Uint8Array[] = []
        for (const leaf of hashes.keys()) {
          if (leaf % LEAVES_PER_TURN === LEAVES_PER_TURN - 1) await setImmediate()
          trees.push(encodeReducedHashTree(tree.reduced(leaf)))
        }
        const ids = await records.save(token, trees)
        const links = new Map(ids.map((id, at) => [hashes[at], recordLink(id)]))
        return secureHashes.map((hash) => {
          const link = links.get(hash)
          if (link === undefined) throw new Error('an evidence record was not saved')
          return link
        })
      }
    },
  }
}
