import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Budget } from '../../src/flows/budget.js'

const MINUTE = 60_000

describe('a budget', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  it('never gives more than there is, and serves in order', async () => {
    const amounts = fc.array(fc.integer({ min: 0, max: 10 }), { minLength: 1, maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(amounts, fc.infiniteStream(fc.nat()), async (wanted, choices) => {
        const budget = new Budget(10)
        const served: number[] = []
        const held: { amount: number; release: () => void }[] = []
        const takers = wanted.map(async (amount, i) => {
          const release = await budget.take(amount, MINUTE)
          if (!release) throw new Error('it had time enough')
          served.push(i)
          held.push({ amount, release })
        })
        for (;;) {
          await vi.advanceTimersByTimeAsync(0)
          expect(held.reduce((sum, { amount }) => sum + amount, 0)).toBeLessThanOrEqual(10)
          if (held.length === 0) break
          const { value: choice } = choices.next()
          const [one] = held.splice((choice ?? 0) % held.length, 1)
          one?.release()
          // A second time it must do nothing.
          one?.release()
        }
        await Promise.all(takers)
        expect(served).toEqual(wanted.map((_, i) => i))
        expect(vi.getTimerCount()).toBe(0)
      }),
    )
  })

  it('lets nobody wait for ever, and those behind go on', async () => {
    const budget = new Budget(10)
    const release = await budget.take(6, MINUTE)
    const large = budget.take(10, 1000)
    const small = budget.take(4, MINUTE)
    await vi.advanceTimersByTimeAsync(999)
    const early = await Promise.race([large, small, Promise.resolve('both wait')])
    expect(early).toBe('both wait')
    await vi.advanceTimersByTimeAsync(1)
    expect(await large).toBeUndefined()
    expect(await small).toBeTypeOf('function')
    release?.()
    expect(await budget.take(6, MINUTE)).toBeTypeOf('function')
  })

  it('is left by those who are called off, and those behind go on', async () => {
    const budget = new Budget(10)
    const release = await budget.take(6, MINUTE)
    const gone = new AbortController()
    const large = budget.take(10, MINUTE, gone.signal)
    const small = budget.take(4, MINUTE)
    gone.abort()
    await expect(large).rejects.toBe(gone.signal.reason)
    const last = await small
    await expect(budget.take(1, MINUTE, gone.signal)).rejects.toBe(gone.signal.reason)
    last?.()
    release?.()
    expect(await budget.take(10, MINUTE)).toBeTypeOf('function')
    expect(vi.getTimerCount()).toBe(0)
  })

  it('is kept by those who are called off after they were served', async () => {
    const budget = new Budget(10)
    const gone = new AbortController()
    const release = await budget.take(10, MINUTE, gone.signal)
    gone.abort()
    const next = budget.take(1, MINUTE)
    expect(await Promise.race([next, Promise.resolve('it waits')])).toBe('it waits')
    release?.()
    expect(await next).toBeTypeOf('function')
  })

  it('refuses what could never be had', async () => {
    await expect(new Budget(10).take(11, MINUTE)).rejects.toThrow(RangeError)
  })
})
