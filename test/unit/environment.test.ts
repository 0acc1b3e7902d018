import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { base64Key } from '../../src/environment.js'

const key = fc.uint8Array({ minLength: 32, maxLength: 32 })

describe('keys as text', () => {
  it('are read in the one way they are written', () => {
    fc.assert(
      fc.property(key, (bytes) => {
        const text = Buffer.from(bytes).toString('base64')
        expect(base64Key(text)).toEqual(bytes)
        const others = [text.slice(0, -1), `${text}\n`, ` ${text}`, `${text}=`, text.slice(4)]
        for (const other of [...others, `AAAA${text}`]) expect(() => base64Key(other)).toThrow()
      }),
    )
  })

  it.each([
    ['nothing', ''],
    ['letters outside the alphabet', `${'*'.repeat(43)}=`],
    ['URL-safe letters', `${'-_'.repeat(21)}A=`],
    ['31 bytes', Buffer.alloc(31).toString('base64')],
    ['33 bytes', Buffer.alloc(33).toString('base64')],
    ['trailing bits', `${'A'.repeat(42)}B=`],
    ['hex', 'ab'.repeat(32)],
  ])('are not %s', (_, text) => {
    expect(() => base64Key(text)).toThrow(/base64/)
  })

  it('are never anything else', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 50 }), (text) => {
        try {
          expect(Buffer.from(base64Key(text)).toString('base64')).toBe(text)
        } catch (error) {
          expect(error).toMatchObject({ message: expect.stringContaining('base64') })
        }
      }),
    )
  })
})
