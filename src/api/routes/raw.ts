import { z } from 'zod'
import { rawFileText } from '../../domain/wire-text.js'
import { findRawFile, openContent, type RetrievePorts, readContent } from '../../flows/retrieve.js'
import { uuid } from '../fields.js'
import { json, type Route, route, stream } from '../route.js'
import * as schemas from '../schemas.js'

const rawId = z.object({ raw_id: uuid })
const absent = { description: 'There is no such raw file', schema: schemas.failure }
const unreadable = { description: 'Its content is missing or damaged', schema: schemas.failure }

/** Resources of raw files. */
export function rawRoutes(retrieve: RetrievePorts): Route[] {
  return [
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
