import { describe, expect, it } from 'vitest'
import type { HashRepository } from '../../src/domain/ports.js'

const hashOf = (digit: string): string => `sha512:${digit.repeat(128)}`

/** What every hash repository must do. `create` gives a repository that is ready for use. */
export function hashRepositoryContract(
  name: string,
  create: () => Promise<HashRepository> | HashRepository,
): void {
  describe(`${name}: contract of hash repositories`, () => {
    it('verifies a link for the hash that it was given for', async () => {
      const repository = await create()
      const link = await repository.store(hashOf('a'))
      expect(link).not.toBe('')
      expect(await repository.verify(link, hashOf('a'))).toBe(true)
      expect(await repository.verify(link, hashOf('a'))).toBe(true)
    })

    it('does not verify a link for another hash', async () => {
      const repository = await create()
      const a = await repository.store(hashOf('a'))
      const b = await repository.store(hashOf('b'))
      expect(await repository.verify(a, hashOf('b'))).toBe(false)
      expect(await repository.verify(b, hashOf('a'))).toBe(false)
      expect(await repository.verify(a, hashOf('a').slice(0, -1))).toBe(false)
      expect(await repository.verify(a, `sha224:${'a'.repeat(56)}`)).toBe(false)
      expect(await repository.verify(a, '')).toBe(false)
    })

    it('verifies every link of a hash that was stored twice', async () => {
      const repository = await create()
      const links = [await repository.store(hashOf('a')), await repository.store(hashOf('a'))]
      for (const link of links) expect(await repository.verify(link, hashOf('a'))).toBe(true)
    })

    it('verifies many links that were given at the same time', async () => {
      const repository = await create()
      const hashes = Array.from({ length: 50 }, (_, i) => `sha512:${String(i).padStart(128, '0')}`)
      const links = await Promise.all(hashes.map((hash) => repository.store(hash)))
      expect(new Set(links).size).toBe(hashes.length)
      const verified = await Promise.all(
        links.map((link, i) => repository.verify(link, hashes[i] ?? '')),
      )
      expect(verified.every(Boolean)).toBe(true)
    })

    it.each([
      '',
      'no link',
      '00000000-0000-0000-0000-000000000000',
      '00000000-0000-8000-8000-000000000000',
    ])('does not verify %j', async (link) => {
      const repository = await create()
      await repository.store(hashOf('a'))
      expect(await repository.verify(link, hashOf('a'))).toBe(false)
    })
  })
}
