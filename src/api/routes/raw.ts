import { z } from 'zod'
import { decodeBase64 } from '../../domain/base64.js'
import type { RawFileFilter } from '../../domain/meta-repository.js'
import type { StoredRawFile } from '../../domain/models.js'
import { arrayText, objectText, rawFileText } from '../../domain/wire-text.js'
import { type IngestPorts, ingest, type UploadedFile } from '../../flows/ingest.js'
import {
  checkContents,
  findRawFile,
  type RetrievePorts,
  readContent,
} from '../../flows/retrieve.js'
import { uuid } from '../fields.js'
import { unprocessable } from '../problems.js'
import { type AppContext, json, type Route, route, stream } from '../route.js'
import * as schemas from '../schemas.js'

const rawId = z.object({ raw_id: uuid })
const absent = { description: 'There is no such raw file', schema: schemas.failure }
const unreadable = { description: 'Its content is missing or damaged', schema: schemas.failure }
/** MIME types of what a failed job leaves behind. */
const FAILED = JSON.stringify(['error/boefje'])
/** Contents up to this size in all are read before the answer begins, so that an error is one. */
const WHOLE_BYTES = 32 * 1024 * 1024

/** Resources of raw files, without their contents alone: those are in `contents.ts`. */
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
      pattern: '/bytes/raw/{raw_id}/meta',
      summary: 'The metadata of a raw file',
      access: 'bearer',
      path: rawId,
      answers: { 200: { description: 'The raw file', schema: schemas.rawData }, 404: absent },
      handle: async ({ c, path }) => {
        return json(c, rawFileText((await findRawFile(retrieve, path.raw_id)).rawFile))
      },
    }),
    route({
      method: 'get',
      pattern: '/bytes/raw',
      summary: 'Metadata of raw files, the oldest first',
      access: 'bearer',
      query: schemas.rawQuery,
      answers: { 200: { description: 'Raw files', schema: z.array(schemas.rawData) } },
      handle: async ({ c, query }) => {
        const found = await retrieve.meta.listRawFiles(filterOf(query), query.limit)
        return json(c, arrayText(found.map(({ rawFile }) => rawFileText(rawFile))))
      },
    }),
    route({
      method: 'get',
      pattern: '/bytes/raws',
      summary: 'Raw files with their content in base64, the oldest first',
      access: 'bearer',
      query: schemas.rawQuery,
      answers: {
        200: { description: 'Raw files', schema: schemas.rawContents },
        500: unreadable,
      },
      handle: async ({ c, query }) => {
        const found = await retrieve.meta.listRawFiles(filterOf(query), query.limit)
        const parts = contentsText(retrieve, found, !hasBody(c))
        if (found.reduce((sum, { blob }) => sum + blob.size, 0) > WHOLE_BYTES) {
          await checkContents(retrieve, found)
          return stream(c, encoded(parts), { 'content-type': 'application/json' })
        }
        let text = ''
        for await (const part of parts) text += part
        return json(c, text)
      },
    }),
    route({
      method: 'get',
      pattern: '/bytes/mime_types',
      summary: 'Number of raw files for each MIME type',
      access: 'bearer',
      query: schemas.mimeTypesQuery,
      answers: {
        200: { description: 'Counts', schema: z.record(z.string(), z.number().int()) },
      },
      handle: async ({ c, query }) => {
        const counts = await retrieve.meta.countMimeTypes(filterOf({ ...query, raw_ids: [] }))
        return json(c, objectText([...counts].map(([type, n]) => [type, String(n)])))
      },
    }),
  ]
}

type RawQuery = Omit<z.output<typeof schemas.rawQuery>, 'limit'>

function filterOf(query: RawQuery): RawFileFilter {
  return {
    organizations: query.organization,
    boefjeMetaId: query.boefje_meta_id,
    normalized: query.normalized,
    rawIds: query.raw_ids,
    mimeTypes: query.mime_types,
  }
}

type UploadedBody = z.output<typeof schemas.rawUpload>['files'][number]

function decode(file: UploadedBody, position: number): UploadedFile {
  const content = decodeBase64(file.content)
  if (!content) throw unprocessable(`body.files.${position}.content: Not valid base64`)
  return { name: file.name, content, tags: file.tags }
}

/**
 * Whether a GET carries a body. It is ignored, but recorded clients that send one expect the old
 * form of /bytes/raws, with empty tags.
 */
function hasBody(c: AppContext): boolean {
  return Number(c.req.header('content-length') ?? 0) > 0
}

async function* encoded(texts: AsyncIterable<string>): AsyncGenerator<Uint8Array> {
  for await (const text of texts) yield Buffer.from(text)
}

/** The JSON text of raw files with their contents, in pieces. */
async function* contentsText(
  retrieve: RetrievePorts,
  files: readonly StoredRawFile[],
  withTags: boolean,
): AsyncGenerator<string> {
  const failed = files.length === 1 && JSON.stringify(files[0]?.rawFile.mimeTypes) === FAILED
  yield `{"status":"${failed ? 'FAILED' : 'COMPLETED'}","files":[`
  for (const [i, file] of files.entries()) {
    const content = (await readContent(retrieve, file)).toString('base64')
    const { id, mimeTypes } = file.rawFile
    const tags = JSON.stringify(withTags ? mimeTypes : [])
    yield `${i > 0 ? ',' : ''}{"name":"${id}","content":"${content}","tags":${tags}}`
  }
  yield ']}'
}
