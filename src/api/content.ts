/** Answers with the content of a raw file or a blob: whole or in ranges, if the client lacks it. */
import { randomBytes } from 'node:crypto'
import { create as contentDisposition } from 'content-disposition'
import type { Blob, StoredRawFile } from '../domain/models.js'
import type { ByteRange } from '../domain/ports.js'
import { checkContents, openContent, type RetrievePorts } from '../flows/retrieve.js'
import { evaluate, ifRangeMatches } from './conditional.js'
import { detail } from './problems.js'
import { contentRange, parseRanges, type Ranges } from './ranges.js'
import type { AppContext } from './route.js'
import { transfer } from './transfer.js'

const TYPE = 'application/octet-stream'

/** A content to answer with. */
export interface Content {
  readonly file: StoredRawFile | Blob
  readonly blob: Blob
  /** To save it under: free of control characters and slashes. */
  readonly fileName: string
}

/**
 * Answers GET and HEAD. A whole content whose stored bytes are damaged never arrives whole: either
 * the answer is an error, or the connection is cut before the last piece.
 * @throws HttpProblem 412, 416; BytesError as `openContent`
 */
export async function answerContent(
  c: AppContext,
  ports: RetrievePorts,
  content: Content,
): Promise<Response> {
  const { size, contentDigest } = content.blob
  const etag = `"${contentDigest}"`
  const caching = { etag, 'cache-control': 'private, immutable' }
  const conditions = {
    ifMatch: c.req.header('if-match'),
    ifNoneMatch: c.req.header('if-none-match'),
  }
  const status = evaluate(conditions, etag)
  if (status === 304) return c.body(null, 304, caching)
  if (status === 412)
    throw detail(412, `The content is not the one of If-Match: its tag is ${etag}`)

  const headers = {
    ...caching,
    'repr-digest': reprDigest(contentDigest),
    'accept-ranges': 'bytes',
    'content-disposition': contentDisposition(content.fileName),
  }
  if (c.req.method === 'HEAD') {
    await checkContents(ports, [content.file])
    return c.body(null, 200, { ...headers, ...partHeaders(size) })
  }
  const asked = rangesOf(c, etag, size)
  if (asked.kind === 'unsatisfiable') {
    throw detail(416, asked.reason, { 'content-range': `bytes */${size}` })
  }
  if (asked.kind === 'whole') {
    const whole = await openContent(ports, content.file)
    return transfer(c, whole, 200, { ...headers, ...partHeaders(size) })
  }
  const [range, ...more] = asked.ranges
  if (more.length === 0) {
    return transfer(c, await openContent(ports, content.file, range), 206, {
      ...headers,
      ...partHeaders(range.end - range.start),
      'content-range': contentRange(range, size),
    })
  }
  const parts = multipart(asked.ranges, size)
  return transfer(c, partsOf(ports, content, parts), 206, {
    ...headers,
    'content-type': parts.type,
    'content-length': String(parts.length),
  })
}

const partHeaders = (length: number): Record<string, string> => ({
  'content-type': TYPE,
  'content-length': String(length),
})

/** RFC 9530: the digest of the whole content, also beside a part of it. */
function reprDigest(contentDigest: string): string {
  const hex = contentDigest.slice(contentDigest.indexOf(':') + 1)
  return `sha-512=:${Buffer.from(hex, 'hex').toString('base64')}:`
}

function rangesOf(c: AppContext, etag: string, size: number): Ranges {
  const counts = ifRangeMatches(c.req.header('if-range'), etag)
  return parseRanges(counts ? c.req.header('range') : undefined, size)
}

/** A body of type multipart/byteranges (RFC 9110, section 14.6). */
interface Multipart {
  readonly type: string
  /** Bytes of the body. */
  readonly length: number
  readonly parts: readonly { readonly head: Buffer; readonly range: ByteRange }[]
  readonly tail: Buffer
}

function multipart(ranges: readonly ByteRange[], size: number): Multipart {
  // No content can be made to hold it.
  const boundary = randomBytes(24).toString('hex')
  const parts = ranges.map((range, i) => ({
    range,
    head: Buffer.from(
      `${i > 0 ? '\r\n' : ''}--${boundary}\r\nContent-Type: ${TYPE}\r\n` +
        `Content-Range: ${contentRange(range, size)}\r\n\r\n`,
    ),
  }))
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`)
  const length = parts.reduce(
    (sum, { head, range }) => sum + head.length + range.end - range.start,
    tail.length,
  )
  return { type: `multipart/byteranges; boundary=${boundary}`, length, parts, tail }
}

/** The pieces of the body; what fails before the first byte of content fails before the first piece. */
async function* partsOf(
  ports: RetrievePorts,
  { file }: Content,
  { parts, tail }: Multipart,
): AsyncGenerator<Uint8Array> {
  for (const { head, range } of parts) {
    let unsent: Buffer | undefined = head
    for await (const piece of await openContent(ports, file, range)) {
      if (unsent) yield unsent
      unsent = undefined
      yield piece
    }
  }
  yield tail
}
