import { BytesError } from '../domain/errors.js'
import type { MetaRepository, MimeTypeCount, RawFileFilter } from '../domain/meta-repository.js'
import { openList } from './lists.js'

/**
 * Most MIME types in one answer, and those that are read at once, of up to 64 characters each.
 * Clients choose them, so there may be millions; and as each slice looks at all raw files, there
 * must be few slices.
 */
const MOST_TYPES = 100_000
const SLICE_TYPES = 20_000

/**
 * Counts the raw files of each MIME type, so that memory does not grow with their number.
 * @throws BytesError `invalid_value` when there are more than 100,000
 */
export async function openMimeTypes(
  meta: Pick<MetaRepository, 'countMimeTypes' | 'endOfMimeTypes'>,
  filter: RawFileFilter,
): Promise<AsyncIterable<MimeTypeCount>> {
  const { rows, next } = await openList<MimeTypeCount, string>(
    {
      slice: (page) => meta.countMimeTypes(filter, page),
      end: (page) => meta.endOfMimeTypes(filter, page),
    },
    { limit: MOST_TYPES, offset: 0 },
    SLICE_TYPES,
  )
  if (next !== undefined) {
    const problem = `the raw files have more than ${MOST_TYPES} MIME types: ask for fewer files`
    throw new BytesError('invalid_value', problem)
  }
  return rows
}
