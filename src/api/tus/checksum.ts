import { createHash, timingSafeEqual } from 'node:crypto'
import { decodeBase64 } from '../../domain/base64.js'
import { detail } from '../problems.js'

/** Digest length in bytes of each algorithm that `Upload-Checksum` may name. */
const LENGTHS = { sha1: 20, sha256: 32, sha512: 64 } as const
type Algorithm = keyof typeof LENGTHS

/** For the header `Tus-Checksum-Algorithm`. */
export const CHECKSUM_ALGORITHMS = Object.keys(LENGTHS).join(',')

/** What a chunk must hash to. */
export interface Checksum {
  readonly algorithm: Algorithm
  readonly digest: Buffer
}

const isAlgorithm = (name: string): name is Algorithm => Object.hasOwn(LENGTHS, name)

/**
 * Parses `Upload-Checksum`: algorithm, space, digest in base64 (tus 1.0, extension checksum).
 * @throws HttpProblem 400
 */
export function parseChecksum(header: string): Checksum {
  const [algorithm = '', encoded = '', ...surplus] = header.split(' ')
  if (!isAlgorithm(algorithm)) {
    throw detail(400, `Upload-Checksum: give one of the algorithms ${CHECKSUM_ALGORITHMS}`)
  }
  const digest = decodeBase64(encoded)
  if (surplus.length > 0 || digest?.length !== LENGTHS[algorithm]) {
    const form = `${algorithm} <${LENGTHS[algorithm]} bytes in base64>`
    throw detail(400, `Upload-Checksum: give the digest as "${form}"`)
  }
  return { algorithm, digest }
}

/** A chunk that is hashed while it is read, and what tells whether it was right. */
export interface CheckedChunk {
  readonly pieces: AsyncIterable<Uint8Array>
  /** Call after the last piece. @throws HttpProblem 460 unless the digest is the expected one */
  readonly confirm: () => void
}

export function checked(
  chunk: AsyncIterable<Uint8Array>,
  { algorithm, digest }: Checksum,
): CheckedChunk {
  const hash = createHash(algorithm)
  return {
    pieces: hashed(chunk, (piece) => hash.update(piece)),
    confirm: () => {
      if (timingSafeEqual(hash.digest(), digest)) return
      throw detail(460, `The chunk does not have this ${algorithm} checksum: send it again`)
    },
  }
}

async function* hashed(
  chunk: AsyncIterable<Uint8Array>,
  update: (piece: Uint8Array) => void,
): AsyncGenerator<Uint8Array> {
  for await (const piece of chunk) {
    update(piece)
    yield piece
  }
}
