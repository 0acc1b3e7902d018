/** The parts of `multipart/form-data` (RFC 7578), one after the other. */
import { Readable, type Writable } from 'node:stream'
import { Dicer } from '@fastify/busboy'
import { parse as parseDisposition } from 'content-disposition'
import { type HttpProblem, unprocessable } from '../problems.js'

export interface Part {
  readonly name: string
  /** Undefined for a field, which is no file. */
  readonly fileName: string | undefined
  /** Media type without parameters, in lower case; undefined when the part has no Content-Type. */
  readonly mimeType: string | undefined
  readonly content: AsyncIterable<Buffer>
}

/** Longest Content-Disposition in bytes: file systems take names of 255. */
const MAX_DISPOSITION = 4096

/** Encodings that leave the content as it is. */
const PLAIN_ENCODINGS = new Set(['7bit', '8bit', 'binary'])

/**
 * Splits a form while it arrives. The content of a part must be read before the next one comes; a
 * consumer that ends early lets go of the body. The body is read to its end before the last
 * iteration ends.
 * @throws HttpProblem 422 for what is not a form, and whatever the body throws; the content that is
 *   being read throws the same
 */
export async function* partsOf(
  body: AsyncIterable<Buffer>,
  boundary: string,
): AsyncGenerator<Part> {
  const parts = new Readable({ objectMode: true, read: () => undefined })
  const dicer = new Dicer({ boundary })
  let current: Readable | undefined
  let failure: unknown
  const fail = (error: unknown): void => {
    failure ??= error
    // Ends the waiting, here and for the content that is being read.
    parts.destroy()
    current?.destroy()
  }
  const contentOf = async function* (content: Readable): AsyncGenerator<Buffer> {
    try {
      yield* content
    } catch (error) {
      throw failure ?? error
    }
  }
  let begun = 0
  dicer.on('part', (content) => {
    current = content
    begun++
    // The iteration tells errors; without a listener they would end the process.
    content.on('error', () => undefined)
    content.on('header', (headers: Headers) => {
      begun--
      try {
        parts.push({ ...parseHeaders(headers), content: contentOf(content) })
      } catch (error) {
        fail(error)
      }
    })
  })
  dicer.on('error', () => fail(malformed('it ends before its last boundary')))
  let finished = false
  dicer.on('finish', () => {
    finished = true
    if (begun === 0) parts.push(null)
    else fail(malformed('the headers of a part do not end'))
  })
  /** Writes the body to the parser, as fast as that takes it; what follows the form is only read. */
  const feed = async (): Promise<void> => {
    for await (const chunk of body) {
      if (dicer.destroyed) return
      if (!finished && !dicer.write(chunk)) await ready(dicer)
    }
    if (!finished) dicer.end()
  }
  const feeding = feed().catch(fail)
  try {
    yield* parts
    await feeding
  } catch (error) {
    throw failure ?? error
  } finally {
    dicer.destroy()
  }
  if (failure !== undefined) throw failure
}

/** Resolves when the parser takes more, or will take no more: it holds back while a part is full. */
function ready(parser: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      parser.off('drain', done).off('finish', done).off('close', done)
      resolve()
    }
    parser.on('drain', done).on('finish', done).on('close', done)
  })
}

/** By lower-case name, in Latin-1. */
type Headers = Readonly<Record<string, readonly string[]>>

function parseHeaders(headers: Headers): Omit<Part, 'content'> {
  const [disposition = ''] = headers['content-disposition'] ?? []
  if (disposition.length > MAX_DISPOSITION) {
    throw malformed(`a Content-Disposition is longer than ${MAX_DISPOSITION} bytes`)
  }
  const { type, parameters } = parseDisposition(utf8(disposition), { multipart: true })
  const { name, filename } = parameters
  if (type !== 'form-data' || name === undefined) {
    throw malformed('each part needs Content-Disposition: form-data; name="..."')
  }
  const [encoding = 'binary'] = headers['content-transfer-encoding'] ?? []
  if (!PLAIN_ENCODINGS.has(encoding.trim().toLowerCase())) {
    throw malformed('a part has a Content-Transfer-Encoding: send it as it is')
  }
  const [contentType = ''] = headers['content-type'] ?? []
  const mimeType = utf8(contentType).split(';', 1)[0]?.trim().toLowerCase() || undefined
  // RFC 7578, section 4.2: bytes are a file, even when their name is not told.
  const nameless = mimeType === 'application/octet-stream' ? '' : undefined
  return { name: flat(name), fileName: flat(filename ?? nameless), mimeType: flat(mimeType) }
}

/** The same text in memory of its own size: it may be made of a piece for each character. */
function flat<T extends string | undefined>(text: T): T | string {
  return text === undefined ? text : Buffer.from(text).toString()
}

/** What clients send in UTF-8, the parser gives as Latin-1. */
function utf8(latin1: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(latin1, 'latin1'))
  } catch {
    throw malformed('the headers of a part are not UTF-8')
  }
}

function malformed(why: string): HttpProblem {
  return unprocessable(`body: not a valid multipart form: ${why} (RFC 7578)`)
}
