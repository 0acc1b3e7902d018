import { and, asc, desc, type SQL, sql } from 'drizzle-orm'
import type { NodePgDatabase } from 'drizzle-orm/node-postgres'
import type {
  End,
  Listed,
  MetaRepository,
  MimeTypeCount,
  RawFileFilter,
  Slice,
} from '../domain/meta-repository.js'
import { endOf, oneMore } from './keyset.js'
import { matches } from './raw-file-filter.js'
import { rawFile } from './schema.js'
import { translated } from './sqlstate.js'

/** What a count takes beside its MIME type, in characters. */
const COUNT = 40

type MimeTypes = Pick<MetaRepository, 'countMimeTypes' | 'endOfMimeTypes'>

/** The part of the meta repository that counts MIME types. */
export function createMimeTypes(db: NodePgDatabase): MimeTypes {
  return {
    countMimeTypes: (filter, slice) => translated(() => countMimeTypes(db, filter, slice)),
    endOfMimeTypes: (filter, slice) => translated(() => endOfMimeTypes(db, filter, slice)),
  }
}

async function countMimeTypes(
  db: NodePgDatabase,
  filter: RawFileFilter,
  slice: Slice<string>,
): Promise<Listed<MimeTypeCount, string>> {
  const each = typesOf(db, filter)
  const found = await db
    .select({ mimeType: each.mimeType, files: sql<string>`count(*)` })
    .from(each)
    .where(ofSlice(each.mimeType, slice))
    .groupBy(each.mimeType)
    .orderBy(asc(each.mimeType))
    .limit(oneMore(slice))
  const rows = found
    .slice(0, slice.limit)
    .map(({ mimeType, files }) => ({ mimeType, files: Number(files) }))
  const next = found.length > slice.limit ? rows.at(-1)?.mimeType : undefined
  const length = rows.reduce((sum, { mimeType }) => sum + COUNT + mimeType.length, 0)
  return { rows, next, length }
}

async function endOfMimeTypes(
  db: NodePgDatabase,
  filter: RawFileFilter,
  slice: Slice<string>,
): Promise<End<string>> {
  const each = typesOf(db, filter)
  const keys = db
    .selectDistinct({ mimeType: each.mimeType })
    .from(each)
    .where(ofSlice(each.mimeType, slice))
    .orderBy(asc(each.mimeType))
    .limit(oneMore(slice))
    .as('keys')
  const found = await db
    .select({ mimeType: keys.mimeType, count: sql<string>`count(*) over ()` })
    .from(keys)
    .orderBy(desc(keys.mimeType))
    .limit(2)
  return endOf(found, slice, ({ mimeType }) => mimeType)
}

/** A row for each MIME type of each raw file. */
function typesOf(db: NodePgDatabase, filter: RawFileFilter) {
  const mimeType = sql<string>`unnest(${rawFile.mimeTypes})`.as('mime_type')
  return db.select({ mimeType }).from(rawFile).where(matches(filter)).as('each')
}

/** The comparison and the order are both by the collation of the column. */
function ofSlice(mimeType: SQL.Aliased<string>, { after, until }: Slice<string>): SQL | undefined {
  return and(
    after === undefined ? undefined : sql`${mimeType} > ${after}`,
    until === undefined ? undefined : sql`${mimeType} <= ${until}`,
  )
}
