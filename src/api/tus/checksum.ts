import { decodeBase64 } from '../../domain/base64.js'
import type { ExpectedDigest } from '../body-digest.js'
import { detail } from '../problems.js'

/** Digest length in bytes of each algorithm that `Upload-Checksum` may name. */
const LENGTHS = { sha1: 20, sha256: 32, sha512: 64 } as const
type Algorithm = keyof typeof LENGTHS

/** For the header `Tus-Checksum-Algorithm`. */
export const CHECKSUM_ALGORITHMS = Object.keys(LENGTHS).join(',')

const isAlgorithm = (name: string): name is Algorithm => Object.hasOwn(LENGTHS, name)

/**
 * Parses `Upload-Checksum`: algorithm, space, digest in base64 (tus 1.0, extension checksum).
 * @returns what the chunk must hash to: 460 when it does not
 * @throws HttpProblem 400
 */
export function parseChecksum(header: string): ExpectedDigest {
  const [algorithm = '', encoded = '', ...surplus] = header.split(' ')
  if (!isAlgorithm(algorithm)) {
    throw detail(400, `Upload-Checksum: give one of the algorithms ${CHECKSUM_ALGORITHMS}`)
  }
  const digest = decodeBase64(encoded)
  if (surplus.length > 0 || digest?.length !== LENGTHS[algorithm]) {
    const form = `${algorithm} <${LENGTHS[algorithm]} bytes in base64>`
    throw detail(400, `Upload-Checksum: give the digest as "${form}"`)
  }
  const mismatch = () =>
    detail(460, `The chunk does not have this ${algorithm} checksum: send it again`)
  return { algorithm, digest, mismatch }
}
