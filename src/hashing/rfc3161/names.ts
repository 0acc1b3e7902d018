/** Distinguished names: as text (RFC 4514), and compared (RFC 5280, section 7.1). */
import { type DerNode, TAG } from '../der.js'
import { Fields, StructureError } from './fields.js'

/** Of RFC 4514, section 3, and a few more that certificates of authorities have. */
const TYPES: Readonly<Record<string, string>> = {
  '2.5.4.3': 'CN',
  '2.5.4.4': 'SN',
  '2.5.4.5': 'serialNumber',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.9': 'STREET',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
  '2.5.4.12': 'title',
  '2.5.4.13': 'description',
  '2.5.4.42': 'GN',
  '2.5.4.97': 'organizationIdentifier',
  '0.9.2342.19200300.100.1.1': 'UID',
  '0.9.2342.19200300.100.1.25': 'DC',
  '1.2.840.113549.1.9.1': 'emailAddress',
}

/** How the contents of a string type are read, by identifier octet. */
const CHARACTERS: Readonly<Record<number, (content: Buffer) => string>> = {
  12: (content) => content.toString('utf8'),
  18: (content) => content.toString('latin1'),
  19: (content) => content.toString('latin1'),
  20: (content) => content.toString('latin1'),
  22: (content) => content.toString('latin1'),
  26: (content) => content.toString('latin1'),
  30: (content) =>
    (content.length % 2 === 0 ? Buffer.from(content).swap16() : content).toString('utf16le'),
}

function textOf(value: DerNode): string | undefined {
  return CHARACTERS[value.tag]?.(Buffer.from(value.content))
}

interface Attribute {
  readonly type: string
  readonly value: DerNode
}

/** The relative distinguished names, as they stand. @throws StructureError when it is no Name */
function attributesOf(name: DerNode): readonly (readonly Attribute[])[] {
  return name.children.map((rdn) => {
    if (rdn.tag !== TAG.set) throw new StructureError('a name is not made of sets')
    return rdn.children.map((child) => {
      const fields = new Fields(child, 'an attribute of a name')
      const type = fields.oid('the type')
      const value = fields.any('the value')
      fields.end()
      return { type, value }
    })
  })
}

const utf8Hex = (text: string): string =>
  [...Buffer.from(text)].map((byte) => `\\${byte.toString(16).padStart(2, '0')}`).join('')

/** RFC 4514, section 2.4; characters that a terminal would not print are given in hex. */
function escaped(text: string): string {
  return text
    .replace(/["+,;<>\\]/g, '\\$&')
    .replace(/^[ #]| $/g, '\\$&')
    .replace(/[\p{C}\p{Zl}\p{Zp}]/gu, utf8Hex)
}

/**
 * Text of a Name, the most specific attribute first: `CN=Root,O=Some company`.
 * @throws StructureError when it is no Name
 */
export function nameText(name: DerNode): string {
  return attributesOf(name)
    .map((rdn) =>
      rdn
        .map(({ type, value }) => {
          const short = TYPES[type]
          const text = textOf(value)
          return short === undefined || text === undefined
            ? `${short ?? type}=#${Buffer.from(value.raw).toString('hex')}`
            : `${short}=${escaped(text)}`
        })
        .join('+'),
    )
    .reverse()
    .join(',')
}

/**
 * Names are the same when their keys are: strings without regard to their type, to case, and to
 * the amount of white space.
 * @throws StructureError when it is no Name
 */
export function nameKey(name: DerNode): string {
  return JSON.stringify(
    attributesOf(name).map((rdn) =>
      rdn
        .map(({ type, value }) => {
          const text = textOf(value)
          return text === undefined
            ? `${type}#${Buffer.from(value.raw).toString('hex')}`
            : `${type}=${text.normalize('NFKC').toLowerCase().trim().replace(/\s+/g, ' ')}`
        })
        .sort(),
    ),
  )
}
