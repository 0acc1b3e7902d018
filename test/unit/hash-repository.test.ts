import { describe, expect, it } from 'vitest'
import type { HashRepository } from '../../src/domain/hash-repository.js'
import { createInMemoryHashRepository } from '../../src/hashing/in-memory.js'
import { hashRepositoryContract } from '../contracts/hash-repository.contract.js'

hashRepositoryContract('in memory', createInMemoryHashRepository)

const HASH = `sha512:${'0f'.repeat(64)}`

/** What the one check of a link for the hash came to. */
const passed = async (repository: HashRepository, link: string): Promise<boolean | null> => {
  const [check, ...more] = await repository.verify(link, HASH)
  expect(more).toEqual([])
  return check?.passed ?? null
}

describe('createInMemoryHashRepository', () => {
  it('has no third party', () => {
    const repository = createInMemoryHashRepository()
    expect(repository.signingProviderUrl).toBeNull()
    expect(repository.thirdParty).toBe(false)
  })

  it('gives version 8 UUIDs, another one each time', async () => {
    const repository = createInMemoryHashRepository()
    const links = await Promise.all(Array.from({ length: 1000 }, () => repository.store(HASH)))
    for (const link of links) {
      expect(link).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    }
    expect(new Set(links).size).toBe(1000)
  })

  it('refuses a link with any digit changed', async () => {
    const repository = createInMemoryHashRepository()
    const link = await repository.store(HASH)
    for (let at = 0; at < link.length; at++) {
      const digit = link.charAt(at)
      if (digit === '-') continue
      const other = (Number.parseInt(digit, 16) ^ 1).toString(16)
      const changed = link.slice(0, at) + other + link.slice(at + 1)
      expect(await passed(repository, changed)).toBeNull()
    }
  })

  it('refuses other spellings of a link', async () => {
    const repository = createInMemoryHashRepository()
    const link = await repository.store(HASH)
    expect(await passed(repository, `{${link}}`)).toBeNull()
    expect(await passed(repository, link.replaceAll('-', ''))).toBeNull()
    expect(await passed(repository, `${link}\n`)).toBeNull()
  })

  it('refuses links of another repository', async () => {
    const link = await createInMemoryHashRepository().store(HASH)
    expect(await passed(createInMemoryHashRepository(), link)).toBeNull()
  })
})
