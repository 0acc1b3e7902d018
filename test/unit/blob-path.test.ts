import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { organizationFolder, organizationOf } from '../../src/raw/blob-path.js'

describe('the organization of a folder', () => {
  it('is the one that the folder was named for, unless the name became too long', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 32 }), (organization) => {
        const folder = organizationFolder(organization)
        const expected = /^%[0-9a-f]{64}$/.test(folder) ? undefined : organization
        expect(organizationOf(folder)).toBe(expected)
      }),
    )
    expect(organizationOf('%')).toBe('')
    expect(organizationOf(organizationFolder('é'.repeat(40)))).toBeUndefined()
  })

  it('is not told by a digest that reads like an encoded name', () => {
    const long = Array.from({ length: 200 }, (_, i) => `${'組織'.repeat(14)}${i}`)
    const folders = long.map(organizationFolder)
    expect(folders.filter((folder) => /^%\d\d/.test(folder)).length).toBeGreaterThan(10)
    for (const folder of folders) expect(organizationOf(folder)).toBeUndefined()
  })

  it('is not told by names that no organization gets', () => {
    for (const folder of ['', 'ORG', '%41', '%6F', '%e9', '%E9', '%4', 'a b', '%%', '..']) {
      const organization = organizationOf(folder)
      if (organization !== undefined) expect(organizationFolder(organization)).toBe(folder)
    }
    expect(organizationOf('ORG')).toBeUndefined()
    expect(organizationOf('%6F')).toBeUndefined()
    expect(organizationOf('%E9')).toBeUndefined()
    expect(organizationOf('%41')).toBe('A')
  })
})
