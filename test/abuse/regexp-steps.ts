/** Counts the steps of a backtracking matcher, and makes texts that take it many. */
import { sampleOf, type Tree } from './regexp-tree.js'

/** More is as good as endless. */
export const MOST_STEPS = 300_000

type Repeat = Extract<Tree, { kind: 'repeat' }>

class Endless extends Error {}

/**
 * Steps to find all matches in a text, as `matchAll` and `replace` with `g` look for them; without
 * `g` the first one. At most `MOST_STEPS`. A matcher without any cleverness: real ones take fewer.
 */
export function stepsOf(tree: Tree, flags: string, text: string): number {
  let steps = 0
  const groups: (readonly [number, number] | undefined)[] = []
  const multiline = flags.includes('m')
  const isWord = (at: number): boolean => /\w/.test(text[at] ?? ' ')
  const isNewLine = (at: number): boolean => /[\n\r\u2028\u2029]/.test(text[at] ?? ' ')

  const atEdge = (sign: string, at: number): boolean => {
    if (sign === '^') return at === 0 || (multiline && isNewLine(at - 1))
    if (sign === '$') return at === text.length || (multiline && isNewLine(at))
    return (isWord(at - 1) !== isWord(at)) === (sign === 'b')
  }

  type Next = (at: number) => number
  const NO = -1

  /** Where the match ends, or NO. */
  const run = (tree: Tree, at: number, next: Next): number => {
    if (++steps > MOST_STEPS) throw new Endless()
    switch (tree.kind) {
      case 'set':
        return at < text.length && tree.has(text[at] ?? '') ? next(at + 1) : NO
      case 'all':
        return runAll(tree.parts, 0, at, next)
      case 'any':
        for (const choice of tree.choices) {
          const end = run(choice, at, next)
          if (end !== NO) return end
        }
        return NO
      case 'group': {
        const before = groups[tree.number]
        const end = run(tree.tree, at, (to) => {
          groups[tree.number] = [at, to]
          return next(to)
        })
        if (end === NO) groups[tree.number] = before
        return end
      }
      case 'repeat':
        return tree.tree.kind === 'set'
          ? runSigns(tree.tree.has, tree, at, next)
          : runRepeat(tree, 0, at, next)
      case 'edge':
        return atEdge(tree.sign, at) ? next(at) : NO
      case 'ahead':
        return (run(tree.tree, at, (to) => to) !== NO) !== tree.negative ? next(at) : NO
      case 'back': {
        const [from, to] = groups[tree.number] ?? [0, 0]
        const wanted = text.slice(from, to)
        return text.startsWith(wanted, at) ? next(at + wanted.length) : NO
      }
    }
  }

  const runAll = (parts: readonly Tree[], index: number, at: number, next: Next): number => {
    const part = parts[index]
    return part ? run(part, at, (to) => runAll(parts, index + 1, to, next)) : next(at)
  }

  /** Without recursion: a stack is not deep enough for a turn each. */
  const runSigns = (
    has: (sign: string) => boolean,
    { min, max, lazy }: Repeat,
    at: number,
    next: Next,
  ): number => {
    const most = lazy ? min : max
    let to = at
    const forward = (): boolean => {
      if (++steps > MOST_STEPS) throw new Endless()
      if (to >= text.length || !has(text[to] ?? '')) return false
      to++
      return true
    }
    while (to - at < most && forward());
    for (;;) {
      if (to - at < min) return NO
      const end = next(to)
      if (end !== NO) return end
      if (++steps > MOST_STEPS) throw new Endless()
      if (!lazy) to--
      else if (to - at >= max || !forward()) return NO
    }
  }

  const runRepeat = (tree: Repeat, count: number, at: number, next: Next): number => {
    const more = (): number =>
      count < tree.max
        ? run(tree.tree, at, (to) =>
            // An empty turn beyond the least brings nothing.
            to === at && count >= tree.min ? NO : runRepeat(tree, count + 1, to, next),
          )
        : NO
    if (count < tree.min) return more()
    const [first, second] = tree.lazy ? [() => next(at), more] : [more, () => next(at)]
    const end = first()
    return end === NO ? second() : end
  }

  try {
    for (let at = 0; at <= text.length; ) {
      const end = run(tree, at, (to) => to)
      if (end !== NO && !flags.includes('g')) break
      if (end === NO && flags.includes('y')) break
      at = end === NO || end === at ? at + 1 : end
    }
  } catch (error) {
    if (!(error instanceof Endless)) throw error
  }
  return steps
}

/** Texts of a shape, of any length. */
export interface Pump {
  readonly before: string
  readonly again: string
  readonly after: string
}

export const pumped = ({ before, again, after }: Pump, times: number): string =>
  before + again.repeat(times) + after

/** What ends a text so that no match does. */
const BREAKERS = ['', '\0', '!', '\n', '"', ' x']

/** Texts on which an expression may take long: each of its repeats, turned many times, then cut. */
export function pumpsOf(tree: Tree, most: { signs: number; pairs: number }): Pump[] {
  const befores = new Set(['', '!'])
  const agains = new Set<string>()
  const walk = (part: Tree, before: string): void => {
    switch (part.kind) {
      case 'set':
        agains.add(part.sample)
        break
      case 'all': {
        let so = before
        for (const each of part.parts) {
          walk(each, so)
          so += sampleOf(each)
        }
        break
      }
      case 'any':
        for (const each of part.choices) walk(each, before)
        break
      case 'repeat':
        befores.add(before)
        agains.add(sampleOf(part.tree))
        walk(part.tree, before)
        break
      case 'group':
      case 'ahead':
        walk(part.tree, before)
        break
    }
  }
  walk(tree, '')
  agains.add(sampleOf(tree))
  agains.delete('')
  const signs = [...agains].slice(0, most.signs)
  // A sign that two neighbours share, such as a space, makes the worst texts.
  const pairs = signs.flatMap((a) => signs.filter((b) => a !== b).map((b) => a + b))
  return [...befores].flatMap((before) =>
    [...signs, ...pairs.slice(0, most.pairs)].flatMap((again) =>
      BREAKERS.map((after) => ({ before, again, after })),
    ),
  )
}
