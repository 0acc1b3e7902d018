import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { SealedKey } from '../../src/domain/models.js'
import { type FailedKey, rotateKeys } from '../../src/flows/rotate-keys.js'
import { open, type PublicKey, seal } from '../../src/raw/middleware/sealed-box/box.js'
import { blobKeysContract } from '../contracts/blob-keys.contract.js'
import { memoryBlobKeys, newPair } from '../support/blob-keys.js'

blobKeysContract('memory', async () => {
  const keys = memoryBlobKeys()
  return {
    keys,
    rival: keys,
    insert: async (sealedKey) => {
      keys.blobs.set(keys.blobs.size + 1, sealedKey)
      return keys.blobs.size
    },
    remove: async (blobId) => {
      keys.blobs.delete(blobId)
    },
  }
})

const [current, first, second, lost] = [newPair(), newPair(), newPair(), newPair()]
const ports = (blobKeys: ReturnType<typeof memoryBlobKeys>) => ({
  blobKeys,
  current: current.publicKey,
  keyRing: { pairOf: (keyId: string) => [first, second].find((p) => p.publicKey.id === keyId) },
})
const currentId = current.publicKey.id

const fileKey = (n: number): Uint8Array => new Uint8Array(16).fill(n)
const sealedTo = (publicKey: PublicKey, n: number): SealedKey => ({
  keyId: publicKey.id,
  sealed: seal(fileKey(n), publicKey),
})
const flipped = ({ keyId, sealed }: SealedKey): SealedKey => {
  const copy = Uint8Array.from(sealed)
  copy[copy.length - 1] = (copy.at(-1) ?? 0) ^ 1
  return { keyId, sealed: copy }
}

/** How a blob may be before: `make` gives its key, `rotates` tells whether it can be re-sealed. */
const KINDS = {
  plain: { make: () => null, rotates: false },
  current: { make: (n: number) => sealedTo(current.publicKey, n), rotates: false },
  first: { make: (n: number) => sealedTo(first.publicKey, n), rotates: true },
  second: {
    make: (n: number) => sealedTo(second.publicKey, n),
    rotates: true,
  },
  lost: { make: (n: number) => sealedTo(lost.publicKey, n), rotates: false },
  damaged: {
    make: (n: number) => flipped(sealedTo(first.publicKey, n)),
    rotates: false,
  },
} as const
type Kind = keyof typeof KINDS
const kinds = fc.array(fc.constantFrom(...(Object.keys(KINDS) as Kind[])), { maxLength: 24 })

const storeOf = (mix: readonly Kind[]) =>
  memoryBlobKeys(new Map(mix.map((kind, n) => [n + 1, KINDS[kind].make(n)])))
const countOf = (mix: readonly Kind[], ...wanted: Kind[]): number =>
  mix.filter((kind) => wanted.includes(kind)).length

describe('a rotation', () => {
  it('re-seals every key that it can open, and touches no other', async () => {
    await fc.assert(
      fc.asyncProperty(kinds, fc.integer({ min: 1, max: 7 }), async (mix, batchSize) => {
        const store = storeOf(mix)
        const before = new Map(store.blobs)
        const failures: FailedKey[] = []
        const result = await rotateKeys(ports(store), {
          batchSize,
          onFailed: (failure) => failures.push(failure),
        })
        expect(result).toEqual({
          rotated: countOf(mix, 'first', 'second'),
          failed: countOf(mix, 'lost', 'damaged'),
          left: countOf(mix, 'lost', 'damaged'),
        })
        for (const [n, kind] of mix.entries()) {
          const key = store.blobs.get(n + 1) ?? null
          const failure = failures.find(({ blobId }) => blobId === n + 1)
          if (KINDS[kind].rotates) {
            expect(key?.keyId).toBe(currentId)
            expect(open(key?.sealed ?? fileKey(0), current)).toEqual(fileKey(n))
          } else {
            expect(key).toBe(before.get(n + 1))
          }
          if (kind === 'lost') expect(failure?.reason).toBe('private_key_missing')
          else if (kind === 'damaged') expect(failure?.reason).toBe('does_not_open')
          else expect(failure).toBeUndefined()
          if (failure) expect(failure.keyId).toBe(before.get(n + 1)?.keyId)
        }
        expect(failures.length).toBe(result.failed)
      }),
      { numRuns: 60 },
    )
  })

  it('goes on after a crash anywhere', async () => {
    const crashes = fc.record({
      mix: kinds,
      batchSize: fc.integer({ min: 1, max: 5 }),
      calls: fc.array(fc.nat(6), { maxLength: 4 }),
      written: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(crashes, async ({ mix, batchSize, calls, written }) => {
        const store = storeOf(mix)
        for (const survives of calls) {
          let left = survives
          const crashing = {
            ...store,
            replaceSealedKeys: async (batch: Parameters<typeof store.replaceSealedKeys>[0]) => {
              if (left-- > 0) return store.replaceSealedKeys(batch)
              if (written) await store.replaceSealedKeys(batch)
              throw new Error('crash')
            },
          }
          await rotateKeys(ports(crashing), { batchSize }).catch((error) => {
            expect(error).toMatchObject({ message: 'crash' })
          })
        }
        const result = await rotateKeys(ports(store), { batchSize })
        expect(result.left).toBe(countOf(mix, 'lost', 'damaged'))
        for (const [n, kind] of mix.entries()) {
          if (!KINDS[kind].rotates) continue
          expect(open(store.blobs.get(n + 1)?.sealed ?? fileKey(0), current)).toEqual(fileKey(n))
        }
        expect((await rotateKeys(ports(store))).rotated).toBe(0)
      }),
      { numRuns: 60 },
    )
  })

  it('needs the old private keys no more afterwards', async () => {
    const store = storeOf(['first', 'second', 'current'])
    await rotateKeys(ports(store))
    for (const [blobId, key] of store.blobs) {
      expect(key?.keyId).toBe(currentId)
      expect(open(key?.sealed ?? fileKey(0), current)).toEqual(fileKey(blobId - 1))
    }
  })

  it('counts what comes meanwhile as left', async () => {
    const store = storeOf(['first', 'first'])
    const late = sealedTo(first.publicKey, 3)
    const result = await rotateKeys(ports(store), {
      // Behind the place that the walk has come to.
      onProgress: (done) => done === 2 && store.blobs.set(0, late),
    })
    expect(result).toEqual({ rotated: 2, failed: 0, left: 1 })
    expect(await rotateKeys(ports(store))).toEqual({ rotated: 1, failed: 0, left: 0 })
  })

  it('tells how far it is', async () => {
    const seen: [number, number][] = []
    await rotateKeys(ports(storeOf(['first', 'plain', 'lost', 'second', 'current', 'first'])), {
      batchSize: 2,
      onProgress: (done, total) => seen.push([done, total]),
    })
    expect(seen).toEqual([
      [0, 4],
      [2, 4],
      [4, 4],
      [4, 4],
    ])
  })

  it('can be stopped, and lets others run', async () => {
    const store = storeOf(Array.from({ length: 160 }, () => 'first' as const))
    const controller = new AbortController()
    let turns = 0
    const tick = setInterval(() => {
      turns += 1
      if (turns === 2) controller.abort(new Error('enough'))
    }, 0)
    const rotation = rotateKeys(ports(store), { batchSize: 160, signal: controller.signal })
    await expect(rotation).rejects.toThrow()
    clearInterval(tick)
    expect((await store.countByKey()).get(currentId)).toBeUndefined()
  })
})
