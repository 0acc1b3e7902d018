import { decodeBase64 } from '../../domain/base64.js'
import type { Hold } from '../../flows/ingest.js'
import type { HeldContent } from '../../flows/staging.js'
import type { ReceivedFile } from '../../flows/tagged.js'
import { parseJson, parseJsonText } from '../body.js'
import { type HttpProblem, malformed, unprocessable } from '../problems.js'
import * as schemas from '../schemas.js'
import { validate } from '../validate.js'
import { JsonScanner, type ScanEvent } from './json-scanner.js'
import { type BodyUpload, refuseTooMany } from './received.js'
import { ScanError } from './scan-error.js'

/** Bodies up to this size are parsed in one piece, which is faster. */
const WHOLE_BYTES = 256 * 1024
/** Longest rest of a body without its contents: names, tags and the like. */
const MAX_SKELETON_BYTES = 8 * 1024 * 1024

/**
 * The protocol's JSON body: files with their content in base64. A long one is parsed while it
 * arrives, with what its contents stand for cut out, so that they never are in memory whole.
 * @throws HttpProblem 422, from here for a short body and from `receive` for a long one
 */
export async function jsonUpload(
  body: AsyncGenerator<Buffer>,
  contentType: string | undefined,
  maxFiles: number,
): Promise<BodyUpload> {
  const { pieces, ended } = await readFirst(body)
  if (!ended) {
    return {
      buffered: false,
      receive: (hold) => receiveLong(rejoin(pieces, body), hold, contentType, maxFiles),
    }
  }
  const { value } = parseJson(Buffer.concat(pieces), contentType)
  const files = validated(value, contentType, maxFiles)
  const decoded = files.map(({ content, ...file }, position) => {
    const bytes = decodeBase64(content)
    if (!bytes) throw notBase64(position)
    return { ...file, bytes }
  })
  return {
    buffered: true,
    receive: async (hold) => {
      const received: ReceivedFile[] = []
      for (const { bytes, ...file } of decoded) {
        received.push({ ...file, content: await hold([bytes]) })
      }
      return received
    },
  }
}

async function readFirst(
  body: AsyncGenerator<Buffer>,
): Promise<{ pieces: Buffer[]; ended: boolean }> {
  const pieces: Buffer[] = []
  let size = 0
  while (size <= WHOLE_BYTES) {
    const { done, value } = await body.next()
    if (done) return { pieces, ended: true }
    pieces.push(value)
    size += value.length
  }
  return { pieces, ended: false }
}

async function* rejoin(first: Buffer[], rest: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  for (let piece = first.shift(); piece; piece = first.shift()) yield piece
  yield* rest
}

interface ParsedFile {
  readonly name: string
  readonly fileName: string
  readonly tags: readonly string[]
  readonly content: string
}

/** Plain JSON, or no type at all, may leave its files out; another type is perhaps no upload. */
const PLAIN = /^\s*application\/json\s*(;|$)/i

function validated(
  value: unknown,
  contentType: string | undefined,
  maxFiles: number,
): ParsedFile[] {
  const plain = contentType === undefined || PLAIN.test(contentType)
  const hasFiles = typeof value === 'object' && value !== null && Object.hasOwn(value, 'files')
  if (!plain && !hasFiles) {
    const msg = 'Field required: to store the body itself, give a name or tag in the query'
    throw malformed([{ loc: ['body', 'files'], msg, type: 'missing' }])
  }
  const sent: unknown = hasFiles ? Reflect.get(value, 'files') : undefined
  // Before each of them is looked at.
  if (Array.isArray(sent)) refuseTooMany(sent.length, maxFiles)
  const { files } = validate(schemas.rawUpload, value, 'body')
  return files.map((file) => ({ ...file, fileName: file.name }))
}

async function receiveLong(
  body: AsyncIterable<Buffer>,
  hold: Hold,
  contentType: string | undefined,
  maxFiles: number,
): Promise<ReceivedFile[]> {
  const scanner = new JsonScanner({ maxSkeletonBytes: MAX_SKELETON_BYTES })
  try {
    const events = scan(scanner, body)
    const contents: HeldContent[] = []
    // Each content consumes its own events, so that what comes next is another one's beginning.
    while (!(await events.next()).done) {
      refuseTooMany(contents.length + 1, maxFiles)
      contents.push(await hold(contentOf(events)))
    }
    const value = parseJsonText(scanner.finish(), ', not counting the contents')
    return validated(value, contentType, maxFiles).map(({ content: index, ...file }, position) => {
      const content = contents[Number(index)]
      if (!content) throw new Error(`the content of file ${position} was not taken out`)
      return { ...file, content }
    })
  } catch (error) {
    throw error instanceof ScanError ? toProblem(error) : error
  }
}

async function* scan(scanner: JsonScanner, body: AsyncIterable<Buffer>): AsyncGenerator<ScanEvent> {
  for await (const chunk of body) yield* scanner.write(chunk)
}

async function* contentOf(events: AsyncGenerator<ScanEvent>): AsyncGenerator<Buffer> {
  for (;;) {
    const { done, value } = await events.next()
    if (done || value.type !== 'data') return
    yield value.bytes
  }
}

function toProblem({ code, file = 0 }: ScanError): HttpProblem {
  switch (code) {
    case 'malformed_base64':
      return notBase64(file)
    case 'skeleton_too_long':
      return unprocessable(
        `body: longer than ${MAX_SKELETON_BYTES} bytes without the contents: send fewer files at once`,
      )
    case 'not_utf8':
      return unprocessable('body: not valid UTF-8')
    case 'invalid_string':
    case 'unterminated_string':
      return unprocessable('body: not valid JSON: a string is malformed or cut off')
  }
}

function notBase64(position: number): HttpProblem {
  return unprocessable(`body.files.${position}.content: Not valid base64`)
}
