import { describe, expect, it } from 'vitest'
import { BodyBudget } from '../../src/api/body-budget.js'

const MIB = 1024 * 1024
const TOO_MANY = expect.objectContaining({ status: 503 })

describe('the budget of large bodies', () => {
  it('refuses what would be too much, and takes it when there is room again', () => {
    const budget = new BodyBudget(10 * MIB)
    const first = budget.share()
    first.grow(6 * MIB)
    const second = budget.share()
    expect(() => second.grow(5 * MIB)).toThrow(TOO_MANY)
    first.release()
    second.grow(5 * MIB)
    second.grow(10 * MIB)
    expect(() => second.grow(10 * MIB + 1)).toThrow(TOO_MANY)
  })

  it('counts a body once while it grows, and no less than was announced', () => {
    const budget = new BodyBudget(10 * MIB)
    const share = budget.share()
    share.grow(8 * MIB)
    for (let size = 0; size <= 8 * MIB; size += MIB / 2) {
      share.grow(size)
      expect(() => budget.share().grow(3 * MIB)).toThrow(TOO_MANY)
    }
    share.release()
    share.release()
    budget.share().grow(10 * MIB)
  })

  it('lets small bodies pass', () => {
    const budget = new BodyBudget(2 * MIB)
    budget.share().grow(2 * MIB)
    for (let i = 0; i < 100; i++) budget.share().grow(MIB)
    expect(() => budget.share().grow(MIB + 1)).toThrow(TOO_MANY)
  })
})
