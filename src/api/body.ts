/** Request bodies that are read whole. */
import type { IncomingMessage } from 'node:http'
import { hasLoneSurrogate, nestingDepth } from '../domain/json-text.js'
import { type BodyLimits, streamBody } from './body-stream.js'
import { malformed, unprocessable } from './problems.js'

/** Levels of arrays and objects. Clients' parsers go no deeper than about a thousand. */
const MAX_DEPTH = 500

/**
 * Reads the whole body.
 * @throws HttpProblem as `streamBody`
 */
export async function readBody(incoming: IncomingMessage, limits: BodyLimits): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of streamBody(incoming, limits)) chunks.push(chunk)
  return chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)
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
  return { text, value: parseJsonText(text) }
}

/**
 * @param counted what the positions in the text count, for the message
 * @throws HttpProblem 422 for what is not a JSON text that can be kept
 */
export function parseJsonText(text: string, counted = ''): unknown {
  if (nestingDepth(text) > MAX_DEPTH) {
    throw unprocessable(`body: the JSON is nested deeper than ${MAX_DEPTH} levels`)
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    // V8's message quotes a few characters of the text, which may be a secret's.
    const where = /position (\d+)/.exec(error instanceof Error ? error.message : '')?.[1]
    throw unprocessable(`body: not valid JSON${where ? ` at character ${where}${counted}` : ''}`)
  }
  if (hasLoneSurrogate(text)) {
    throw unprocessable('body: a string holds half of a surrogate pair, which is no character')
  }
  return value
}

function decodeUtf8(body: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body)
  } catch {
    throw unprocessable('body: not valid UTF-8')
  }
}
