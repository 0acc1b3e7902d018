import { and, eq, isNull, type SQL, sql } from 'drizzle-orm'
import type { NodePgDatabase } from 'drizzle-orm/node-postgres'
import type { JobKey } from '../domain/cursor.js'
import type {
  BoefjeMetaFilter,
  Listed,
  MetaRepository,
  NormalizerMetaFilter,
  Page,
} from '../domain/meta-repository.js'
import type { BoefjeMeta, NormalizerMeta, Uuid } from '../domain/models.js'
import { endOfJobs, isBeyond, jobKey, jobOrder, jobsOfPage, oneMore } from './keyset.js'
import {
  type BoefjeMetaRow,
  boefjeMetaColumns,
  instantOf,
  type RawFileRow,
  rawFileColumns,
  toBoefjeMeta,
  toRawFile,
} from './rows.js'
import { boefjeMeta, normalizerMeta, rawFile, signingProvider } from './schema.js'
import { listedJobColumns, listedWithJobs } from './slices.js'
import { translated } from './sqlstate.js'

type Jobs = Pick<
  MetaRepository,
  | 'insertBoefjeMeta'
  | 'findBoefjeMeta'
  | 'listBoefjeMeta'
  | 'endOfBoefjeMeta'
  | 'insertNormalizerMeta'
  | 'findNormalizerMeta'
  | 'listNormalizerMeta'
  | 'endOfNormalizerMeta'
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
    endOfBoefjeMeta: (filter, page) => {
      const where = boefjeMetaMatches(filter)
      return translated(() => endOfJobs(db, boefjeMeta, where, page, filter.descending))
    },
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
    findNormalizerMeta: (id) => translated(() => findNormalizerMeta(db, id)),
    listNormalizerMeta: (filter, page) => translated(() => listNormalizerMeta(db, filter, page)),
    endOfNormalizerMeta: (filter, page) => {
      const where = normalizerMetaMatches(filter)
      return translated(() => endOfJobs(db, normalizerMeta, where, page, filter.descending))
    },
  }
}

async function findBoefjeMeta(db: NodePgDatabase, id: Uuid): Promise<BoefjeMeta | undefined> {
  const [row] = await db.select(boefjeMetaColumns).from(boefjeMeta).where(eq(boefjeMeta.id, id))
  return row && toBoefjeMeta(row)
}

function boefjeMetaMatches(filter: BoefjeMetaFilter): SQL | undefined {
  const { organization, boefjeId, inputOoi } = filter
  return and(
    eq(boefjeMeta.organization, organization),
    boefjeId === undefined ? undefined : eq(boefjeMeta.boefjeId, boefjeId),
    inputOoi === null ? isNull(boefjeMeta.inputOoi) : undefined,
    typeof inputOoi === 'string' ? eq(boefjeMeta.inputOoi, inputOoi) : undefined,
  )
}

async function listBoefjeMeta(
  db: NodePgDatabase,
  filter: BoefjeMetaFilter,
  page: Page<JobKey>,
): Promise<Listed<BoefjeMeta, JobKey>> {
  const { descending } = filter
  const found = await db
    .select({ job: listedJobColumns(page), beyond: isBeyond(boefjeMeta, page, descending) })
    .from(boefjeMeta)
    .where(jobsOfPage(boefjeMeta, boefjeMetaMatches(filter), page, descending))
    .orderBy(...jobOrder(boefjeMeta, descending))
    .limit(oneMore(page))
    .offset(page.offset)
  const toRow = ({ job }: { readonly job: BoefjeMetaRow }): BoefjeMeta => toBoefjeMeta(job)
  return listedWithJobs(db, found, page, toRow, ({ job }) => jobKey(job))
}

/** The columns of a normalizer meta and its raw file, without the job. */
const normalizerMetaColumns = {
  id: normalizerMeta.id,
  normalizerId: normalizerMeta.normalizerId,
  normalizerVersion: normalizerMeta.normalizerVersion,
  startedAt: sql<string | null>`${normalizerMeta.startedAt}::text`,
  endedAt: sql<string | null>`${normalizerMeta.endedAt}::text`,
  raw: rawFileColumns,
  signingProviderUrl: signingProvider.url,
}

async function findNormalizerMeta(
  db: NodePgDatabase,
  id: Uuid,
): Promise<NormalizerMeta | undefined> {
  const [row] = await db
    .select({ ...normalizerMetaColumns, job: boefjeMetaColumns })
    .from(normalizerMeta)
    .innerJoin(rawFile, eq(rawFile.id, normalizerMeta.rawFileId))
    .innerJoin(boefjeMeta, eq(boefjeMeta.id, rawFile.boefjeMetaId))
    .leftJoin(signingProvider, eq(signingProvider.id, rawFile.signingProviderId))
    .where(eq(normalizerMeta.id, id))
  return row && toNormalizerMeta(row)
}

function normalizerMetaMatches(filter: NormalizerMetaFilter): SQL | undefined {
  const { organization, normalizerId, rawId } = filter
  return and(
    eq(normalizerMeta.organization, organization),
    normalizerId === undefined ? undefined : eq(normalizerMeta.normalizerId, normalizerId),
    rawId === undefined ? undefined : eq(normalizerMeta.rawFileId, rawId),
  )
}

async function listNormalizerMeta(
  db: NodePgDatabase,
  filter: NormalizerMetaFilter,
  page: Page<JobKey>,
): Promise<Listed<NormalizerMeta, JobKey>> {
  const { descending } = filter
  const beyond = isBeyond(normalizerMeta, page, descending)
  const found = await db
    .select({ ...normalizerMetaColumns, job: listedJobColumns(page), beyond })
    .from(normalizerMeta)
    .innerJoin(rawFile, eq(rawFile.id, normalizerMeta.rawFileId))
    .innerJoin(boefjeMeta, eq(boefjeMeta.id, rawFile.boefjeMetaId))
    .leftJoin(signingProvider, eq(signingProvider.id, rawFile.signingProviderId))
    .where(jobsOfPage(normalizerMeta, normalizerMetaMatches(filter), page, descending))
    .orderBy(...jobOrder(normalizerMeta, descending))
    .limit(oneMore(page))
    .offset(page.offset)
  return listedWithJobs(db, found, page, toNormalizerMeta, jobKey)
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
