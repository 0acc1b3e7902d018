/** Finds the regular expressions of TypeScript files, without a compiler. */

export interface Literal {
  readonly file: string
  readonly line: number
  readonly source: string
  readonly flags: string
}

/** After these words and signs a slash begins a regular expression; else it divides. */
const BEFORE =
  /(?:^|[=(,:[!&|?{};+\-*%<>~^]|\b(?:return|typeof|case|in|of|void|throw|yield|await))$/

/**
 * The regular expression literals of a file.
 * @throws Error for one that does not end on its line: the scanner has lost its way
 */
export function literalsIn(file: string, text: string): Literal[] {
  const found: Literal[] = []
  /** Depth of braces of each template that is open. */
  const templates: number[] = []
  let code = ''
  let at = 0
  const lineOf = (index: number): number => text.slice(0, index).split('\n').length

  const skipTemplate = (): void => {
    for (; at < text.length; at++) {
      if (text[at] === '\\') at++
      else if (text[at] === '`') {
        at++
        return
      } else if (text.startsWith('${', at)) {
        at += 2
        templates.push(0)
        code = '{'
        return
      }
    }
  }

  while (at < text.length) {
    const sign = text[at] ?? ''
    if (text.startsWith('//', at) || (at === 0 && text.startsWith('#!'))) {
      at = endOf(text, '\n', at)
    } else if (text.startsWith('/*', at)) {
      at = endOf(text, '*/', at + 2) + 2
    } else if (sign === "'" || sign === '"') {
      at = stringEnd(text, at)
      code = "''"
    } else if (sign === '`') {
      at++
      code = "''"
      skipTemplate()
    } else if (sign === '/' && BEFORE.test(code.trimEnd())) {
      const end = literalEnd(text, at)
      if (end < 0) throw new Error(`${file}:${lineOf(at)}: a regular expression without an end`)
      const flags = /^[a-z]*/.exec(text.slice(end + 1, end + 10))?.[0] ?? ''
      found.push({ file, line: lineOf(at), source: text.slice(at + 1, end), flags })
      at = end + 1 + flags.length
      code = "''"
    } else {
      const open = templates.length - 1
      const depth = templates[open]
      at++
      code = (code + sign).slice(-20)
      if (depth === undefined) continue
      if (sign === '{') templates[open] = depth + 1
      if (sign === '}' && depth === 0) {
        templates.pop()
        code = "''"
        skipTemplate()
      } else if (sign === '}') templates[open] = depth - 1
    }
  }
  return found
}

function endOf(text: string, mark: string, from: number): number {
  const end = text.indexOf(mark, from)
  return end < 0 ? text.length : end
}

function stringEnd(text: string, start: number): number {
  let at = start + 1
  while (at < text.length && text[at] !== text[start]) at += text[at] === '\\' ? 2 : 1
  return at + 1
}

/** Index of the slash that ends a literal, -1 when there is none on its line. */
function literalEnd(text: string, start: number): number {
  let inClass = false
  for (let at = start + 1; at < text.length && text[at] !== '\n'; at++) {
    const sign = text[at]
    if (sign === '\\') at++
    else if (sign === '[') inClass = true
    else if (sign === ']') inClass = false
    else if (sign === '/' && !inClass) return at
  }
  return -1
}
