/**
 * Slices of lists: as many rows as memory should hold. Each repeats its job, whose `arguments` and
 * `environment` may be megabytes. Short ones are read with the rows; a long one is read by itself,
 * once for all rows of a slice.
 */
import { eq, type SQL, sql } from 'drizzle-orm'
import type { NodePgDatabase } from 'drizzle-orm/node-postgres'
import type { PgColumn } from 'drizzle-orm/pg-core'
import type { Listed, Slice } from '../domain/meta-repository.js'
import type { Uuid } from '../domain/models.js'
import { oneMore } from './keyset.js'
import { type BoefjeMetaRow, boefjeMetaColumns, type RawFileRow } from './rows.js'
import { boefjeMeta } from './schema.js'

/** A slice that is longer than this in characters is cut short, after the row that made it so. */
const SLICE_LENGTH = 4 * 1024 * 1024

/** In place of a text that was not read, as it is long: no JSON is empty. */
const LONG = ''

/** The columns of jobs, with the texts that are short: so that those of a whole slice have room. */
export function listedJobColumns(slice: Slice<unknown>) {
  const most = Math.floor(SLICE_LENGTH / oneMore(slice) / 2)
  // Even compressed it is too long: then it need not be decompressed to be measured.
  const short = <T extends string | null>(column: PgColumn, text: SQL<T>) => sql<T>`case
    when pg_column_size(${column}) > ${most}::float8 then ${LONG}
    when octet_length(${text}) > ${most}::float8 then ${LONG} else ${text} end`
  const { arguments: args, environment } = boefjeMetaColumns
  return {
    ...boefjeMetaColumns,
    arguments: short(boefjeMeta.arguments, args),
    environment: short(boefjeMeta.environment, environment),
  }
}

interface Found {
  readonly job: BoefjeMetaRow
  readonly raw?: Pick<RawFileRow['raw'], 'mimeTypes' | 'hashRetrievalLink'>
  readonly beyond: boolean
}

/** The slice, from the rows that were found with `oneMore` and `listedJobColumns`. */
export async function listedWithJobs<F extends Found, Row, Key>(
  db: NodePgDatabase,
  found: readonly F[],
  { limit }: Slice<Key>,
  rowOf: (row: F) => Row,
  keyOf: (row: F) => Key,
): Promise<Listed<Row, Key>> {
  const longJobs = new Map<Uuid, BoefjeMetaRow | undefined>()
  let length = 0
  const jobOf = async ({ job }: F): Promise<BoefjeMetaRow | undefined> => {
    const isLong = job.arguments === LONG || job.environment === LONG
    if (isLong && longJobs.has(job.id)) return longJobs.get(job.id)
    const whole = isLong ? await findJob(db, job.id) : job
    if (isLong) longJobs.set(job.id, whole)
    length += (whole?.arguments.length ?? 0) + (whole?.environment?.length ?? 0)
    return whole
  }
  const inside = found.filter(({ beyond }) => !beyond)
  const rows: Row[] = []
  let last: F | undefined
  for (const row of inside.slice(0, limit)) {
    if (length > SLICE_LENGTH) return { rows, next: last && keyOf(last), length }
    last = row
    if (row.raw) length += lengthOf(row.raw)
    const job = await jobOf(row)
    // A job that was deleted just now has taken what belongs to it along.
    if (job) rows.push(rowOf({ ...row, job }))
  }
  const next = last && inside.length > limit ? keyOf(last) : undefined
  return { rows, next, length }
}

/** Characters of the MIME types, of which there may be many, and of the link, which may be a token. */
export function lengthOf({
  mimeTypes,
  hashRetrievalLink,
}: Pick<RawFileRow['raw'], 'mimeTypes'> & { readonly hashRetrievalLink?: string | null }): number {
  const types = (mimeTypes ?? []).reduce((sum, { length }) => sum + length, 0)
  return types + (hashRetrievalLink?.length ?? 0)
}

async function findJob(db: NodePgDatabase, id: Uuid): Promise<BoefjeMetaRow | undefined> {
  const [row] = await db.select(boefjeMetaColumns).from(boefjeMeta).where(eq(boefjeMeta.id, id))
  return row
}
