import { and, asc, desc, eq, gt, type SQL, sql } from 'drizzle-orm'
import type { NodePgDatabase } from 'drizzle-orm/node-postgres'
import type { RawFileKey } from '../domain/cursor.js'
import type {
  End,
  Listed,
  MetaRepository,
  RawFileFilter,
  Slice,
} from '../domain/meta-repository.js'
import type { StoredContent, StoredRawFile } from '../domain/models.js'
import { endOf, oneMore } from './keyset.js'
import { matches } from './raw-file-filter.js'
import { blobColumns, storedRawFileColumns, toBlob, toStoredRawFile } from './rows.js'
import { blob, boefjeMeta, rawFile, signingProvider } from './schema.js'
import { lengthOf, listedJobColumns, listedWithJobs } from './slices.js'
import { translated } from './sqlstate.js'

type RawFiles = Pick<
  MetaRepository,
  'findRawFile' | 'findBlob' | 'listRawFiles' | 'listContents' | 'endOfRawFiles'
>

/** The part of the meta repository that looks raw files up. */
export function createRawFiles(db: NodePgDatabase): RawFiles {
  return {
    findRawFile: (id) =>
      translated(async () => {
        const [row] = await db
          .select(storedRawFileColumns)
          .from(rawFile)
          .innerJoin(boefjeMeta, eq(boefjeMeta.id, rawFile.boefjeMetaId))
          .innerJoin(blob, eq(blob.id, rawFile.blobId))
          .leftJoin(signingProvider, eq(signingProvider.id, rawFile.signingProviderId))
          .where(eq(rawFile.id, id))
        return row && toStoredRawFile(row)
      }),
    findBlob: (organization, contentDigest) =>
      translated(async () => {
        const referred = sql`exists (select 1 from ${rawFile} where ${rawFile.blobId} = ${blob.id})`
        const [row] = await db
          .select(blobColumns)
          .from(blob)
          .where(
            and(
              eq(blob.organization, organization),
              eq(blob.contentDigest, contentDigest),
              referred,
            ),
          )
        return row && toBlob(row)
      }),
    listRawFiles: (filter, slice) => translated(() => listRawFiles(db, filter, slice)),
    listContents: (filter, slice) => translated(() => listContents(db, filter, slice)),
    endOfRawFiles: (filter, slice) => translated(() => endOfRawFiles(db, filter, slice)),
  }
}

async function listRawFiles(
  db: NodePgDatabase,
  filter: RawFileFilter,
  slice: Slice<RawFileKey>,
): Promise<Listed<StoredRawFile, RawFileKey>> {
  const found = await db
    .select({
      ...storedRawFileColumns,
      job: listedJobColumns(slice),
      seq: rawFile.seq,
      beyond: isBeyond(slice),
    })
    .from(rawFile)
    .innerJoin(boefjeMeta, eq(boefjeMeta.id, rawFile.boefjeMetaId))
    .innerJoin(blob, eq(blob.id, rawFile.blobId))
    .leftJoin(signingProvider, eq(signingProvider.id, rawFile.signingProviderId))
    .where(ofSlice(filter, slice))
    .orderBy(asc(rawFile.seq))
    .limit(oneMore(slice))
  return listedWithJobs(db, found, slice, toStoredRawFile, keyOf)
}

async function listContents(
  db: NodePgDatabase,
  filter: RawFileFilter,
  slice: Slice<RawFileKey>,
): Promise<Listed<StoredContent, RawFileKey>> {
  const found = await db
    .select({
      seq: rawFile.seq,
      id: rawFile.id,
      mimeTypes: rawFile.mimeTypes,
      blob: blobColumns,
      beyond: isBeyond(slice),
    })
    .from(rawFile)
    .innerJoin(blob, eq(blob.id, rawFile.blobId))
    .where(ofSlice(filter, slice))
    .orderBy(asc(rawFile.seq))
    .limit(oneMore(slice))
  const inside = found.filter(({ beyond }) => !beyond)
  const rows = inside.slice(0, slice.limit)
  const last = rows.at(-1)
  return {
    rows: rows.map(({ id, mimeTypes, blob }) => ({
      rawFile: { id, mimeTypes: mimeTypes ?? [] },
      blob: toBlob(blob),
    })),
    next: last && inside.length > slice.limit ? last.seq : undefined,
    length: rows.reduce((sum, row) => sum + lengthOf(row), 0),
  }
}

async function endOfRawFiles(
  db: NodePgDatabase,
  filter: RawFileFilter,
  slice: Slice<RawFileKey>,
): Promise<End<RawFileKey>> {
  const keys = db
    .select({ seq: rawFile.seq })
    .from(rawFile)
    .where(ofSlice(filter, slice))
    .orderBy(asc(rawFile.seq))
    .limit(oneMore(slice))
    .as('keys')
  const found = await db
    .select({ seq: keys.seq, count: sql<string>`count(*) over ()` })
    .from(keys)
    .orderBy(desc(keys.seq))
    .limit(2)
  return endOf(found, slice, keyOf)
}

const keyOf = ({ seq }: { readonly seq: number }): RawFileKey => seq

/** Whether a raw file comes after the end of the list. */
function isBeyond({ until }: Slice<RawFileKey>): SQL<boolean> {
  return until === undefined ? sql<boolean>`false` : sql<boolean>`${rawFile.seq} > ${until}::bigint`
}

/** What the raw files of a slice meet: the filter, and that they come after its key. */
function ofSlice(filter: RawFileFilter, { after }: Slice<RawFileKey>): SQL | undefined {
  return and(matches(filter), after === undefined ? undefined : gt(rawFile.seq, after))
}
