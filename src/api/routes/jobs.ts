import { z } from 'zod'
import { boefjeMetaCursor, type JobKey, normalizerMetaCursor } from '../../domain/cursor.js'
import { BytesError } from '../../domain/errors.js'
import { memberTexts } from '../../domain/json-text.js'
import type { MetaRepository, Page } from '../../domain/meta-repository.js'
import { MAX_JSON_BYTES } from '../../domain/models.js'
import { boefjeMetaText, normalizerMetaText } from '../../domain/wire-text.js'
import type { AnswerMemory } from '../../flows/answer-room.js'
import { openList } from '../../flows/lists.js'
import { uuid } from '../fields.js'
import { answerList } from '../lists.js'
import { PAGE_HEADERS, pageHeaders } from '../paging.js'
import { unprocessable } from '../problems.js'
import { json, type Route, route } from '../route.js'
import * as schemas from '../schemas.js'
import { answerSingle, whileHolding } from '../while-holding.js'

const CREATED = JSON.stringify({ status: 'success' })
const stored = { description: 'Stored', schema: schemas.success }
const integrity = { description: 'The id is taken', schema: schemas.integrityFailure }
const absent = { description: 'There is none', schema: schemas.failure }

/** Resources of boefje metas and normalizer metas. */
export function jobRoutes(meta: MetaRepository, memory: AnswerMemory): Route[] {
  return [
    route({
      method: 'post',
      pattern: '/bytes/boefje_meta',
      summary: 'Store the metadata of a job that produces files',
      access: 'bearer',
      body: schemas.boefjeMeta,
      answers: { 201: stored, 400: integrity },
      handle: async ({ c, body, bodyText }) => {
        const texts = memberTexts(bodyText, ['arguments', 'environment'])
        for (const [name, text] of texts) {
          if (Buffer.byteLength(text) <= MAX_JSON_BYTES) continue
          throw unprocessable(`body.${name}: longer than ${MAX_JSON_BYTES} bytes of JSON`)
        }
        await meta.insertBoefjeMeta({
          id: body.id,
          startedAt: body.started_at,
          endedAt: body.ended_at,
          boefje: body.boefje,
          inputOoi: body.input_ooi,
          arguments: texts.get('arguments') ?? '{}',
          organization: body.organization,
          runnableHash: body.runnable_hash,
          environment: body.environment ? (texts.get('environment') ?? null) : null,
        })
        return json(c, CREATED, 201)
      },
    }),
    route({
      method: 'get',
      pattern: '/bytes/boefje_meta/{boefje_meta_id}',
      summary: 'The metadata of one job',
      access: 'bearer',
      path: z.object({ boefje_meta_id: uuid }),
      answers: { 200: { description: 'The job', schema: schemas.boefjeMeta }, 404: absent },
      handle: ({ c, path }) =>
        answerSingle(c, memory, async () => {
          const found = await meta.findBoefjeMeta(path.boefje_meta_id)
          if (!found) throw new BytesError('boefje_meta_not_found', 'Boefje meta not found')
          return boefjeMetaText(found)
        }),
    }),
    route({
      method: 'get',
      pattern: '/bytes/boefje_meta',
      summary: 'Jobs of an organization, the latest first',
      access: 'bearer',
      query: schemas.boefjeMetaQuery,
      answers: {
        200: {
          description: 'Jobs',
          schema: z.array(schemas.boefjeMeta),
          headers: PAGE_HEADERS,
        },
      },
      handle: async ({ c, query }) => {
        const { input_ooi } = query
        const filter = {
          organization: query.organization,
          boefjeId: query.boefje_id,
          inputOoi: input_ooi === '*' ? undefined : (input_ooi ?? null),
          descending: query.descending,
        }
        return whileHolding(c, memory, async (holding, signal) => {
          const source = {
            slice: (page: Page<JobKey>) =>
              holding.holdPart(() => meta.listBoefjeMeta(filter, page)),
            end: (page: Page<JobKey>) => meta.endOfBoefjeMeta(filter, page),
          }
          const list = await openList(source, query, signal)
          const headers = pageHeaders(c, list.next && boefjeMetaCursor.encode(list.next))
          return answerList(c, list, boefjeMetaText, headers)
        })
      },
    }),
    route({
      method: 'post',
      pattern: '/bytes/normalizer_meta',
      summary: 'Store the metadata of a job that consumed a raw file',
      access: 'bearer',
      body: schemas.normalizerMeta,
      answers: { 201: stored, 400: integrity },
      handle: async ({ c, body }) => {
        await meta.insertNormalizerMeta({
          id: body.id,
          startedAt: body.started_at,
          endedAt: body.ended_at,
          normalizer: body.normalizer,
          rawFileId: body.raw_data.id,
        })
        return json(c, CREATED, 201)
      },
    }),
    route({
      method: 'get',
      pattern: '/bytes/normalizer_meta/{normalizer_meta_id}',
      summary: 'The metadata of one consuming job',
      access: 'bearer',
      path: z.object({ normalizer_meta_id: uuid }),
      answers: { 200: { description: 'The job', schema: schemas.normalizerMeta }, 404: absent },
      handle: ({ c, path }) =>
        answerSingle(c, memory, async () => {
          const found = await meta.findNormalizerMeta(path.normalizer_meta_id)
          if (!found) throw new BytesError('normalizer_meta_not_found', 'Normalizer meta not found')
          return normalizerMetaText(found)
        }),
    }),
    route({
      method: 'get',
      pattern: '/bytes/normalizer_meta',
      summary: 'Consuming jobs of an organization, the latest first',
      access: 'bearer',
      query: schemas.normalizerMetaQuery,
      answers: {
        200: {
          description: 'Jobs',
          schema: z.array(schemas.normalizerMeta),
          headers: PAGE_HEADERS,
        },
      },
      handle: async ({ c, query }) => {
        const filter = {
          organization: query.organization,
          normalizerId: query.normalizer_id,
          rawId: query.raw_id,
          descending: query.descending,
        }
        return whileHolding(c, memory, async (holding, signal) => {
          const source = {
            slice: (page: Page<JobKey>) =>
              holding.holdPart(() => meta.listNormalizerMeta(filter, page)),
            end: (page: Page<JobKey>) => meta.endOfNormalizerMeta(filter, page),
          }
          const list = await openList(source, query, signal)
          const headers = pageHeaders(c, list.next && normalizerMetaCursor.encode(list.next))
          return answerList(c, list, normalizerMetaText, headers)
        })
      },
    }),
  ]
}
