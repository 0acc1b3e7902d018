import { and, arrayContains, asc, eq, gt, inArray, type SQL, sql } from 'drizzle-orm'
import type { NodePgDatabase } from 'drizzle-orm/node-postgres'
import type { MetaRepository, RawFileFilter } from '../domain/meta-repository.js'
import { listed, oneMore } from './keyset.js'
import { blobColumns, storedRawFileColumns, toBlob, toStoredRawFile } from './rows.js'
import { blob, boefjeMeta, normalizerMeta, rawFile, signingProvider } from './schema.js'
import { translated } from './sqlstate.js'

type RawFiles = Pick<MetaRepository, 'findRawFile' | 'findBlob' | 'listRawFiles' | 'countMimeTypes'>

/** The part of the meta repository that looks raw files up. */
export function createRawFiles(db: NodePgDatabase): RawFiles {
  return {
    findRawFile: (id) =>
      translated(async () => {
        const [row] = await selectStoredRawFiles(db).where(eq(rawFile.id, id))
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
    listRawFiles: (filter, slice) =>
      translated(async () => {
        const { after } = slice
        const found = await selectStoredRawFiles(db)
          .where(and(matches(filter), after === undefined ? undefined : gt(rawFile.seq, after)))
          .orderBy(asc(rawFile.seq))
          .limit(oneMore(slice))
        return listed(found, slice, toStoredRawFile, (row) => row.seq)
      }),
    countMimeTypes: (filter) =>
      translated(async () => {
        const mimeType = sql<string>`unnest(${rawFile.mimeTypes})`.as('mime_type')
        const each = db.select({ mimeType }).from(rawFile).where(matches(filter)).as('each')
        const rows = await db
          .select({ mimeType: each.mimeType, files: sql<string>`count(*)` })
          .from(each)
          .groupBy(each.mimeType)
          .orderBy(each.mimeType)
        return new Map(rows.map((row) => [row.mimeType, Number(row.files)]))
      }),
  }
}

function selectStoredRawFiles(db: NodePgDatabase) {
  return db
    .select(storedRawFileColumns)
    .from(rawFile)
    .innerJoin(boefjeMeta, eq(boefjeMeta.id, rawFile.boefjeMetaId))
    .innerJoin(blob, eq(blob.id, rawFile.blobId))
    .leftJoin(signingProvider, eq(signingProvider.id, rawFile.signingProviderId))
}

function matches(filter: RawFileFilter): SQL | undefined {
  const { organizations, boefjeMetaId, normalized, rawIds, mimeTypes } = filter
  const consumed = sql`exists (select 1 from ${normalizerMeta} where ${normalizerMeta.rawFileId} = ${rawFile.id})`
  return and(
    organizations.length > 0 ? inArray(rawFile.organization, [...organizations]) : undefined,
    boefjeMetaId === undefined ? undefined : eq(rawFile.boefjeMetaId, boefjeMetaId),
    normalized === undefined ? undefined : normalized ? consumed : sql`not ${consumed}`,
    rawIds.length > 0 ? inArray(rawFile.id, [...rawIds]) : undefined,
    mimeTypes.length > 0 ? arrayContains(rawFile.mimeTypes, [...mimeTypes]) : undefined,
  )
}
