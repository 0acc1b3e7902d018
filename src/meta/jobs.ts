import { and, eq, isNull, sql } from 'drizzle-orm'
import type { NodePgDatabase } from 'drizzle-orm/node-postgres'
import type { JobKey } from '../domain/cursor.js'
import { instantFromPostgres } from '../domain/instant.js'
import type {
  BoefjeMetaFilter,
  Listed,
  MetaRepository,
  NormalizerMetaFilter,
  Page,
} from '../domain/meta-repository.js'
import type { BoefjeMeta, NormalizerMeta, Uuid } from '../domain/models.js'
import { jobOrder, jobsOfPage, listed, oneMore } from './keyset.js'
import {
  boefjeMetaColumns,
  instantOf,
  type RawFileRow,
  rawFileColumns,
  toBoefjeMeta,
  toRawFile,
} from './rows.js'
import { boefjeMeta, normalizerMeta, rawFile, signingProvider } from './schema.js'
import { translated } from './sqlstate.js'

type Jobs = Pick<
  MetaRepository,
  | 'insertBoefjeMeta'
  | 'findBoefjeMeta'
  | 'listBoefjeMeta'
  | 'insertNormalizerMeta'
  | 'findNormalizerMeta'
  | 'listNormalizerMeta'
>

/** The part of the meta repository that keeps boefje and normalizer metas. */
export function createJobs(db: NodePgDatabase): Jobs {
  return {
    insertBoefjeMeta: (meta) =>
      translated(async () => {
        await db.insert(boefjeMeta).values({
          id: meta.id,
          boefjeId: meta.boefje.id,
          boefjeVersion: meta.boefje.version,
          organization: meta.organization,
          arguments: sql`${meta.arguments}::json`,
          startedAt: meta.startedAt,
          endedAt: meta.endedAt,
          inputOoi: meta.inputOoi,
          environment: sql`${meta.environment}::json`,
          runnableHash: meta.runnableHash,
        })
      }),
    findBoefjeMeta: (id) => translated(() => findBoefjeMeta(db, id)),
    listBoefjeMeta: (filter, page) => translated(() => listBoefjeMeta(db, filter, page)),
    insertNormalizerMeta: (meta) =>
      translated(async () => {
        await db.insert(normalizerMeta).values({
          id: meta.id,
          normalizerId: meta.normalizer.id,
          normalizerVersion: meta.normalizer.version,
          startedAt: meta.startedAt,
          endedAt: meta.endedAt,
          rawFileId: meta.rawFileId,
          // Empty for an unknown raw file, which the foreign key then refuses.
          organization: sql`coalesce((select ${rawFile.organization} from ${rawFile} where ${rawFile.id} = ${meta.rawFileId}), '')`,
        })
      }),
    findNormalizerMeta: (id) =>
      translated(async () => {
        const [row] = await selectNormalizerMeta(db).where(eq(normalizerMeta.id, id))
        return row && toNormalizerMeta(row)
      }),
    listNormalizerMeta: (filter, page) => translated(() => listNormalizerMeta(db, filter, page)),
  }
}

async function findBoefjeMeta(db: NodePgDatabase, id: Uuid): Promise<BoefjeMeta | undefined> {
  const [row] = await db.select(boefjeMetaColumns).from(boefjeMeta).where(eq(boefjeMeta.id, id))
  return row && toBoefjeMeta(row)
}

async function listBoefjeMeta(
  db: NodePgDatabase,
  { organization, boefjeId, inputOoi, descending }: BoefjeMetaFilter,
  page: Page<JobKey>,
): Promise<Listed<BoefjeMeta, JobKey>> {
  const filter = and(
    eq(boefjeMeta.organization, organization),
    boefjeId === undefined ? undefined : eq(boefjeMeta.boefjeId, boefjeId),
    inputOoi === null ? isNull(boefjeMeta.inputOoi) : undefined,
    typeof inputOoi === 'string' ? eq(boefjeMeta.inputOoi, inputOoi) : undefined,
  )
  const found = await db
    .select(boefjeMetaColumns)
    .from(boefjeMeta)
    .where(jobsOfPage(boefjeMeta, filter, page, descending))
    .orderBy(...jobOrder(boefjeMeta, descending))
    .limit(oneMore(page))
    .offset(page.offset)
  return listed(found, page, toBoefjeMeta, keyOf)
}

function keyOf({ startedAt, id }: { startedAt: string | null; id: string }): JobKey {
  return { startedAt: startedAt === null ? null : instantFromPostgres(startedAt), id }
}

function selectNormalizerMeta(db: NodePgDatabase) {
  return db
    .select({
      id: normalizerMeta.id,
      normalizerId: normalizerMeta.normalizerId,
      normalizerVersion: normalizerMeta.normalizerVersion,
      startedAt: sql<string | null>`${normalizerMeta.startedAt}::text`,
      endedAt: sql<string | null>`${normalizerMeta.endedAt}::text`,
      job: boefjeMetaColumns,
      raw: rawFileColumns,
      signingProviderUrl: signingProvider.url,
    })
    .from(normalizerMeta)
    .innerJoin(rawFile, eq(rawFile.id, normalizerMeta.rawFileId))
    .innerJoin(boefjeMeta, eq(boefjeMeta.id, rawFile.boefjeMetaId))
    .leftJoin(signingProvider, eq(signingProvider.id, rawFile.signingProviderId))
}

async function listNormalizerMeta(
  db: NodePgDatabase,
  { organization, normalizerId, rawId, descending }: NormalizerMetaFilter,
  page: Page<JobKey>,
): Promise<Listed<NormalizerMeta, JobKey>> {
  const filter = and(
    eq(normalizerMeta.organization, organization),
    normalizerId === undefined ? undefined : eq(normalizerMeta.normalizerId, normalizerId),
    rawId === undefined ? undefined : eq(normalizerMeta.rawFileId, rawId),
  )
  const found = await selectNormalizerMeta(db)
    .where(jobsOfPage(normalizerMeta, filter, page, descending))
    .orderBy(...jobOrder(normalizerMeta, descending))
    .limit(oneMore(page))
    .offset(page.offset)
  return listed(found, page, toNormalizerMeta, keyOf)
}

interface NormalizerMetaRow extends RawFileRow {
  readonly id: string
  readonly normalizerId: string
  readonly normalizerVersion: string | null
  readonly startedAt: string | null
  readonly endedAt: string | null
}

function toNormalizerMeta(row: NormalizerMetaRow): NormalizerMeta {
  return {
    id: row.id,
    startedAt: instantOf(row.startedAt),
    endedAt: instantOf(row.endedAt),
    normalizer: { id: row.normalizerId, version: row.normalizerVersion },
    rawFile: toRawFile(row),
  }
}
