/** Integrity of request bodies: RFC 9530. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { parseDictionary } from 'structured-headers'
import { detail, type HttpProblem } from './problems.js'

/** Fields that may tell the digest of a body. Without a content coding both mean the same bytes. */
const FIELDS = ['content-digest', 'repr-digest'] as const
const ALGORITHMS: ReadonlyMap<string, string> = new Map([
  ['sha-256', 'sha256'],
  ['sha-512', 'sha512'],
])
const LENGTHS: Readonly<Record<string, number>> = { sha256: 32, sha512: 64 }
/** RFC 9530, section 4: the higher, the more it is wanted. */
const WANTED = 'sha-512=10, sha-256=5'

/** What a client says of its body. */
export interface ExpectedDigest {
  /** As in the header, for messages. */
  readonly field: string
  /** As `createHash` names it. */
  readonly algorithm: string
  readonly digest: Buffer
}

/**
 * The digests that the headers of a request promise; algorithms that are not known are passed over.
 * @throws HttpProblem 400 for a field that cannot be parsed, or has no algorithm that can be checked
 */
export function expectedDigests(headers: IncomingHttpHeaders): ExpectedDigest[] {
  return FIELDS.flatMap((field) => {
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
    return [{ field, algorithm, digest: Buffer.from(bytes) }]
  })
}

/**
 * Passes a body on and checks it when it has ended.
 * @throws HttpProblem 400 after the last piece when a digest is not that of the body
 */
export async function* checkedBody(
  body: AsyncIterable<Buffer>,
  expected: readonly ExpectedDigest[],
): AsyncGenerator<Buffer> {
  const hashes = expected.map(({ algorithm }) => createHash(algorithm))
  for await (const piece of body) {
    for (const hash of hashes) hash.update(piece)
    yield piece
  }
  for (const [i, { field, algorithm, digest }] of expected.entries()) {
    const found = hashes[i]?.digest()
    if (found && timingSafeEqual(found, digest)) continue
    throw refusal(
      `${field}: the ${algorithm} digest of the body that arrived is another one: send it again`,
    )
  }
}

function refusal(text: string): HttpProblem {
  return detail(400, text, { 'want-content-digest': WANTED })
}
