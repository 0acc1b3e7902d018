import { beforeEach, describe, expect, it } from 'vitest'
import type { BlobKey, BlobKeys } from '../../src/domain/blob-keys.js'
import type { SealedKey } from '../../src/domain/models.js'

export interface BlobKeysSetup {
  readonly keys: BlobKeys
  /** The same keys for another process. */
  readonly rival: BlobKeys
  /** Adds a blob; null is one without a key. @returns its id, larger than those before */
  insert(sealedKey: SealedKey | null): Promise<number>
  /** Removes a blob with its key. */
  remove(blobId: number): Promise<void>
}

const key = (keyId: string, ...sealed: number[]): SealedKey => ({
  keyId,
  sealed: Uint8Array.from(sealed),
})
const [A, B, C] = ['0123456789abcdef', '8888888888888888', 'fedcba9876543210'] as const

/** What all sealed keys must do. `setup` gives some without any blob. */
export function blobKeysContract(name: string, setup: () => Promise<BlobKeysSetup>): void {
  describe(`${name}: contract of sealed keys`, () => {
    let keys: BlobKeys
    let rival: BlobKeys
    let insert: BlobKeysSetup['insert']
    let remove: BlobKeysSetup['remove']

    beforeEach(async () => {
      ;({ keys, rival, insert, remove } = await setup())
    })

    /** All keys of another key id, walked through in batches. */
    const walk = async (keyId: string, limit: number): Promise<BlobKey[]> => {
      const found: BlobKey[] = []
      for (let after: BlobKey | undefined; ; after = found.at(-1)) {
        const batch = await keys.listSealedKeys(keyId, after, limit)
        expect(batch.length).toBeLessThanOrEqual(limit)
        if (batch.length === 0) return found
        found.push(...batch)
      }
    }
    const plain = (list: readonly BlobKey[]) =>
      list.map(({ blobId, sealedKey }) => [blobId, sealedKey.keyId, [...sealedKey.sealed]])
    const all = async () => plain(await walk('', 100))

    it('are counted by key id, with the blobs that have none', async () => {
      expect(await keys.countByKey()).toEqual(new Map())
      await insert(null)
      for (const keyId of [B, A, B]) await insert(key(keyId, 1))
      await insert(null)
      expect(await keys.countByKey()).toEqual(
        new Map<string | null, number>([
          [null, 2],
          [A, 1],
          [B, 2],
        ]),
      )
    })

    it.each([1, 2, 3, 100])(
      'are listed once, in order, without those of one key id: by %i',
      async (limit) => {
        const ids: number[] = []
        for (const [i, keyId] of [B, A, null, C, B, A, C].entries()) {
          ids.push(await insert(keyId === null ? null : key(keyId, i)))
        }
        const of = (i: number, keyId: string) => [ids[i], keyId, [i]]
        const [a, b, c] = [
          [of(1, A), of(5, A)],
          [of(0, B), of(4, B)],
          [of(3, C), of(6, C)],
        ]
        expect(plain(await walk(A, limit))).toEqual([...b, ...c])
        expect(plain(await walk(B, limit))).toEqual([...a, ...c])
        expect(plain(await walk(C, limit))).toEqual([...a, ...b])
        expect(plain(await walk('none of them', limit))).toEqual([...a, ...b, ...c])
      },
    )

    it('are listed after one that has gone', async () => {
      const [first = 0, second = 0] = [await insert(key(A, 1)), await insert(key(A, 2))]
      const [one] = await keys.listSealedKeys(B, undefined, 1)
      expect(one?.blobId).toBe(first)
      await remove(first)
      expect(plain(await keys.listSealedKeys(B, one, 9))).toEqual([[second, A, [2]]])
    })

    it('are replaced where they are still the same', async () => {
      const ids: number[] = []
      for (let i = 0; i < 4; i++) ids.push(await insert(key(A, i, 1)))
      const [same = 0, otherBytes = 0, otherId = 0, gone = 0] = ids
      const none = await insert(null)
      await remove(gone)
      const replaced = await keys.replaceSealedKeys([
        { blobId: same, from: key(A, 0, 1), to: key(B, 10) },
        { blobId: otherBytes, from: key(A, 1), to: key(B, 11) },
        { blobId: otherId, from: key(C, 2, 1), to: key(B, 12) },
        { blobId: gone, from: key(A, 3, 1), to: key(B, 13) },
        { blobId: none, from: key(A), to: key(B, 14) },
      ])
      expect(replaced).toBe(1)
      expect(await all()).toEqual([
        [otherBytes, A, [1, 1]],
        [otherId, A, [2, 1]],
        [same, B, [10]],
      ])
      expect((await keys.countByKey()).get(null)).toBe(1)
    })

    it('are replaced by one of two who come at the same time', async () => {
      const ids: number[] = []
      for (let i = 0; i < 50; i++) ids.push(await insert(key(A, i)))
      const batch = (to: SealedKey) => ids.map((blobId, i) => ({ blobId, from: key(A, i), to }))
      const [mine, theirs] = [batch(key(B, 1)), batch(key(C, 2)).toReversed()]
      const counts = await Promise.all([
        keys.replaceSealedKeys(mine),
        rival.replaceSealedKeys(theirs),
      ])
      expect(counts.reduce((sum, count) => sum + count)).toBe(50)
      const found = await keys.countByKey()
      expect([found.get(B) ?? 0, found.get(C) ?? 0]).toEqual(counts)
    })

    it('may be none to replace', async () => {
      expect(await keys.replaceSealedKeys([])).toBe(0)
    })
  })
}
