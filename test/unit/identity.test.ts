import { expect, it } from 'vitest'
import { identity } from '../../src/raw/middleware/identity.js'
import { fileMiddlewareContract } from '../contracts/file-middleware.contract.js'

fileMiddlewareContract('identity', () => identity)

it('is transparent and copies nothing', () => {
  const source = [Buffer.from('x')]
  expect(identity.transparent).toBe(true)
  expect(identity.encode(source)).toEqual({ stored: source, sealedKey: null })
  const asked: number[] = []
  const stored = {
    size: 9,
    read: (start: number, end: number) => {
      asked.push(start, end)
      return source
    },
  }
  expect(identity.decode(stored, { start: 3, end: 7 }, { size: 9, sealedKey: null })).toBe(source)
  expect(asked).toEqual([3, 7])
})
