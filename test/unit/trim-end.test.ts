import { describe, expect, it } from 'vitest'
import { trimEnd, withoutSlashes } from '../../src/domain/trim-end.js'

describe('the end of a text', () => {
  it.each([
    ['', ''],
    ['/', ''],
    ['a', 'a'],
    ['a///', 'a'],
    ['//a/b//', '//a/b'],
  ])('of %j without slashes is %j', (text, rest) => {
    expect(withoutSlashes(text)).toBe(rest)
  })

  it('is looked at once, however often its sign comes before', () => {
    let looked = 0
    const drop = (unit: string): boolean => {
      looked++
      return unit === '/'
    }
    expect(trimEnd(`${'/'.repeat(10_000)}a//`, drop)).toHaveLength(10_001)
    expect(looked).toBe(3)
  })
})
