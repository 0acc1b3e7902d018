/**
 * Pages that begin after a row (keyset paging): the index is entered where the page begins, however
 * far that is, and rows that come or go between two pages shift nothing.
 */
import { and, asc, desc, isNotNull, isNull, type SQL, sql } from 'drizzle-orm'
import type { NodePgDatabase } from 'drizzle-orm/node-postgres'
import type { AnyPgColumn, PgTable } from 'drizzle-orm/pg-core'
import type { JobKey } from '../domain/cursor.js'
import { instantFromPostgres } from '../domain/instant.js'
import type { End, Page, Slice } from '../domain/meta-repository.js'
import type { boefjeMeta, normalizerMeta } from './schema.js'

/** One row more than the slice has tells whether others follow. */
export const oneMore = ({ limit }: Slice<unknown>): number => limit + 1

/** The end, from the last two keys of those that were found with `oneMore`, and their count. */
export function endOf<Found extends { readonly count: string }, Key>(
  [last, previous]: readonly Found[],
  { limit }: Slice<Key>,
  keyOf: (row: Found) => Key,
): End<Key> {
  const more = last !== undefined && Number(last.count) > limit
  const end = more ? previous : last
  return { last: end && keyOf(end), more }
}

type Columns = { readonly startedAt: AnyPgColumn; readonly id: AnyPgColumn }
type Jobs = PgTable & Columns
type JobTable = typeof boefjeMeta | typeof normalizerMeta

/** The order of jobs: by start time, then id. Those without a time are last, or first descending. */
export function jobOrder({ startedAt, id }: Columns, descending: boolean): SQL[] {
  const order = descending ? desc : asc
  return [order(startedAt), order(id)]
}

/** What the jobs of a page meet: the filter, and that they come after the page's key in `jobOrder`. */
export function jobsOfPage(
  table: Jobs,
  filter: SQL | undefined,
  page: Page<JobKey>,
  descending: boolean,
): SQL | undefined {
  if (!page.after) return filter
  const [first, second] = jobsAfter(table, page.after, descending)
  if (!second) return and(filter, first)
  // Joined by *or*, no index could be entered at the key: each part is looked up by itself.
  const order = sql.join(jobOrder(table, descending), sql`, `)
  const part = (place: SQL): SQL =>
    sql`(select ${table.id} from ${table} where ${and(filter, place)} order by ${order} limit ${page.offset + oneMore(page)})`
  return sql`${table.id} in (${part(first)} union all ${part(second)})`
}

/** Whether a job comes after the end of the list. It is no condition: that would be looked for to the end of the index. */
export function isBeyond(table: Jobs, { until }: Page<JobKey>, descending: boolean): SQL<boolean> {
  if (until === undefined) return sql<boolean>`false`
  const parts = jobsAfter(table, until, descending).map((part) => sql`(${part}) is true`)
  return sql<boolean>`(${sql.join(parts, sql` or `)})`
}

/** The sort key of a job, from its columns. */
export function jobKey({ startedAt, id }: { startedAt: string | null; id: string }): JobKey {
  return { startedAt: startedAt === null ? null : instantFromPostgres(startedAt), id }
}

/** Where a page of jobs ends. */
export async function endOfJobs(
  db: NodePgDatabase,
  table: JobTable,
  filter: SQL | undefined,
  page: Page<JobKey>,
  descending: boolean,
): Promise<End<JobKey>> {
  const keys = db
    .select({ startedAt: table.startedAt, id: table.id })
    .from(table)
    .where(jobsOfPage(table, filter, page, descending))
    .orderBy(...jobOrder(table, descending))
    .limit(oneMore(page))
    .offset(page.offset)
    .as('keys')
  const found = await db
    .select({
      startedAt: sql<string | null>`${keys.startedAt}::text`,
      id: keys.id,
      count: sql<string>`count(*) over ()`,
    })
    .from(keys)
    .orderBy(...jobOrder(keys, !descending))
    .limit(2)
  return endOf(found, page, jobKey)
}

/** One condition, or two that exclude each other. */
function jobsAfter({ startedAt, id }: Jobs, key: JobKey, descending: boolean): [SQL, SQL?] {
  const beyond = sql.raw(descending ? '<' : '>')
  if (key.startedAt === null) {
    const rest = sql`${startedAt} is null and ${id} ${beyond} ${key.id}::uuid`
    return descending ? [rest, isNotNull(startedAt)] : [rest]
  }
  const rest = sql`(${startedAt}, ${id}) ${beyond} (${key.startedAt}::timestamptz, ${key.id}::uuid)`
  return descending ? [rest] : [rest, isNull(startedAt)]
}
