import { describe, expect, it } from 'vitest'
import type { HashRepository } from '../../src/domain/hash-repository.js'

/** Whether the link was found to be given for the hash. */
const verified = async (
  repository: HashRepository,
  link: string,
  secureHash: string,
): Promise<boolean> => {
  const checks = await repository.verify(link, secureHash)
  expect(checks.length).toBeGreaterThan(0)
  return checks.every(({ passed }) => passed === true)
}

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
      expect(await verified(repository, link, hashOf('a'))).toBe(true)
      expect(await verified(repository, link, hashOf('a'))).toBe(true)
    })

    it('recognizes its links', async () => {
      const repository = await create()
      expect(repository.recognizes(await repository.store(hashOf('a')))).toBe(true)
      expect(repository.recognizes('')).toBe(false)
      expect(repository.recognizes('no link')).toBe(false)
    })

    it('does not verify a link for another hash', async () => {
      const repository = await create()
      const a = await repository.store(hashOf('a'))
      const b = await repository.store(hashOf('b'))
      expect(await verified(repository, a, hashOf('b'))).toBe(false)
      expect(await verified(repository, b, hashOf('a'))).toBe(false)
      expect(await verified(repository, a, hashOf('a').slice(0, -1))).toBe(false)
      expect(await verified(repository, a, `sha224:${'a'.repeat(56)}`)).toBe(false)
      expect(await verified(repository, a, '')).toBe(false)
    })

    it('verifies every link of a hash that was stored twice', async () => {
      const repository = await create()
      const links = [await repository.store(hashOf('a')), await repository.store(hashOf('a'))]
      for (const link of links) expect(await verified(repository, link, hashOf('a'))).toBe(true)
    })

    it('verifies many links that were given at the same time', async () => {
      const repository = await create()
      const hashes = Array.from({ length: 50 }, (_, i) => `sha512:${String(i).padStart(128, '0')}`)
      const links = await Promise.all(hashes.map((hash) => repository.store(hash)))
      expect(new Set(links).size).toBe(hashes.length)
      const outcomes = await Promise.all(
        links.map((link, i) => verified(repository, link, hashes[i] ?? '')),
      )
      expect(outcomes.every(Boolean)).toBe(true)
    })

    it.each([
      '',
      'no link',
      '00000000-0000-0000-0000-000000000000',
      '00000000-0000-8000-8000-000000000000',
    ])('does not verify %j', async (link) => {
      const repository = await create()
      await repository.store(hashOf('a'))
      expect(await verified(repository, link, hashOf('a'))).toBe(false)
    })
  })
}
