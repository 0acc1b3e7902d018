import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createTurns } from '../../src/hashing/rfc3161/turns.js'

describe('createTurns', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  /** Names of those whose turn it was, and when, in milliseconds from the beginning. */
  function record(intervalMs: number) {
    const turns = createTurns(intervalMs)
    const begin = performance.now()
    const log: string[] = []
    const go = (name: string, signal?: AbortSignal): Promise<void> =>
      turns.next(signal).then(
        () => void log.push(`${name} ${performance.now() - begin}`),
        () => void log.push(`${name} gave up ${performance.now() - begin}`),
      )
    return { log, go }
  }

  it('lets them go in order, with the time between them', async () => {
    const { log, go } = record(1000)
    for (const name of ['a', 'b', 'c']) go(name)
    await vi.advanceTimersByTimeAsync(999)
    expect(log).toEqual(['a 0'])
    await vi.advanceTimersByTimeAsync(1)
    expect(log).toEqual(['a 0', 'b 1000'])
    await vi.advanceTimersByTimeAsync(5000)
    expect(log).toEqual(['a 0', 'b 1000', 'c 2000'])
    go('d')
    await vi.advanceTimersByTimeAsync(0)
    expect(log.at(-1)).toBe('d 6000')
    go('e')
    await vi.advanceTimersByTimeAsync(1000)
    expect(log.at(-1)).toBe('e 7000')
  })

  it('lets nobody before those who have waited longer', async () => {
    const { log, go } = record(1000)
    go('a')
    go('b').then(() => go('d'))
    go('c')
    await vi.advanceTimersByTimeAsync(5000)
    expect(log).toEqual(['a 0', 'b 1000', 'c 2000', 'd 3000'])
  })

  it('lets nobody wait for one who has given up', async () => {
    const { log, go } = record(1000)
    const giveUp = new AbortController()
    go('a')
    go('b', giveUp.signal)
    go('c', giveUp.signal)
    go('d')
    await vi.advanceTimersByTimeAsync(400)
    giveUp.abort()
    await vi.advanceTimersByTimeAsync(0)
    expect(log).toEqual(['a 0', 'b gave up 400', 'c gave up 400'])
    go('e', giveUp.signal)
    await vi.advanceTimersByTimeAsync(600)
    expect(log.slice(3)).toEqual(['e gave up 400', 'd 1000'])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('lets all go at once without a time', async () => {
    const { log, go } = record(0)
    const giveUp = new AbortController()
    giveUp.abort()
    await Promise.all([go('a'), go('b'), go('c', giveUp.signal)])
    expect(log.sort()).toEqual(['a 0', 'b 0', 'c gave up 0'])
  })
})
