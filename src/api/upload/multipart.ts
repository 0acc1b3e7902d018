import { LIMITS, MAX_MIME_TYPES } from '../../domain/models.js'
import type { Hold } from '../../flows/ingest.js'
import type { ReceivedFile } from '../../flows/tagged.js'
import { unprocessable } from '../problems.js'
import * as schemas from '../schemas.js'
import { validate } from '../validate.js'
import { type Part, partsOf } from './form-parts.js'
import { type BodyUpload, refuseTooMany } from './received.js'

/** Longest `tag` field in bytes: the schema limits its characters, of four bytes at most. */
const MAX_TAG_BYTES = 4 * LIMITS.mimeType
/** Most characters of all names, tags and types of a form; a tag of all files counts for each. */
const MAX_TEXTS = 8 * 1024 * 1024
/** What a tag takes beside its characters, in characters: there may be many empty ones. */
const TAG = 16

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
  let commonSize = sizeOf(common)
  const files: FormFile[] = []
  let texts = 0
  const keep = (characters: number): void => {
    texts += characters
    if (texts <= MAX_TEXTS) return
    throw unprocessable(
      `body: more than ${MAX_TEXTS} characters of names and tags: send fewer files at once`,
    )
  }
  for await (const { name, fileName, mimeType, content } of parts) {
    keep(name.length + (fileName?.length ?? 0) + (mimeType?.length ?? 0))
    if (fileName !== undefined) {
      refuseTooMany(files.length + 1, maxFiles)
      keep(commonSize)
      const tags = mimeType === undefined ? [] : [mimeType]
      checkLast([...common, ...tags])
      files.push({ name, fileName, tags, content: await hold(content) })
    } else if (name === 'tag') {
      const tag = await textOf(content)
      const file = files.at(-1)
      const { tags } = file ?? { tags: common }
      tags.push(tag)
      keep(sizeOf([tag]))
      if (!file) commonSize += sizeOf([tag])
      // Now, as there could be any number.
      checkLast(tags)
    } else {
      throw unprocessable(
        `body: the field ${JSON.stringify(name)} is not known: a file needs a file name, a MIME type is a field "tag"`,
      )
    }
  }
  if (files.length === 0) {
    throw unprocessable('body: the form has no file: a part with a file name is one')
  }
  return files.map((file) => {
    const tags = [...common, ...file.tags]
    checkLast(tags)
    return { ...file, tags }
  })
}

const sizeOf = (tags: readonly string[]): number =>
  tags.reduce((sum, tag) => sum + tag.length + TAG, 0)

/** @param tags valid but for the last, perhaps, and for their number */
function checkLast(tags: readonly string[]): void {
  const fine = tags.length <= MAX_MIME_TYPES && schemas.tags.safeParse(tags.slice(-1)).success
  if (!fine) validate(schemas.tags, tags, 'body')
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
