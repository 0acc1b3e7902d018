/** The link from a page of a list to the next. */
import type { AppContext } from './route.js'

/** Parameters that say where a page begins. */
const BEGINNINGS = new Set(['after', 'offset'])

/** Longest link in characters: proxies refuse answers whose head is longer than some 4 KB. */
const MAX_LINK = 3000

/** Headers of a list's answer, for the OpenAPI document. */
export const PAGE_HEADERS = {
  Link: 'Leads to the next page: `<target>; rel="next"`. There is none on the last page.',
}

/**
 * Headers of a page: `Link` (RFC 8288) to the next one, which has the parameters of this request
 * as they were sent, and begins after `cursor`. The target has no scheme and host: those are the
 * proxy's business. No header when there is no cursor, or the query is too long to be repeated.
 */
export function pageHeaders(c: AppContext, cursor: string | undefined): Record<string, string> {
  if (cursor === undefined) return {}
  // The parser leaves nothing in it that ends a target or is not ASCII.
  const { search } = new URL(c.req.url)
  const kept = search.slice(1).split('&').filter(isKept)
  const link = `<${c.get('route')}?${[...kept, `after=${cursor}`].join('&')}>; rel="next"`
  return link.length > MAX_LINK ? {} : { link }
}

function isKept(parameter: string): boolean {
  const [name] = new URLSearchParams(parameter).keys()
  return name !== undefined && !BEGINNINGS.has(name)
}
