import { BytesError } from '../domain/errors.js'
import type { MetaRepository, MimeTypeCount, RawFileFilter } from '../domain/meta-repository.js'
import type { Holding } from './answer-room.js'
import { type OpenList, openList } from './lists.js'

/**
 * Most MIME types in one answer, and those that are read at once, of up to 64 characters each.
 * Clients choose them, so there may be millions; and as each slice looks at all raw files, there
 * must be few slices.
 */
const MOST_TYPES = 100_000
const SLICE_TYPES = 20_000

/**
 * Counts the raw files of each MIME type, so that memory does not grow with their number.
 * @param signal as of `openList`
 * @throws BytesError `invalid_value` when there are more than 100,000
 */
export async function openMimeTypes(
  meta: Pick<MetaRepository, 'countMimeTypes' | 'endOfMimeTypes'>,
  filter: RawFileFilter,
  holding: Pick<Holding, 'holdPart'>,
  signal: AbortSignal,
): Promise<OpenList<MimeTypeCount, string>> {
  const list = await openList<MimeTypeCount, string>(
    {
      slice: (page) => holding.holdPart(() => meta.countMimeTypes(filter, page)),
      end: (page) => meta.endOfMimeTypes(filter, page),
      sliceRows: SLICE_TYPES,
    },
    { limit: MOST_TYPES, offset: 0 },
    signal,
  )
  if (list.next !== undefined) {
    const problem = `the raw files have more than ${MOST_TYPES} MIME types: ask for fewer files`
    throw new BytesError('invalid_value', problem)
  }
  return list
}
