/** Conditional requests (RFC 9110, section 13) for contents, which never change under their tag. */

interface EntityTag {
  readonly weak: boolean
  /** With its quotes. */
  readonly opaque: string
}

/** The conditional headers of a request; those by date do not count, as contents have no dates. */
export interface Conditions {
  readonly ifMatch: string | undefined
  readonly ifNoneMatch: string | undefined
}

/**
 * Which status the conditions lead to, in the order of section 13.2.2; undefined when the request
 * is to be answered as if it had none. A malformed list has no tag that matches.
 * @param etag the strong tag of the content, with its quotes
 */
export function evaluate(
  { ifMatch, ifNoneMatch }: Conditions,
  etag: string,
): 304 | 412 | undefined {
  if (ifMatch !== undefined && !matches(ifMatch, etag, 'strong')) return 412
  if (ifNoneMatch !== undefined && matches(ifNoneMatch, etag, 'weak')) return 304
  return undefined
}

/**
 * Whether a `Range` header counts beside this `If-Range` (section 13.1.5): only the very tag does.
 * A weak tag and a date never match.
 */
export function ifRangeMatches(ifRange: string | undefined, etag: string): boolean {
  return ifRange === undefined || ifRange.trim() === etag
}

function matches(header: string, etag: string, comparison: 'strong' | 'weak'): boolean {
  if (header.trim() === '*') return true
  const tags = parseEntityTags(header) ?? []
  return tags.some(({ weak, opaque }) => opaque === etag && (comparison === 'weak' || !weak))
}

/** A list of entity tags; undefined when it is none. Commas may be inside a tag. */
function parseEntityTags(header: string): EntityTag[] | undefined {
  const tags: EntityTag[] = []
  const element = /[ \t]*(?:(W\/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*)?(,|$)/y
  for (let separator: string | undefined = ','; separator === ','; ) {
    const match = element.exec(header)
    if (!match) return undefined
    const [, weak, opaque] = match
    if (opaque !== undefined) tags.push({ weak: weak !== undefined, opaque })
    separator = match[3]
  }
  return tags
}
