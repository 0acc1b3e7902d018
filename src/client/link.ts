/** The `Link` field: RFC 8288. */

const PARAMETER = String.raw`[ \t]*;[ \t]*([^\s=;,]+)(?:[ \t]*=[ \t]*(?:"([^"]*)"|([^\s";,]*)))?`
const LINK = new RegExp(`<([^<>]*)>((?:${PARAMETER})*)`, 'g')

/** Target of the first link `rel="next"`, as it is written. */
export function nextLink(header: string | null): string | undefined {
  for (const [, target, parameters = ''] of (header ?? '').matchAll(LINK)) {
    for (const [, name, quoted, token = ''] of parameters.matchAll(new RegExp(PARAMETER, 'gy'))) {
      const types = (quoted ?? token).toLowerCase().split(/\s+/)
      if (name?.toLowerCase() === 'rel' && types.includes('next')) return target
    }
  }
  return undefined
}
