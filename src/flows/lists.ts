import type { End, Listed, Page } from '../domain/meta-repository.js'

/** Most rows that are read at once, if nothing else is said; the repository gives fewer of long ones. */
const SLICE_ROWS = 100
/** Fewest that are asked for. */
const LEAST_ROWS = 4

/** How a list is read in slices. */
export interface ListSource<Row, Key> {
  /** Called for another slice when nothing of the one before is in memory any more. */
  slice(page: Page<Key>): Promise<Pick<Listed<Row, Key>, 'rows' | 'next'>>
  end(page: Page<Key>): Promise<End<Key>>
  /** Most rows that are read at once. */
  readonly sliceRows?: number
}

/** A list whose first rows are at hand. */
export interface OpenList<Row, Key> {
  /** All rows, when they are one slice. */
  readonly whole: readonly Row[] | undefined
  /**
   * Each time from the beginning; slices are read when they are wanted, but for the first one, which
   * is read again only for the second time. Throws the reason of the signal.
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
  const begin = { ...page, limit: Math.min(limit, mostRows(source)) }
  const { rows, next } = await source.slice(begin)
  signal?.throwIfAborted()
  const rest = limit - rows.length
  const end =
    next === undefined || rest === 0
      ? { last: undefined, more: next !== undefined }
      : await source.end({ after: next, limit: rest, offset: 0 })
  const { last: until, more } = end
  if (next === undefined || until === undefined) {
    const whole = { [Symbol.asyncIterator]: () => new Rows(source, undefined, rows, signal) }
    return { whole: rows, rows: whole, next: more ? next : undefined }
  }
  return {
    whole: undefined,
    rows: following(source, { ...begin, until }, { rows, next }, signal),
    next: more ? until : undefined,
  }
}

/** @param first for the first time; it is not kept for longer */
function following<Row, Key>(
  source: ListSource<Row, Key>,
  begin: Page<Key>,
  first: Pick<Listed<Row, Key>, 'rows' | 'next'> | undefined,
  signal: AbortSignal | undefined,
): AsyncIterable<Row> {
  let unread = first
  return {
    [Symbol.asyncIterator]: () => {
      if (unread === undefined) return new Rows(source, begin, [], signal)
      const { rows, next: after } = unread
      unread = undefined
      const page = { after, until: begin.until, limit: nextLimit(source, rows), offset: 0 }
      return new Rows(source, page, rows, signal)
    },
  }
}

/** The rows of a list. No generator: one that waits for a slice may keep the one before in memory. */
class Rows<Row, Key> implements AsyncIterator<Row> {
  readonly #source: ListSource<Row, Key>
  readonly #signal: AbortSignal | undefined
  #page: Page<Key> | undefined
  #rows: IterableIterator<Row>

  /** @param page what follows the rows; undefined when nothing does */
  constructor(
    source: ListSource<Row, Key>,
    page: Page<Key> | undefined,
    rows: readonly Row[],
    signal: AbortSignal | undefined,
  ) {
    this.#source = source
    this.#signal = signal
    this.#page = page
    this.#rows = rows.values()
  }

  async next(): Promise<IteratorResult<Row>> {
    for (;;) {
      // Before each row: what is done for one may take long, such as to open a content.
      this.#signal?.throwIfAborted()
      const row = this.#rows.next()
      if (!row.done) return row
      // At its end an iterator lets go of its rows.
      if (this.#page === undefined) return { done: true, value: undefined }
      await this.#read(this.#page)
    }
  }

  async #read(page: Page<Key>): Promise<void> {
    const { rows, next: after } = await this.#source.slice(page)
    this.#rows = rows.values()
    const { until } = page
    this.#page =
      after === undefined
        ? undefined
        : { after, until, limit: nextLimit(this.#source, rows), offset: 0 }
  }
}

/** Rows that a slice has no room for are read in vain: after few rows, not many more are asked for. */
function nextLimit<Row, Key>(source: ListSource<Row, Key>, rows: readonly Row[]): number {
  return Math.min(mostRows(source), Math.max(LEAST_ROWS, 2 * rows.length))
}

const mostRows = <Row, Key>({ sliceRows = SLICE_ROWS }: ListSource<Row, Key>): number => sliceRows
