/** Integrity of request bodies: RFC 9530. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { parseDictionary } from 'structured-headers'
import { detail, type HttpProblem } from './problems.js'

/** Fields that tell the digest of a body. Without a content coding both mean the same bytes. */
const FIELDS: readonly DigestField[] = ['content-digest', 'repr-digest']
type DigestField = 'content-digest' | 'repr-digest'
const ALGORITHMS: ReadonlyMap<string, string> = new Map([
  ['sha-256', 'sha256'],
  ['sha-512', 'sha512'],
])
const LENGTHS: Readonly<Record<string, number>> = { sha256: 32, sha512: 64 }
/** RFC 9530, section 4: the higher, the more it is wanted. */
const WANTED = 'sha-512=10, sha-256=5'

/** What a client says of its bytes. */
export interface ExpectedDigest {
  /** As `createHash` names it. */
  readonly algorithm: string
  readonly digest: Buffer
  /** What to throw when the bytes have another one. */
  readonly mismatch: () => HttpProblem
}

/**
 * The digests that the headers of a request promise; algorithms that are not known are passed over.
 * @param fields those that tell of the bytes in question
 * @throws HttpProblem 400 for a field that cannot be parsed, or has no algorithm that can be checked
 */
export function expectedDigests(
  headers: IncomingHttpHeaders,
  fields: readonly DigestField[] = FIELDS,
): ExpectedDigest[] {
  return fields.flatMap((field) => {
    const value = headers[field]
    if (value === undefined) return []
    const found = parseField(field, String(value))
    if (found.length > 0) return found
    throw refusal(`${field} has no digest that can be checked: send sha-256 or sha-512`)
  })
}

function parseField(field: string, value: string): ExpectedDigest[] {
  const malformed = refusal(
    `${field} cannot be parsed: send it as in sha-256=:<base64 of the digest>: (RFC 9530)`,
  )
  let members: ReturnType<typeof parseDictionary>
  try {
    members = parseDictionary(value)
  } catch {
    throw malformed
  }
  return [...members].flatMap(([name, [bytes]]) => {
    const algorithm = ALGORITHMS.get(name)
    if (algorithm === undefined) return []
    if (!(bytes instanceof ArrayBuffer) || bytes.byteLength !== LENGTHS[algorithm]) throw malformed
    const mismatch = () =>
      refusal(
        `${field}: the ${algorithm} digest of the body that arrived is another one: send it again`,
      )
    return [{ algorithm, digest: Buffer.from(bytes), mismatch }]
  })
}

/** Bytes that are hashed while they are read. */
export interface HashedPieces<Piece> {
  readonly pieces: AsyncIterable<Piece>
  /** Call after the last piece. @throws HttpProblem the `mismatch` of a digest that is not theirs */
  readonly confirm: () => void
}

export function hashed<Piece extends Uint8Array>(
  pieces: AsyncIterable<Piece>,
  expected: readonly ExpectedDigest[],
): HashedPieces<Piece> {
  const hashes = expected.map((one) => ({ ...one, hash: createHash(one.algorithm) }))
  return {
    pieces: observed(pieces, (piece) => {
      for (const { hash } of hashes) hash.update(piece)
    }),
    confirm: () => {
      for (const { hash, digest, mismatch } of hashes) {
        if (!timingSafeEqual(hash.digest(), digest)) throw mismatch()
      }
    },
  }
}

async function* observed<Piece>(
  pieces: AsyncIterable<Piece>,
  observe: (piece: Piece) => void,
): AsyncGenerator<Piece> {
  for await (const piece of pieces) {
    observe(piece)
    yield piece
  }
}

/**
 * Passes a body on and checks it when it has ended.
 * @throws HttpProblem 400 after the last piece when a digest is not that of the body
 */
export async function* checkedBody<Piece extends Uint8Array>(
  body: AsyncIterable<Piece>,
  expected: readonly ExpectedDigest[],
): AsyncGenerator<Piece> {
  const { pieces, confirm } = hashed(body, expected)
  yield* pieces
  confirm()
}

function refusal(text: string): HttpProblem {
  return detail(400, text, { 'want-content-digest': WANTED })
}
