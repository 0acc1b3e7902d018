import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseReprDigest, reprDigest } from '../../src/client/digest.js'
import { fileNameOf } from '../../src/client/disposition.js'
import { nextLink } from '../../src/client/link.js'
import { escaped, printable, safeFileName } from '../../src/client/text.js'

describe('Repr-Digest', () => {
  const base64 = createHash('sha512').update('x').digest('base64')
  const digest = `sha512:${createHash('sha512').update('x').digest('hex')}`

  it('comes back as it was written', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 64, maxLength: 64 }), (bytes) => {
        const written = `sha512:${Buffer.from(bytes).toString('hex')}`
        expect(parseReprDigest(reprDigest(written))).toBe(written)
      }),
    )
  })

  it.each([
    `sha-512=:${base64}:`,
    `sha-256=:AAAA:, sha-512=:${base64}:`,
    `sha-256=:AAAA:,\tsha-512=:${base64}:;q=1 , md5=:AA==:`,
  ])('is found in %s', (header) => {
    expect(parseReprDigest(header)).toBe(digest)
  })

  it.each([
    null,
    '',
    'sha-512',
    'sha-512=::',
    'sha-512=:AAAA:',
    `sha-256=:${base64}:`,
    `xsha-512=:${base64}:`,
    `sha-512=:${base64}`,
    `sha-512="${base64}"`,
    `sha-512=:${base64}:x`,
  ])('is not found in %s', (header) => {
    expect(parseReprDigest(header)).toBeUndefined()
  })
})

describe('the name in Content-Disposition', () => {
  it.each([
    ['attachment; filename="a b.txt"', 'a b.txt'],
    ['attachment; filename="a\\"b.txt"', 'a"b.txt'],
    ['attachment;filename=plain.txt', 'plain.txt'],
    ['attachment; filename="x"; filename*=UTF-8\'\'na%C3%AFve%20%E2%82%AC', 'naïve €'],
    ['attachment; filename*=utf-8\'en\'b; filename="x"', 'b'],
    ['attachment; filename="x"; filename*=UTF-8\'\'%FF', 'x'],
    ['attachment; filename="../../etc/passwd"', 'passwd'],
    ['attachment; filename="C:\\\\dir\\\\.bashrc"', 'bashrc'],
    ["attachment; filename*=UTF-8''..%2F..%2F.ssh%2F%0A.key", 'key'],
    ['attachment; filename="a; filename*=UTF-8\'\'b"', "a; filename*=UTF-8''b"],
    ['attachment; filename="a; filename=b"; x=y', 'a; filename=b'],
    ['attachment; x="a\\"; filename=b"; filename=c', 'c'],
    ['attachment; x="; filename=b"', undefined],
    ['attachment ; a=b ;FileName = c', 'c'],
    ["attachment; a;; filename=b c; filename*=UTF-8''d", 'd'],
    ['attachment; filename="b', undefined],
    ['attachment; filename=".."', undefined],
    ['attachment; filename=""', undefined],
    ['attachment', undefined],
    [null, undefined],
  ])('of %s is %s', (header, name) => {
    expect(fileNameOf(header)).toBe(name)
  })

  it('is always safe', () => {
    const nasty = fc.string({
      unit: fc.oneof(
        fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
        fc.constantFrom('.', '/', '\\', ' ', '\n', '\u202e', '\ud800'),
      ),
      maxLength: 300,
    })
    fc.assert(
      fc.property(nasty, (text) => {
        const name = safeFileName(text)
        if (name === undefined) return
        expect(name).not.toMatch(/[/\\\p{Cc}\p{Cf}\p{Cs}]|^[.\s]|^$/u)
        expect(Buffer.byteLength(name)).toBeLessThanOrEqual(200)
      }),
    )
  })
})

describe('the link to the next page', () => {
  it.each([
    ['</a?b=1,2>; rel="next"', '/a?b=1,2'],
    ['</p>; rel="prev", </n>; title="a, b; rel=x"; rel=next', '/n'],
    ['</n>; REL="first Next"', '/n'],
    ['</p>; title="rel=next", </n>;rel="prev"', undefined],
    ['</p>', undefined],
    ['', undefined],
    [null, undefined],
  ])('in %s is %s', (header, target) => {
    expect(nextLink(header)).toBe(target)
  })
})

it('what others wrote does nothing to a terminal', () => {
  expect(printable('a\u001b[2J\r\nb\u202e\u0000c\u009b')).toBe(
    String.raw`a\u001b[2J\u000d\u000ab\u202e\u0000c\u009b`,
  )
  // Emoji and scripts that are joined stay as they are.
  const joined = '\u{1f468}\u200d\u{1f469} \u0645\u06cc\u200c\u062e e\u0301'
  expect(printable(joined)).toBe(joined)
  expect(printable('x'.repeat(5000)).length).toBeLessThan(2100)
})

it('escaped text is harmless, and JSON the same JSON', () => {
  const unit = fc.oneof(
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
    fc.constantFrom('\u001b', '\n', '\u009b', '\u202e', '\u2028', '\ufeff', '\ud800', '\u{e0041}'),
  )
  fc.assert(
    fc.property(fc.string({ unit }), (text) => {
      expect(escaped(text)).not.toMatch(
        /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u061c\u200e\u200f\u202a-\u202e]/u,
      )
      expect(JSON.parse(escaped(JSON.stringify({ text })))).toEqual({ text })
    }),
  )
})
