/** How long clients are waited for, with a clock of our own. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Patience } from '../../src/api/patience.js'

const IDLE_MS = 30_000
let patience: Patience

beforeEach(() => {
  vi.useFakeTimers()
  patience = new Patience(IDLE_MS)
})

afterEach(() => {
  patience.end()
  expect(vi.getTimerCount()).toBe(0)
  vi.useRealTimers()
})

/** The client sends so many bytes after so long. */
async function receive(bytes: number, afterMs: number): Promise<void> {
  const waiting = patience.wait(new Promise((resolve) => setTimeout(resolve, afterMs)))
  const [, result] = await Promise.allSettled([vi.advanceTimersByTimeAsync(afterMs), waiting])
  if (result.status === 'rejected') throw result.reason
  patience.receive(bytes)
}

const late = (text: RegExp) =>
  expect.objectContaining({
    status: 408,
    body: { detail: expect.stringMatching(text) },
    headers: { connection: 'close' },
  })

describe('a client that sends a body', () => {
  it('may take its time between two pieces, but not too long', async () => {
    await receive(1_000_000, IDLE_MS - 1)
    await receive(1_000_000, IDLE_MS - 1)
    await expect(receive(1, IDLE_MS + 1)).rejects.toEqual(
      late(/^No more of the body came for 30 s/),
    )
    await vi.runAllTimersAsync()
  })

  it('may be slow for a minute, and is given up when it stays so', async () => {
    const bytes: number[] = []
    const trickle = async (): Promise<void> => {
      for (;;) {
        bytes.push(1)
        await receive(1, 10_000)
      }
    }
    await expect(trickle()).rejects.toEqual(late(/less than 1024 bytes a second: send/))
    expect(bytes).toHaveLength(6)
  })

  it('is fast enough with a KiB a second, also when that comes in bursts', async () => {
    for (let i = 0; i < 300; i++) await receive(1024, 1000)
    for (let i = 0; i < 10; i++) await receive(i % 3 === 2 ? 62 * 1024 : 0, 20_000)
  })

  it('once fast does not stay so', async () => {
    await receive(1_000_000_000, 60_000 - IDLE_MS - 1)
    await receive(0, IDLE_MS - 1)
    await receive(0, 2)
    await receive(0, 29_000)
    await receive(0, 29_000)
    await expect(receive(1, 2000)).rejects.toEqual(late(/less than/))
  })

  it('is not held responsible for the time in which it is not waited for', async () => {
    for (let i = 0; i < 100; i++) {
      await receive(1, 100)
      // What was received is being written.
      await vi.advanceTimersByTimeAsync(IDLE_MS - 200)
    }
  })
})
