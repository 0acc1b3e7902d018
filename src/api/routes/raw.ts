import { z } from 'zod'
import { decodeBase64 } from '../../domain/base64.js'
import { objectText, rawFileText } from '../../domain/wire-text.js'
import { type IngestPorts, ingest, type UploadedFile } from '../../flows/ingest.js'
import { findRawFile, openContent, type RetrievePorts, readContent } from '../../flows/retrieve.js'
import { uuid } from '../fields.js'
import { unprocessable } from '../problems.js'
import { json, type Route, route, stream } from '../route.js'
import * as schemas from '../schemas.js'

const rawId = z.object({ raw_id: uuid })
const absent = { description: 'There is no such raw file', schema: schemas.failure }
const unreadable = { description: 'Its content is missing or damaged', schema: schemas.failure }

/** Resources of raw files. */
export function rawRoutes(upload: IngestPorts, retrieve: RetrievePorts): Route[] {
  return [
    route({
      method: 'post',
      pattern: '/bytes/raw',
      summary: 'Store the files of a job: all of them, or none',
      access: 'bearer',
      query: schemas.uploadQuery,
      body: schemas.rawUpload,
      answers: {
        200: { description: 'Names of the files to ids', schema: z.record(z.string(), uuid) },
        400: { description: 'Two files have the same MIME types', schema: schemas.failure },
        404: { description: 'There is no such job', schema: schemas.failure },
      },
      handle: async ({ c, query, body }) => {
        const stored = await ingest(upload, query.boefje_meta_id, body.files.map(decode))
        const ids = new Map(stored.map(([name, id]) => [name, JSON.stringify(id)]))
        return json(c, objectText(ids))
      },
    }),
    route({
      method: 'get',
      pattern: '/bytes/raw/{raw_id}',
      summary: 'The content of a raw file',
      access: 'bearer',
      path: rawId,
      answers: {
        200: { description: 'The bytes', mediaType: 'application/octet-stream' },
        404: absent,
        500: unreadable,
      },
      handle: async ({ c, path }) => {
        const file = await findRawFile(retrieve, path.raw_id)
        const headers = {
          'content-type': 'application/octet-stream',
          'content-length': String(file.blob.size),
        }
        if (file.blob.size <= 64 * 1024) {
          return c.body(await readContent(retrieve, file), 200, headers)
        }
        return stream(c, await openContent(retrieve, file), headers)
      },
    }),
    route({
      method: 'get',
      pattern: '/bytes/raw/{raw_id}/meta',
      summary: 'The metadata of a raw file',
      access: 'bearer',
      path: rawId,
      answers: { 200: { description: 'The raw file', schema: schemas.rawData }, 404: absent },
      handle: async ({ c, path }) => {
        return json(c, rawFileText((await findRawFile(retrieve, path.raw_id)).rawFile))
      },
    }),
  ]
}

type UploadedBody = z.output<typeof schemas.rawUpload>['files'][number]

function decode(file: UploadedBody, position: number): UploadedFile {
  const content = decodeBase64(file.content)
  if (!content) throw unprocessable(`body.files.${position}.content: Not valid base64`)
  return { name: file.name, content, tags: file.tags }
}
