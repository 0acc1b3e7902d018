import { z } from 'zod'
import { findBlob, findContent, type RetrievePorts } from '../../flows/retrieve.js'
import { answerContent } from '../content.js'
import { contentDigest, search, uuid } from '../fields.js'
import { type Answer, type Route, route } from '../route.js'
import * as schemas from '../schemas.js'

/** Digits of a content's digest that name it where there is no other name. */
const SHORT_DIGITS = 16

/** Conditions and ranges of a request for a content. */
const requestHeaders = {
  Range: 'Which bytes to send, such as `bytes=0-99`, `bytes=100-`, `bytes=-50`, or a list of these',
  'If-Range': 'A tag: `Range` counts only when it is that of the content',
  'If-None-Match': 'Tags that the client has: one that matches is answered 304',
  'If-Match': 'Tags that the client wants: when none matches the answer is 412',
}

const caching = {
  ETag: 'Tag of the content: `sha512:` and the hexadecimal digest, in quotes',
  'Cache-Control': '`private, immutable`: a content never changes',
}
const contentHeaders = {
  ...caching,
  'Content-Length': 'Bytes of the body',
  'Repr-Digest': 'SHA-512 of the whole content (RFC 9530)',
  'Accept-Ranges': '`bytes`',
  'Content-Disposition': 'A name to save the content under',
}

function answers(absent: string): Record<number, Answer> {
  const mediaType = 'application/octet-stream'
  return {
    200: { description: 'The bytes', mediaType, headers: contentHeaders },
    206: {
      description: 'The ranges that were asked for; several as `multipart/byteranges`',
      mediaType,
      headers: {
        ...contentHeaders,
        'Content-Range': 'Which bytes these are, and of how many; of several ranges in each part',
      },
    },
    304: { description: 'The client has the content', headers: caching },
    404: { description: absent, schema: schemas.failure },
    412: { description: 'The content is not one of those of If-Match', schema: schemas.failure },
    416: {
      description: 'No range lies inside the content, or they are too many or overlap',
      schema: schemas.failure,
      headers: { 'Content-Range': 'How long the content is: `bytes */N`' },
    },
    500: { description: 'The content is missing or damaged', schema: schemas.failure },
  }
}

/** Resources of contents, by raw file and by digest. */
export function contentRoutes(retrieve: RetrievePorts): Route[] {
  return [
    route({
      method: 'get',
      pattern: '/bytes/raw/{raw_id}',
      summary: 'The content of a raw file',
      access: 'bearer',
      path: z.object({ raw_id: uuid }),
      headers: requestHeaders,
      answers: answers('There is no such raw file'),
      handle: async ({ c, path }) => {
        const file = await findContent(retrieve, path.raw_id)
        const fileName = file.fileName ?? file.rawFile.id
        return answerContent(c, retrieve, { file, blob: file.blob, fileName })
      },
    }),
    route({
      method: 'get',
      pattern: '/bytes/blobs/{digest}',
      summary: 'A content of an organization, by its digest',
      access: 'bearer',
      path: z.object({ digest: contentDigest }),
      query: z.object({ organization: search }),
      headers: requestHeaders,
      answers: answers('No raw file of the organization has such a content'),
      handle: async ({ c, path, query }) => {
        const blob = await findBlob(retrieve, query.organization, path.digest)
        const digits = blob.contentDigest.slice('sha512:'.length)
        const fileName = digits.slice(0, SHORT_DIGITS)
        return answerContent(c, retrieve, { file: blob, blob, fileName })
      },
    }),
  ]
}
