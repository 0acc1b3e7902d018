import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DerError, hexOf, isInOrder, numberOf, oidOf, parseDer } from '../../src/hashing/der.js'
import { instantOf } from '../../src/hashing/rfc3161/der-times.js'
import { nameKey, nameText } from '../../src/hashing/rfc3161/names.js'
import {
  bits,
  bool,
  explicit,
  generalizedTime,
  int,
  nul,
  octets,
  oid,
  seq,
  set,
  tlv,
  utf8,
} from '../support/der.js'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

/** Any DER: a value, and values in it. */
const { value: anyDer } = fc.letrec<{ value: Buffer; leaf: Buffer }>((tie) => ({
  leaf: fc.oneof(
    fc.bigInt({ min: 0n, max: 2n ** 80n }).map(int),
    fc.boolean().map(bool),
    fc.constant(nul),
    fc.uint8Array({ maxLength: 300 }).map(octets),
    fc.uint8Array({ maxLength: 20 }).map((bytes) => bits(bytes)),
    fc.string().map(utf8),
    fc
      .array(fc.nat({ max: 100_000 }), { maxLength: 6 })
      .map((arcs) => oid(['1', '2', ...arcs].join('.'))),
    fc.uint8Array({ maxLength: 10 }).map((bytes) => tlv(0x81, bytes)),
  ),
  value: fc.oneof(
    { depthSize: 'small' },
    tie('leaf'),
    fc.array(tie('value'), { maxLength: 5 }).map((parts) => seq(...parts)),
    fc.array(tie('value'), { maxLength: 5 }).map((parts) => set(...parts)),
    fc.array(tie('value'), { maxLength: 2 }).map((parts) => explicit(3, ...parts)),
  ),
}))

describe('parseDer', () => {
  it('takes what is DER, and gives its bytes', () => {
    fc.assert(
      fc.property(anyDer, (bytes) => {
        const node = parseDer(bytes)
        expect(Buffer.from(node.raw)).toEqual(bytes)
        expect(node.tag).toBe(bytes[0])
        const isConstructed = (node.tag & 0x20) !== 0
        const inner = Buffer.concat(node.children.map(({ raw }) => raw))
        if (isConstructed) expect(inner).toEqual(Buffer.from(node.content))
      }),
    )
  })

  it('takes nothing that is cut off, or has more behind it', () => {
    fc.assert(
      fc.property(anyDer, fc.nat(), fc.uint8Array({ minLength: 1 }), (bytes, at, more) => {
        expect(() => parseDer(bytes.subarray(0, at % bytes.length))).toThrow(DerError)
        expect(() => parseDer(Buffer.concat([bytes, more]))).toThrow(DerError)
      }),
    )
  })

  it('does no harm, whatever it gets', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        try {
          expect(Buffer.from(parseDer(bytes).raw)).toEqual(Buffer.from(bytes))
        } catch (error) {
          expect(error).toBeInstanceOf(DerError)
        }
      }),
    )
  })

  it.each([
    ['nothing', ''],
    ['a tag alone', '30'],
    ['an indefinite length', '30 80 0500 0000'],
    ['a length in two bytes where one does', `04 81 01 00`],
    ['a length in three bytes where two do', `04 82 00 80 ${'00'.repeat(128)}`],
    ['a length of five bytes', '04 85 0000000001 00'],
    ['a length beyond the end', '04 02 00'],
    ['a member beyond the end of its sequence', '30 03 04 02 00 00'],
    ['bytes after the end', '05 00 00'],
    ['true as 1', '01 01 01'],
    ['a boolean of two bytes', '01 02 ffff'],
    ['an integer without a byte', '02 00'],
    ['a padded integer', '02 02 0001'],
    ['a padded negative integer', '02 02 ff80'],
    ['a null with contents', '05 01 00'],
    ['a bit string without a byte', '03 00'],
    ['unused bits of no byte', '03 01 01'],
    ['nine unused bits', '03 02 09 00'],
    ['unused bits that are set', '03 02 01 01'],
    ['an object identifier without a byte', '06 00'],
    ['an object identifier without an end', '06 02 2a 86'],
    ['a padded arc', '06 03 2a 80 01'],
    ['a padded first arc', '06 02 80 2a'],
    ['a time without seconds', `17 0b ${Buffer.from('2601311200Z').toString('hex')}`],
    ['a time in a zone', `18 13 ${Buffer.from('20260131120000+0100').toString('hex')}`],
    ['an octet string in pieces', '24 04 04 02 0000'],
    ['a sequence that is not constructed', '10 00'],
    ['a set out of order', '31 06 02 01 02 02 01 01'],
    ['a tag of several bytes', '3f 81 01 00'],
    ['an end of contents', '00 00'],
    ['a real number', '09 01 40'],
  ])('does not take %s', (_, text) => {
    expect(() => parseDer(hex(text))).toThrow(DerError)
  })

  it('says where it is no DER', () => {
    expect(() => parseDer(hex('30 06 0500 02 02 0001'))).toThrow('a bad integer at byte 4')
  })

  it('takes no nesting that is too deep, and no more values than a token may have', () => {
    const nested = (depth: number): Buffer => (depth === 0 ? nul : seq(nested(depth - 1)))
    expect(parseDer(nested(60)).tag).toBe(0x30)
    expect(() => parseDer(nested(70))).toThrow('too deep')
    const many = Array.from({ length: 60_000 }, () => nul)
    expect(() => parseDer(seq(...many))).toThrow('too many')
  })
})

describe('what DER says', () => {
  it('is an object identifier', () => {
    for (const text of [
      '0.9.2342',
      '1.2.840.113549.1.1.11',
      '1.3.6.1.4.1.31012.1.1',
      '2.5.29.37',
    ]) {
      expect(oidOf(parseDer(oid(text)))).toBe(text)
    }
    expect(oidOf(parseDer(hex('06 03 883703')))).toBe('2.999.3')
    expect(oidOf(parseDer(nul))).toBeUndefined()
  })

  it('is a number', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        expect(numberOf(parseDer(int(value)))).toBe(value)
      }),
    )
    expect(numberOf(parseDer(hex('02 01 ff')))).toBeUndefined()
    expect(numberOf(parseDer(int(2n ** 60n)))).toBeUndefined()
    expect(numberOf(parseDer(nul))).toBeUndefined()
  })

  it('is hex, in which no two numbers are the same', () => {
    const text = (integer: string): string => hexOf(parseDer(hex(integer)))
    expect(text('02 01 00')).toBe('00')
    expect(text('02 02 00ff')).toBe('ff')
    expect(text('02 02 0100')).toBe('0100')
    expect(text('02 01 ff')).toBe('-01')
    expect(text('02 02 ff01')).toBe('-ff')
  })

  it('is a time', () => {
    const at = (node: Buffer): string => instantOf(parseDer(node), 'it')
    expect(at(tlv(0x17, Buffer.from('491231235959Z')))).toBe('2049-12-31T23:59:59Z')
    expect(at(tlv(0x17, Buffer.from('500101000000Z')))).toBe('1950-01-01T00:00:00Z')
    expect(at(generalizedTime('20260131120000.5Z'))).toBe('2026-01-31T12:00:00.500000Z')
    expect(() => at(generalizedTime('20260229120000Z'))).toThrow('it should be a valid date')
    expect(() => at(nul)).toThrow('it is no time')
  })

  it('is in order, or not', () => {
    expect(isInOrder(parseDer(seq(int(1), int(2), int(2))))).toBe(true)
    expect(isInOrder(parseDer(seq(int(2), int(1))))).toBe(false)
    expect(isInOrder(parseDer(seq(octets(hex('ff')), octets(hex('0000')))))).toBe(true)
  })
})

describe('a distinguished name', () => {
  const attribute = (type: string, value: Buffer): Buffer => seq(oid(type), value)
  const name = (...values: readonly Buffer[]) =>
    parseDer(seq(...values.map((value) => set(attribute('2.5.4.3', value)))))

  it('is written as RFC 4514 says', () => {
    const whole = parseDer(
      seq(
        set(attribute('2.5.4.6', tlv(0x13, Buffer.from('NL')))),
        set(
          attribute('2.5.4.10', utf8('Sue, Grabbit and Runn')),
          attribute('2.5.4.11', utf8('Sales')),
        ),
        set(attribute('1.2.3.4', utf8('x'))),
        set(attribute('2.5.4.3', tlv(0x1e, Buffer.from('00e90041', 'hex')))),
      ),
    )
    expect(nameText(whole)).toBe('CN=éA,1.2.3.4=#0c0178,OU=Sales+O=Sue\\, Grabbit and Runn,C=NL')
    expect(nameText(name(utf8(' a "+;<>\\#')))).toBe('CN=\\ a \\"\\+\\;\\<\\>\\\\#')
    expect(nameText(name(utf8('#a ')))).toBe('CN=\\#a\\ ')
    expect(nameText(name(utf8('a\u001b[31m\u202e')))).toBe('CN=a\\1b[31m\\e2\\80\\ae')
    expect(nameText(name(octets(hex('00'))))).toBe('CN=#040100')
    expect(nameText(name())).toBe('')
  })

  it('is compared without regard to case, white space and the type of string', () => {
    const key = nameKey(name(utf8('Free TSA')))
    expect(nameKey(name(tlv(0x13, Buffer.from(' free  tsa'))))).toBe(key)
    expect(nameKey(name(tlv(0x1e, Buffer.from('Free TSA', 'utf16le').swap16())))).toBe(key)
    for (const other of [utf8('FreeTSA'), utf8('Free TSA.'), octets(Buffer.from('Free TSA'))]) {
      expect(nameKey(name(other))).not.toBe(key)
    }
    expect(nameKey(name(utf8('a'), utf8('b')))).not.toBe(nameKey(name(utf8('b'), utf8('a'))))
    expect(nameKey(name(utf8('a","b')))).not.toBe(nameKey(name(utf8('a'), utf8('b'))))
  })

  it('is one', () => {
    expect(() => nameText(parseDer(seq(nul)))).toThrow('not made of sets')
    expect(() => nameKey(parseDer(seq(set(seq(oid('2.5.4.3'))))))).toThrow('is missing')
  })
})
