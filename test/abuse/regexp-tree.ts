/** Regular expressions as trees, to count the steps that matching them takes. */

export type Tree =
  | { readonly kind: 'set'; readonly has: (sign: string) => boolean; readonly sample: string }
  | { readonly kind: 'all'; readonly parts: readonly Tree[] }
  | { readonly kind: 'any'; readonly choices: readonly Tree[] }
  | { readonly kind: 'group'; readonly tree: Tree; readonly number: number }
  | {
      readonly kind: 'repeat'
      readonly tree: Tree
      readonly min: number
      readonly max: number
      readonly lazy: boolean
    }
  | { readonly kind: 'edge'; readonly sign: '^' | '$' | 'b' | 'B' }
  | { readonly kind: 'ahead'; readonly tree: Tree; readonly negative: boolean }
  | { readonly kind: 'back'; readonly number: number }

/** Samples of a set are looked for among these, letters first. */
const SIGNS = [...Array(0x10000).keys()]
  .map((code) => String.fromCharCode(code))
  .sort((a, b) => Number(/\w/.test(b)) - Number(/\w/.test(a)))

/** @throws Error for what it does not know: look-behind, named groups, sets of sets */
export function parsePattern(source: string, flags: string): Tree {
  let at = 0
  let groups = 0

  const fail = (what: string): never => {
    throw new Error(`/${source}/${flags}: ${what} is not known here: teach it, or write it simpler`)
  }
  const take = (text: string): boolean => {
    if (!source.startsWith(text, at)) return false
    at += text.length
    return true
  }
  const match = (form: RegExp): RegExpExecArray | null => {
    form.lastIndex = at
    const found = form.exec(source)
    if (found) at += found[0].length
    return found
  }

  const choices = (): Tree => {
    const all = [sequence()]
    while (take('|')) all.push(sequence())
    return all.length === 1 && all[0] ? all[0] : { kind: 'any', choices: all }
  }

  const sequence = (): Tree => {
    const parts: Tree[] = []
    while (at < source.length && source[at] !== '|' && source[at] !== ')') parts.push(repeated())
    return { kind: 'all', parts }
  }

  const repeated = (): Tree => {
    const tree = atom()
    const found = match(/(?:([*+?])|\{(\d+)(,?)(\d*)\})(\??)/y)
    if (!found) return tree
    const [, sign, low, comma, high, lazy] = found
    const min = sign ? Number(sign === '+') : Number(low)
    const open = sign ? sign !== '?' : comma === ',' && high === ''
    const max = open ? Infinity : sign ? 1 : Number(high || low)
    return { kind: 'repeat', tree, min, max, lazy: lazy === '?' }
  }

  const inner = (): Tree => {
    const tree = choices()
    if (!take(')')) fail('a group without an end')
    return tree
  }

  const atom = (): Tree => {
    if (take('(?:')) return inner()
    if (take('(?=')) return { kind: 'ahead', tree: inner(), negative: false }
    if (take('(?!')) return { kind: 'ahead', tree: inner(), negative: true }
    if (take('(?')) fail('this group')
    if (take('(')) {
      const number = ++groups
      return { kind: 'group', tree: inner(), number }
    }
    if (take('^')) return { kind: 'edge', sign: '^' }
    if (take('$')) return { kind: 'edge', sign: '$' }
    const edge = match(/\\([bB])/y)?.[1]
    if (edge) return { kind: 'edge', sign: edge === 'b' ? 'b' : 'B' }
    const back = match(/\\([1-9])/y)?.[1]
    if (back) return { kind: 'back', number: Number(back) }
    const forms =
      /\\[pP]\{[^}]*\}|\\u\{[^}]*\}|\\u[\da-fA-F]{4}|\\x[\da-fA-F]{2}|\\c[A-Za-z]|\\[^k]|\[(?:[^\]\\]|\\.)*\]|[^\\]/suy
    const text = match(forms)?.[0] ?? fail('this escape')
    return setOf(text)
  }

  const known = new Map<string, Tree>()
  const setOf = (text: string): Tree => {
    const before = known.get(text)
    if (before) return before
    const form = new RegExp(`^(?:${text})$`, flags.replace(/[gymd]/g, ''))
    const seen = new Map<string, boolean>()
    const has = (sign: string): boolean => {
      const told = seen.get(sign) ?? form.test(sign)
      seen.set(sign, told)
      return told
    }
    const set: Tree = { kind: 'set', has, sample: SIGNS.find(has) ?? fail(`the set ${text}`) }
    known.set(text, set)
    return set
  }

  const tree = choices()
  if (at < source.length) fail(`what begins at ${at}`)
  return tree
}

/** A text that the tree matches, but for edges and what is ahead. */
export function sampleOf(tree: Tree): string {
  switch (tree.kind) {
    case 'set':
      return tree.sample
    case 'all':
      return tree.parts.map(sampleOf).join('')
    case 'any':
      return tree.choices[0] ? sampleOf(tree.choices[0]) : ''
    case 'group':
      return sampleOf(tree.tree)
    case 'repeat':
      return sampleOf(tree.tree).repeat(Math.max(tree.min, Math.min(1, tree.max)))
    default:
      return ''
  }
}
