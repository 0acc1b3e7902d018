import type { End, Listed, Page, Slice } from '../domain/meta-repository.js'

/** Most rows that are read at once; the repository gives fewer of long ones. */
const SLICE_ROWS = 100
/** Fewest that are asked for. */
const LEAST_ROWS = 4

/** How a list is read in slices. */
export interface ListSource<Row, Key> {
  slice(page: Page<Key>): Promise<Listed<Row, Key>>
  end(page: Page<Key>): Promise<End<Key>>
}

/** A list whose first rows are at hand. */
export interface OpenList<Row, Key> {
  /** All of them when they are one slice. */
  readonly first: readonly Row[]
  readonly isWhole: boolean
  /**
   * Each time from the beginning; slices after the first are read when they are wanted. Throws the
   * reason of the signal.
   */
  readonly rows: AsyncIterable<Row>
  /** Where the next page begins, as in `Listed`. */
  readonly next: Key | undefined
}

/**
 * Opens a list of any length, so that memory does not grow with it. Where a list of several slices
 * ends is settled now; what is added or deleted before that meanwhile may be in it or not.
 * @param signal ends it, its rows as well: then no other slice is read, and no other row given
 * @throws what the source throws; the reason of `signal`
 */
export async function openList<Row, Key>(
  source: ListSource<Row, Key>,
  page: Page<Key>,
  signal?: AbortSignal,
): Promise<OpenList<Row, Key>> {
  const { limit } = page
  signal?.throwIfAborted()
  const { rows, next } = await source.slice({ ...page, limit: Math.min(limit, SLICE_ROWS) })
  signal?.throwIfAborted()
  const rest = limit - rows.length
  const end =
    next === undefined || rest === 0
      ? { last: undefined, more: next !== undefined }
      : await source.end({ after: next, limit: rest, offset: 0 })
  const { last: until, more } = end
  if (next === undefined || until === undefined) {
    return { first: rows, isWhole: true, rows: inTurn(rows, signal), next: more ? next : undefined }
  }
  const part = { after: next, until, limit: nextLimit(rows) }
  const all = { [Symbol.asyncIterator]: () => follow(source, rows, part, signal) }
  return { first: rows, isWhole: false, rows: all, next: more ? until : undefined }
}

function inTurn<Row>(rows: readonly Row[], signal: AbortSignal | undefined): AsyncIterable<Row> {
  return { [Symbol.asyncIterator]: () => each(rows, signal) }
}

async function* each<Row>(
  rows: readonly Row[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Row> {
  for (const row of rows) {
    // What is done for a row may take long: a content is opened, say.
    signal?.throwIfAborted()
    yield row
  }
}

async function* follow<Row, Key>(
  source: ListSource<Row, Key>,
  first: readonly Row[],
  { until, ...begin }: Slice<Key>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Row> {
  yield* each(first, signal)
  let { after, limit } = begin
  do {
    signal?.throwIfAborted()
    const part = await source.slice({ after, until, limit, offset: 0 })
    yield* each(part.rows, signal)
    after = part.next
    limit = nextLimit(part.rows)
  } while (after !== undefined)
}

/** Rows that a slice has no room for are read in vain: after few rows, not many more are asked for. */
function nextLimit(rows: readonly unknown[]): number {
  return Math.min(SLICE_ROWS, Math.max(LEAST_ROWS, 2 * rows.length))
}
