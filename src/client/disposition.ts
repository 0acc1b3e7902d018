/** The file name of a `Content-Disposition`: RFC 6266, with RFC 8187 for `filename*`. */
import { safeFileName } from './text.js'

/** The name as one that is safe to make in a folder; `filename*` wins. Undefined when there is none. */
export function fileNameOf(header: string | null): string | undefined {
  if (header === null) return undefined
  const extended = /;[ \t]*filename\*[ \t]*=[ \t]*utf-8'[^']*'([^;\s]+)/i.exec(header)?.[1]
  const quoted = /;[ \t]*filename[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"/i.exec(header)?.[1]
  const token = /;[ \t]*filename[ \t]*=[ \t]*([^\s";]+)/i.exec(header)?.[1]
  const name = percentDecoded(extended) ?? quoted?.replace(/\\(.)/g, '$1') ?? token
  return name === undefined ? undefined : safeFileName(name)
}

function percentDecoded(text: string | undefined): string | undefined {
  try {
    return text === undefined ? undefined : decodeURIComponent(text)
  } catch {
    return undefined
  }
}
