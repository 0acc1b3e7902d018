import { z } from 'zod'
import { rawFileText } from '../../domain/wire-text.js'
import type { AnswerMemory } from '../../flows/answer-room.js'
import { findRawFile, type RetrievePorts } from '../../flows/retrieve.js'
import { uuid } from '../fields.js'
import { type Route, route } from '../route.js'
import * as schemas from '../schemas.js'
import { answerSingle } from '../while-holding.js'

const rawId = z.object({ raw_id: uuid })
const absent = { description: 'There is no such raw file', schema: schemas.failure }

/** The metadata of a raw file; contents are in `contents.ts`, lists in `raw-lists.ts`. */
export function rawRoutes(retrieve: RetrievePorts, memory: AnswerMemory): Route[] {
  return [
    route({
      method: 'get',
      pattern: '/bytes/raw/{raw_id}/meta',
      summary: 'The metadata of a raw file',
      access: 'bearer',
      path: rawId,
      answers: { 200: { description: 'The raw file', schema: schemas.rawData }, 404: absent },
      handle: ({ c, path }) =>
        answerSingle(c, memory, async () =>
          rawFileText((await findRawFile(retrieve, path.raw_id)).rawFile),
        ),
    }),
  ]
}
