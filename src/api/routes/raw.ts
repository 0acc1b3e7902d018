import { z } from 'zod'
import { rawFileText } from '../../domain/wire-text.js'
import { findRawFile, type RetrievePorts } from '../../flows/retrieve.js'
import { uuid } from '../fields.js'
import { json, type Route, route } from '../route.js'
import * as schemas from '../schemas.js'

const rawId = z.object({ raw_id: uuid })
const absent = { description: 'There is no such raw file', schema: schemas.failure }

/** The metadata of a raw file; contents are in `contents.ts`, lists in `raw-lists.ts`. */
export function rawRoutes(retrieve: RetrievePorts): Route[] {
  return [
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
