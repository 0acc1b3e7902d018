/**
 * Pages that begin after a row (keyset paging): the index is entered where the page begins, however
 * far that is, and rows that come or go between two pages shift nothing.
 */
import { and, asc, desc, isNotNull, isNull, type SQL, sql } from 'drizzle-orm'
import type { AnyPgColumn, PgTable } from 'drizzle-orm/pg-core'
import type { JobKey } from '../domain/cursor.js'
import type { Listed, Page, Slice } from '../domain/meta-repository.js'

/** One row more than the slice has tells whether others follow. */
export const oneMore = ({ limit }: Slice<unknown>): number => limit + 1

/** The slice, from the rows that were found with `oneMore`. */
export function listed<Found, Row, Key>(
  found: readonly Found[],
  { limit }: Slice<Key>,
  rowOf: (row: Found) => Row,
  keyOf: (row: Found) => Key,
): Listed<Row, Key> {
  const rows = found.slice(0, limit)
  const last = rows.at(-1)
  return { rows: rows.map(rowOf), next: last && found.length > limit ? keyOf(last) : undefined }
}

type Jobs = PgTable & { readonly startedAt: AnyPgColumn; readonly id: AnyPgColumn }

/** The order of jobs: by start time, then id. Those without a time are last, or first descending. */
export function jobOrder({ startedAt, id }: Jobs, descending: boolean): SQL[] {
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
