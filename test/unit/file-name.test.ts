import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { safeFileName } from '../../src/domain/file-name.js'

describe('a safe file name', () => {
  it.each([
    ['report.pdf', 'report.pdf'],
    ['Übersicht 2026.txt', 'Übersicht 2026.txt'],
    ['../../etc/passwd', 'passwd'],
    ['C:\\temp\\a.txt', 'a.txt'],
    ['/etc/', null],
    ['..', null],
    ['', null],
    ['.htaccess', 'htaccess'],
    ['a\u0000b\r\nc\u007f.txt', 'abc.txt'],
    ['exe\u202Efdp.txt', 'exefdp.txt'],
    [' spaced . ', 'spaced'],
    ['half \ud800 pair', 'half  pair'],
  ])('of %j is %j', (text, name) => {
    expect(safeFileName(text)).toBe(name)
  })

  it('keeps the extension of a long name', () => {
    const name = safeFileName(`${'é'.repeat(300)}.pdf`)
    expect(name).toMatch(/^é+\.pdf$/)
    expect(Buffer.byteLength(name ?? '')).toBe(254)
  })

  it('can be saved under, whatever the text, and stays as it is when made again', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 600 }), (text) => {
        const name = safeFileName(text)
        if (name === null) return
        expect(name).not.toMatch(/[/\\\p{Cc}\p{Cs}]|^\.|\.$/u)
        expect(Buffer.byteLength(name)).toBeLessThanOrEqual(255)
        expect(safeFileName(name)).toBe(name)
      }),
    )
  })
})
