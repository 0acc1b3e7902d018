import { randomUUID } from 'node:crypto'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Claim, PendingHashes } from '../../src/domain/pending-hashes.js'

export interface PendingHashesSetup {
  readonly pending: PendingHashes
  /** The same pending hashes for another process. */
  readonly rival: PendingHashes
  /** Commits a raw file that waits. @returns its id */
  insert(secureHash: string): Promise<string>
  /** Deletes a raw file. */
  remove(rawFileId: string): Promise<void>
  /** Lets so many milliseconds go by, for the clock of leases and of waiting. */
  pass(ms: number): Promise<void>
  /** What the raw file has got. */
  fileOf(rawFileId: string): Promise<{ link: string | null; signingProviderUrl: string | null }>
}

const URL = 'https://tsa.example/tsr'
/** Real time goes by as well: whatever is not to end yet has minutes left. */
const LEASE = { leaseMs: 600_000, waitMs: 0 }
const hashOf = (n: number): string => `sha512:${String(n).padStart(128, '0')}`
const linksOf = (claim: Claim, mark = 'link'): Map<string, string> =>
  new Map(claim.hashes.map(({ rawFileId }) => [rawFileId, `${mark} ${rawFileId}`]))

/** What all pending hashes must do. `setup` gives some among which nothing waits. */
export function pendingHashesContract(
  name: string,
  setup: () => Promise<PendingHashesSetup>,
): void {
  describe(`${name}: contract of pending hashes`, () => {
    let pending: PendingHashes
    let rival: PendingHashes
    let the: PendingHashesSetup

    beforeEach(async () => {
      the = await setup()
      ;({ pending, rival } = the)
    })

    const insertMany = async (count: number): Promise<string[]> => {
      const ids: string[] = []
      for (let n = 0; n < count; n++) ids.push(await the.insert(hashOf(n)))
      return ids
    }
    const claim = async (limit: number, by = pending, leaseMs = LEASE.leaseMs): Promise<Claim> => {
      const found = await by.claim({ ...LEASE, limit, leaseMs })
      if (!found) throw new Error('there was nothing to claim')
      return found
    }
    const idsOf = ({ hashes }: Claim): string[] => hashes.map(({ rawFileId }) => rawFileId)
    const none = async (by = pending): Promise<void> =>
      expect(await by.claim({ ...LEASE, limit: 100 })).toBeUndefined()

    it('are none at first', async () => {
      await none()
      expect(await pending.pendingState()).toEqual({ pending: 0, oldestAgeSeconds: 0 })
      expect(await pending.isPending(randomUUID())).toBe(false)
    })

    it('are claimed with their hashes, the oldest first, no more than asked for', async () => {
      const ids = await insertMany(5)
      const first = await claim(3)
      expect(first.hashes).toEqual(
        ids.slice(0, 3).map((rawFileId, n) => ({ rawFileId, secureHash: hashOf(n) })),
      )
      const second = await claim(3)
      expect(idsOf(second)).toEqual(ids.slice(3))
      expect(second.id).not.toBe(first.id)
      await none()
    })

    it('may have equal hashes', async () => {
      const ids = [await the.insert(hashOf(1)), await the.insert(hashOf(1))]
      const both = await claim(9)
      expect(both.hashes).toEqual(ids.map((rawFileId) => ({ rawFileId, secureHash: hashOf(1) })))
    })

    it('wait for a batch to fill, but no longer than they are told to', async () => {
      await insertMany(2)
      const wait = { limit: 3, leaseMs: 60_000, waitMs: 600_000 }
      expect(await pending.claim(wait)).toBeUndefined()
      await the.pass(300_000)
      expect(await pending.claim(wait)).toBeUndefined()
      await the.pass(301_000)
      expect(idsOf((await pending.claim(wait)) ?? { id: '', hashes: [] })).toHaveLength(2)
    })

    it('do not wait for a batch that is full', async () => {
      const ids = await insertMany(4)
      const wait = { limit: 3, leaseMs: 60_000, waitMs: 600_000 }
      expect(idsOf((await pending.claim(wait)) ?? { id: '', hashes: [] })).toEqual(ids.slice(0, 3))
      expect(await pending.claim(wait)).toBeUndefined()
    })

    it('are not claimed twice while a lease lasts, and again when it has ended', async () => {
      const ids = await insertMany(2)
      const first = await claim(1, pending, 3_000_000)
      expect(idsOf(await claim(1, rival, 12_000_000))).toEqual(ids.slice(1))
      await none(rival)
      await the.pass(2_000_000)
      await none(rival)
      await the.pass(1_100_000)
      const again = await claim(9, rival)
      expect(idsOf(again)).toEqual(idsOf(first))
      expect(again.id).not.toBe(first.id)
      await none()
    })

    it('go to one of several that claim at the same time', async () => {
      const ids = await insertMany(200)
      const taken: string[] = []
      const take = async (by: PendingHashes, limit: number): Promise<void> => {
        for (;;) {
          const found = await by.claim({ ...LEASE, limit })
          if (!found) return
          taken.push(...idsOf(found))
        }
      }
      await Promise.all([take(pending, 3), take(rival, 3), take(pending, 1), take(rival, 7)])
      // One may have seen nothing but what others were about to take.
      await take(pending, 9)
      expect(taken.toSorted()).toEqual(ids.toSorted())
    })

    it('are completed with link and provider, and wait no longer', async () => {
      const [a = '', b = '', c = ''] = await insertMany(3)
      const mine = await claim(2)
      expect(await pending.isPending(a)).toBe(true)
      await pending.complete(mine, URL, linksOf(mine))
      for (const id of [a, b]) {
        expect(await the.fileOf(id)).toEqual({ link: `link ${id}`, signingProviderUrl: URL })
        expect(await rival.isPending(id)).toBe(false)
      }
      expect(await the.fileOf(c)).toEqual({ link: null, signingProviderUrl: null })
      expect(await pending.isPending(c)).toBe(true)
      await the.pass(1_200_000)
      expect(idsOf(await claim(9))).toEqual([c])
    })

    it('may be completed without a provider, and with several', async () => {
      const [a = '', b = '', c = ''] = await insertMany(3)
      const urls = [null, URL, 'https://other.example/']
      for (const url of urls) {
        const one = await claim(1)
        await pending.complete(one, url, linksOf(one))
      }
      const found = await Promise.all([a, b, c].map((id) => the.fileOf(id)))
      expect(found.map(({ signingProviderUrl }) => signingProviderUrl)).toEqual(urls)
    })

    it('are completed in part', async () => {
      const [a = '', b = ''] = await insertMany(2)
      const mine = await claim(2)
      await pending.complete(mine, URL, new Map([[a, 'link']]))
      expect(await pending.isPending(b)).toBe(true)
      await none()
      await pending.complete(mine, URL, new Map())
      await pending.release(mine)
      expect(idsOf(await claim(2))).toEqual([b])
    })

    it('keep the link that came first, when a claim had ended', async () => {
      const [id = ''] = await insertMany(1)
      const late = await claim(1, pending, 1_000)
      await the.pass(2_000)
      const next = await claim(1, rival)
      await rival.complete(next, 'https://first.example/', linksOf(next, 'first'))
      await pending.complete(late, URL, linksOf(late, 'late'))
      const first = { link: `first ${id}`, signingProviderUrl: 'https://first.example/' }
      expect(await the.fileOf(id)).toEqual(first)
      await rival.complete(next, URL, linksOf(next, 'again'))
      expect(await the.fileOf(id)).toEqual(first)
    })

    it('take a link that comes after the claim has ended and before another', async () => {
      const [id = ''] = await insertMany(1)
      const late = await claim(1, pending, 1_000)
      await the.pass(2_000)
      const next = await claim(1, rival)
      await pending.complete(late, URL, linksOf(late, 'late'))
      expect((await the.fileOf(id)).link).toBe(`late ${id}`)
      expect(await pending.isPending(id)).toBe(false)
      await rival.complete(next, null, linksOf(next, 'next'))
      expect(await the.fileOf(id)).toEqual({ link: `late ${id}`, signingProviderUrl: URL })
    })

    it('are completed by one of two at the same time', async () => {
      const ids = await insertMany(50)
      const late = await claim(50, pending, 1_000)
      await the.pass(2_000)
      const next = await claim(50, rival)
      const reversed = new Map([...linksOf(next, 'next')].toReversed())
      const results = await Promise.allSettled([
        pending.complete(late, 'https://late.example/', linksOf(late, 'late')),
        rival.complete(next, 'https://next.example/', reversed),
      ])
      expect(results.some(({ status }) => status === 'fulfilled')).toBe(true)
      for (const id of ids) {
        const { link, signingProviderUrl } = await the.fileOf(id)
        const mark = link?.split(' ')[0]
        expect(link).toBe(`${mark} ${id}`)
        expect(signingProviderUrl).toBe(`https://${mark}.example/`)
      }
      expect((await pending.pendingState()).pending).toBe(0)
    })

    it('can be claimed at once when they are released', async () => {
      const ids = await insertMany(3)
      const mine = await claim(2)
      await pending.release(mine)
      expect(idsOf(await claim(9, rival))).toEqual(ids)
    })

    it('are not released by a claim that had ended', async () => {
      const ids = await insertMany(1)
      const old = await claim(1, pending, 1_000)
      await the.pass(2_000)
      expect(idsOf(await claim(1, rival))).toEqual(ids)
      await pending.release(old)
      await none()
    })

    it('go with their raw file', async () => {
      const [gone = '', kept = '', claimed = ''] = await insertMany(3)
      await the.remove(gone)
      expect(await pending.isPending(gone)).toBe(false)
      const mine = await claim(9)
      expect(idsOf(mine)).toEqual([kept, claimed])
      await the.remove(claimed)
      await pending.complete(mine, URL, linksOf(mine))
      expect((await the.fileOf(kept)).link).toBe(`link ${kept}`)
      expect(await pending.pendingState()).toEqual({ pending: 0, oldestAgeSeconds: 0 })
    })

    it('are counted, with the age of the oldest, claimed or not', async () => {
      const ids = await insertMany(1)
      await the.pass(500_000_000)
      await insertMany(2)
      await claim(1)
      const { pending: count, oldestAgeSeconds } = await rival.pendingState()
      expect(count).toBe(3)
      expect(oldestAgeSeconds).toBeGreaterThanOrEqual(500_000)
      expect(oldestAgeSeconds).toBeLessThan(500_600)
      await the.remove(ids[0] ?? '')
      expect((await pending.pendingState()).oldestAgeSeconds).toBeLessThan(600)
    })
  })
}
