import { and, arrayContains, eq, inArray, type SQL, sql } from 'drizzle-orm'
import type { RawFileFilter } from '../domain/meta-repository.js'
import { normalizerMeta, rawFile } from './schema.js'

/** The condition that the raw files of a filter meet; undefined when all do. */
export function matches(filter: RawFileFilter): SQL | undefined {
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
