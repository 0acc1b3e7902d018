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
  expect(new Set(checks.map(({ name }) => name)).size).toBe(checks.length)
  for (const { name, detail } of checks) {
    expect(name).toMatch(/^[a-z][a-z0-9_]*$/)
    expect(detail).not.toBe('')
  }
  return checks.every(({ passed }) => passed === true)
}

const hashOf = (digit: string): string => `sha512:${digit.repeat(128)}`

const hashesOf = (count: number): string[] =>
  Array.from({ length: count }, (_, n) => `sha512:${String(n).padStart(128, '0')}`)

/**
 * What every hash repository must do. `create` gives a repository that is ready for use.
 * @param batches whether it can be given several hashes at once
 */
export function hashRepositoryContract(
  name: string,
  create: () => Promise<HashRepository> | HashRepository,
  { batches = false }: { batches?: boolean } = {},
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
      const hashes = hashesOf(50)
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
      '/bytes/evidence_records/00000000-0000-4000-8000-000000000000',
      '/bytes/evidence_records/',
      'AAAA',
      'MAA=',
      'https://example.invalid/abcdefgh',
      `MIIQ${'A'.repeat(5000)}`,
    ])('does not verify %j', async (link) => {
      const repository = await create()
      await repository.store(hashOf('a'))
      expect(await verified(repository, link, hashOf('a'))).toBe(false)
    })

    it.each([
      ['a space before it', (link: string) => ` ${link}`],
      ['a line break after it', (link: string) => `${link}\n`],
      ['something after it', (link: string) => `${link}A`],
      ['its last character missing', (link: string) => link.slice(0, -1)],
    ])('does not verify a link with %s', async (_, change) => {
      const repository = await create()
      const link = change(await repository.store(hashOf('a')))
      expect(await verified(repository, link, hashOf('a'))).toBe(false)
    })

    it(`${batches ? 'takes' : 'takes no'} several hashes at once`, async () => {
      expect((await create()).storeBatch !== undefined).toBe(batches)
    })

    /** Gives hashes away at once, in a repository that can. */
    const stored = async (
      hashes: readonly string[],
    ): Promise<{ repository: HashRepository; links: readonly string[] }> => {
      const repository = await create()
      if (repository.storeBatch === undefined) throw new Error('it takes no batches')
      return { repository, links: await (await repository.storeBatch(hashes))() }
    }

    if (!batches) return
    it.each([1, 2, 3, 5, 8, 50])(
      'verifies each of %i links that were given at once, for its own hash',
      async (count) => {
        const hashes = hashesOf(count)
        const { repository, links } = await stored(hashes)
        expect(new Set(links).size).toBe(count)
        for (const [at, link] of links.entries()) {
          expect(repository.recognizes(link)).toBe(true)
          expect(await verified(repository, link, hashes[at] ?? '')).toBe(true)
          expect(await verified(repository, link, hashOf('a'))).toBe(false)
        }
      },
    )

    it('verifies the links of equal hashes that were given at once', async () => {
      for (const digits of ['aaa', 'abba', 'abcbab']) {
        const hashes = [...digits].map(hashOf)
        const { repository, links } = await stored(hashes)
        expect(links).toHaveLength(hashes.length)
        for (const [at, link] of links.entries()) {
          expect(await verified(repository, link, hashes[at] ?? '')).toBe(true)
        }
      }
    })

    it('takes no hash at once', async () => {
      expect((await stored([])).links).toEqual([])
    })
  })
}
