/** Reading request bodies, from Node's own stream: one copy less than through a web stream. */
import type { IncomingMessage } from 'node:http'
import { hasLoneSurrogate, nestingDepth } from '../domain/json-text.js'
import type { Share } from './body-budget.js'
import { detail, HttpProblem, malformed, unprocessable } from './problems.js'

/** Levels of arrays and objects. Clients' parsers go no deeper than about a thousand. */
const MAX_DEPTH = 500

export interface BodyLimit {
  /** Most bytes. */
  readonly bytes: number
  /** What sets the limit, for the message. */
  readonly setBy: string
}

/**
 * Reads the whole body.
 * @param share grows with the body; to be released by the caller when the body is done with
 * @throws HttpProblem 413, 415 for a body that is compressed, 400 when the client goes away, or 503
 *   when the share cannot grow
 */
export async function readBody(
  incoming: IncomingMessage,
  limit: BodyLimit,
  share?: Share,
): Promise<Buffer> {
  const encoding = incoming.headers['content-encoding'] ?? 'identity'
  if (encoding.toLowerCase() !== 'identity') {
    throw detail(415, `Content-Encoding ${encoding} is not supported: send the body as it is`, {
      'accept-encoding': 'identity',
    })
  }
  const declared = Number(incoming.headers['content-length'] ?? 0)
  if (declared > limit.bytes) throw tooLarge(limit)
  share?.grow(declared)
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of incoming.iterator({ destroyOnReturn: false })) {
      size += chunk.length
      if (size > limit.bytes) throw tooLarge(limit)
      share?.grow(size)
      chunks.push(chunk)
    }
  } catch (error) {
    if (error instanceof HttpProblem || incoming.complete) throw error
    // Nobody is left to read it; it keeps clients that go away out of the log of errors.
    throw detail(400, 'The connection ended before the body did')
  }
  return chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks, size)
}

function tooLarge({ bytes, setBy }: BodyLimit) {
  // The rest of the body is not read, so the connection cannot be used again.
  return detail(413, `The body is longer than the ${bytes} bytes that ${setBy} allows`, {
    connection: 'close',
  })
}

/** True for JSON's media types, and for none: existing clients send their JSON without one. */
export function isJson(contentType: string | undefined): boolean {
  if (contentType === undefined) return true
  return /^\s*application\/(json|[^;\s]+\+json)\s*(;|$)/i.test(contentType)
}

export interface JsonBody {
  /** The text as it was sent, where numbers have all their digits. */
  readonly text: string
  readonly value: unknown
}

/** @throws HttpProblem 422 for what is not a JSON text in UTF-8 that can be kept */
export function parseJson(body: Buffer, contentType: string | undefined): JsonBody {
  if (body.length === 0) {
    throw malformed([{ loc: ['body'], msg: 'Field required', type: 'missing' }])
  }
  if (!isJson(contentType)) {
    throw malformed([
      {
        loc: ['body'],
        msg: `${contentType} is not accepted here: send application/json`,
        type: 'json',
      },
    ])
  }
  const text = decodeUtf8(body)
  if (nestingDepth(text) > MAX_DEPTH) {
    throw unprocessable(`body: the JSON is nested deeper than ${MAX_DEPTH} levels`)
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    // V8's message quotes a few characters of the text, which may be a secret's.
    const where = /position (\d+)/.exec(error instanceof Error ? error.message : '')?.[1]
    throw unprocessable(`body: not valid JSON${where ? ` at character ${where}` : ''}`)
  }
  if (hasLoneSurrogate(text)) {
    throw unprocessable('body: a string holds half of a surrogate pair, which is no character')
  }
  return { text, value }
}

function decodeUtf8(body: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body)
  } catch {
    throw unprocessable('body: not valid UTF-8')
  }
}
