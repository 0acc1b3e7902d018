import { LIMITS } from '../../domain/models.js'
import type { Hold, ReceivedFile } from '../../flows/ingest.js'
import { unprocessable } from '../problems.js'
import * as schemas from '../schemas.js'
import { validate } from '../validate.js'
import { type Part, partsOf } from './form-parts.js'
import { type BodyUpload, refuseTooMany } from './received.js'

/** Longest `tag` field in bytes: the schema limits its characters, of four bytes at most. */
const MAX_TAG_BYTES = 4 * LIMITS.mimeType
/** Most characters of all names, tags and types of a form. */
const MAX_TEXTS = 8 * 1024 * 1024

/**
 * A form (RFC 7578). Each part with a file name is a file: the part's name is its name, and the
 * part's Content-Type and the fields `tag` are its MIME types. Tags before the first file are for
 * all of them, those after a file for that one.
 * @param tags MIME types of all files
 * @throws HttpProblem 422 for a content type without a boundary; the rest from `receive`
 */
export function multipartUpload(
  body: AsyncIterable<Buffer>,
  contentType: string,
  tags: readonly string[],
  maxFiles: number,
): BodyUpload {
  const boundary = boundaryOf(contentType)
  return {
    buffered: false,
    receive: (hold) => receive(partsOf(body, boundary), hold, tags, maxFiles),
  }
}

export function isMultipart(contentType: string): boolean {
  return /^\s*multipart\/form-data\s*(;|$)/i.test(contentType)
}

/** RFC 2046, section 5.1.1. */
function boundaryOf(contentType: string): string {
  const found = /;\s*boundary\s*=\s*(?:"([^"]{1,70})"|([^\s;"]{1,70}))\s*(?:;|$)/i.exec(contentType)
  const boundary = found?.[1] ?? found?.[2]
  if (boundary !== undefined) return boundary
  throw unprocessable('Content-Type: the boundary of the form is missing or malformed (RFC 2046)')
}

interface FormFile extends Omit<ReceivedFile, 'tags'> {
  readonly tags: string[]
}

async function receive(
  parts: AsyncIterable<Part>,
  hold: Hold,
  tagsOfAll: readonly string[],
  maxFiles: number,
): Promise<ReceivedFile[]> {
  const common: string[] = [...tagsOfAll]
  const files: FormFile[] = []
  let texts = 0
  const keep = (text: string | undefined): void => {
    texts += text?.length ?? 0
    if (texts <= MAX_TEXTS) return
    throw unprocessable(
      `body: more than ${MAX_TEXTS} characters of names and tags: send fewer files at once`,
    )
  }
  for await (const { name, fileName, mimeType, content } of parts) {
    for (const text of [name, fileName, mimeType]) keep(text)
    if (fileName !== undefined) {
      refuseTooMany(files.length + 1, maxFiles)
      const tags = mimeType === undefined ? [] : [mimeType]
      files.push({ name, fileName, tags, content: await hold(content) })
    } else if (name === 'tag') {
      const { tags } = files.at(-1) ?? { tags: common }
      const tag = await textOf(content)
      keep(tag)
      tags.push(tag)
      // Now, as there could be any number.
      validate(schemas.tags, tags, 'body')
    } else {
      throw unprocessable(
        `body: the field ${JSON.stringify(name)} is not known: a file needs a file name, a MIME type is a field "tag"`,
      )
    }
  }
  if (files.length === 0) {
    throw unprocessable('body: the form has no file: a part with a file name is one')
  }
  return files.map((file) => ({
    ...file,
    tags: validate(schemas.tags, [...common, ...file.tags], 'body'),
  }))
}

async function textOf(content: AsyncIterable<Buffer>): Promise<string> {
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of content) {
    size += piece.length
    if (size > MAX_TAG_BYTES) {
      throw unprocessable(`body: a tag is longer than ${LIMITS.mimeType} characters`)
    }
    pieces.push(piece)
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(pieces))
  } catch {
    throw unprocessable('body: a tag is not valid UTF-8')
  }
}
