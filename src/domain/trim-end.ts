/**
 * A text without those characters at its end. In time that grows with the text: `/x+$/` looks at the
 * rest of each run of `x` anew from every place in it, which somebody can make take long.
 * @param drop tells for one UTF-16 unit whether it goes
 */
export function trimEnd(text: string, drop: (unit: string) => boolean): string {
  let end = text.length
  while (end > 0 && drop(text[end - 1] ?? '')) end--
  return text.slice(0, end)
}

/** A path or URL without slashes at its end. */
export function withoutSlashes(text: string): string {
  return trimEnd(text, (unit) => unit === '/')
}
