import { expect, it } from 'vitest'
import { identity } from '../../src/raw/middleware/identity.js'
import { fileMiddlewareContract } from '../contracts/file-middleware.contract.js'

fileMiddlewareContract('identity', () => identity)

it('is transparent and copies nothing', () => {
  const source = [Buffer.from('x')]
  expect(identity.transparent).toBe(true)
  expect(identity.encode(source)).toBe(source)
  expect(identity.decode(source)).toBe(source)
})
