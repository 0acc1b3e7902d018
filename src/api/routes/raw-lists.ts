import { z } from 'zod'
import { encodeBase64 } from '../../domain/base64-encoder.js'
import { type RawFileKey, rawFileCursor } from '../../domain/cursor.js'
import type { Listed, MetaRepository, RawFileFilter, Slice } from '../../domain/meta-repository.js'
import type { StoredContent, StoredRawFile } from '../../domain/models.js'
import { rawFileText } from '../../domain/wire-text.js'
import type { AnswerMemory, Holding } from '../../flows/answer-room.js'
import { type ListSource, type OpenList, openList } from '../../flows/lists.js'
import { openMimeTypes } from '../../flows/mime-types.js'
import { checkContents, openContent, type RetrievePorts } from '../../flows/retrieve.js'
import { hasBody } from '../body-stream.js'
import { answerList, answerObject, encoded } from '../lists.js'
import { PAGE_HEADERS, pageHeaders } from '../paging.js'
import { type AppContext, type Route, route } from '../route.js'
import * as schemas from '../schemas.js'
import { transfer } from '../transfer.js'
import { whileHolding } from '../while-holding.js'

/** MIME types of what a failed job leaves behind. */
const FAILED = JSON.stringify(['error/boefje'])
/** Contents up to this size in all are read before the answer begins, so that an error is one. */
const WHOLE_BYTES = 256 * 1024
/** What they are in base64, with room for names and MIME types. */
const AHEAD_BYTES = 512 * 1024

/** Lists of raw files, and counts of them. */
export function rawListRoutes(retrieve: RetrievePorts, memory: AnswerMemory): Route[] {
  const { meta } = retrieve
  return [
    route({
      method: 'get',
      pattern: '/bytes/raw',
      summary: 'Metadata of raw files, the oldest first',
      access: 'bearer',
      query: schemas.rawQuery,
      answers: {
        200: {
          description: 'Raw files',
          schema: z.array(schemas.rawData),
          headers: PAGE_HEADERS,
        },
      },
      handle: ({ c, query }) =>
        whileHolding(c, memory, async (holding, signal) => {
          const source = sourceOf(meta, holding, query, meta.listRawFiles)
          const list = await openList(source, { ...query, offset: 0 }, signal)
          const textOf = ({ rawFile }: StoredRawFile): string => rawFileText(rawFile)
          return answerList(c, list, textOf, headersOf(c, list.next))
        }),
    }),
    route({
      method: 'get',
      pattern: '/bytes/raws',
      summary: 'Raw files with their content in base64, the oldest first',
      access: 'bearer',
      query: schemas.rawQuery,
      answers: {
        200: { description: 'Raw files', schema: schemas.rawContents, headers: PAGE_HEADERS },
        500: { description: 'Its content is missing or damaged', schema: schemas.failure },
      },
      handle: ({ c, query }) =>
        whileHolding(c, memory, async (holding, signal) => {
          const source = sourceOf(meta, holding, query, meta.listContents)
          const list = await openList(source, { ...query, offset: 0 }, signal)
          const headers = { 'content-type': 'application/json', ...headersOf(c, list.next) }
          // A GET's body is ignored, but recorded clients that send one expect the old form, with
          // empty tags.
          const parts = contentsText(retrieve, list, !hasBody(c.env.incoming.headers))
          const size = list.whole?.reduce((sum, { blob }) => sum + blob.size, 0)
          if (size === undefined || size > WHOLE_BYTES) await checkContents(retrieve, list.rows)
          return transfer(c, encoded(parts), 200, headers, AHEAD_BYTES)
        }),
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
      handle: ({ c, query }) =>
        whileHolding(c, memory, async (holding, signal) => {
          const filter = filterOf({ ...query, raw_ids: [] })
          const list = await openMimeTypes(meta, filter, holding, signal)
          return answerObject(
            c,
            list,
            ({ mimeType, files }) => `${JSON.stringify(mimeType)}:${files}`,
          )
        }),
    }),
  ]
}

function headersOf(c: AppContext, next: RawFileKey | undefined): Record<string, string> {
  return pageHeaders(c, next === undefined ? undefined : rawFileCursor.encode(next))
}

/** How a list of raw files, or of what is needed of them, is read. */
function sourceOf<Row>(
  meta: MetaRepository,
  holding: Holding,
  query: z.output<typeof schemas.rawQuery>,
  slice: (filter: RawFileFilter, slice: Slice<RawFileKey>) => Promise<Listed<Row, RawFileKey>>,
): ListSource<Row, RawFileKey> {
  const filter = filterOf(query)
  return {
    slice: (page) => holding.holdPart(() => slice(filter, page)),
    end: (page) => meta.endOfRawFiles(filter, page),
  }
}

type RawQuery = Omit<z.output<typeof schemas.rawQuery>, 'limit' | 'after'>

function filterOf(query: RawQuery): RawFileFilter {
  return {
    organizations: query.organization,
    boefjeMetaId: query.boefje_meta_id,
    normalized: query.normalized,
    rawIds: query.raw_ids,
    mimeTypes: query.mime_types,
  }
}

/** The JSON text of raw files with their contents, in pieces. */
async function* contentsText(
  retrieve: RetrievePorts,
  { whole, rows }: OpenList<StoredContent, RawFileKey>,
  withTags: boolean,
): AsyncGenerator<string> {
  const [one, ...others] = whole ?? []
  const failed = others.length === 0 && JSON.stringify(one?.rawFile.mimeTypes) === FAILED
  yield `{"status":"${failed ? 'FAILED' : 'COMPLETED'}","files":[`
  let separator = ''
  for await (const file of rows) {
    const { id, mimeTypes } = file.rawFile
    // Held back until the content can be read: a file is not begun that is known to be damaged.
    let head = `${separator}{"name":"${id}","content":"`
    separator = ','
    for await (const letters of encodeBase64(await openContent(retrieve, file))) {
      yield head + letters
      head = ''
    }
    yield `${head}","tags":${JSON.stringify(withTags ? mimeTypes : [])}}`
  }
  yield ']}'
}
