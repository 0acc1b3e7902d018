/** The file name of a `Content-Disposition`: RFC 6266, with RFC 8187 for `filename*`. */
import { safeFileName } from './text.js'

/** One parameter: its name, its value as a quoted text or as it is, and what should not be there. */
const PARAMETER =
  /[ \t]*;[ \t]*([^\s=;"]*)(?:[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s";]*)))?[^;"]*/gy

/** The name as one that is safe to make in a folder; `filename*` wins. Undefined when there is none. */
export function fileNameOf(header: string | null): string | undefined {
  if (header === null) return undefined
  const found = new Map<string, string>()
  // One after the other, as a quoted text may look like a parameter.
  const parameters = header.slice(/^[^;]*/.exec(header)?.[0].length)
  for (const [, name = '', quoted, token = ''] of parameters.matchAll(PARAMETER)) {
    const key = name.toLowerCase()
    if (!found.has(key)) found.set(key, quoted?.replace(/\\(.)/g, '$1') ?? token)
  }
  const extended = /^utf-8'[^']*'(.+)$/i.exec(found.get('filename*') ?? '')?.[1]
  const name = percentDecoded(extended) ?? found.get('filename')
  return name === undefined ? undefined : safeFileName(name)
}

function percentDecoded(text: string | undefined): string | undefined {
  try {
    return text === undefined ? undefined : decodeURIComponent(text)
  } catch {
    return undefined
  }
}
