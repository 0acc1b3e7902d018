import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseTimestampLink, recordLink, tokenLink } from '../../src/hashing/rfc3161/links.js'

const ID = '0f9c1a52-7d1e-4b7b-9f5e-0123456789ab'
const TOKEN = Buffer.from('30030201ff', 'hex')

describe('links of tokens', () => {
  it('are the base64 of the token, on one line', () => {
    const token = Buffer.alloc(200, 0x30)
    expect(tokenLink(token)).toBe(token.toString('base64'))
    expect(tokenLink(token)).toMatch(/^[A-Za-z0-9+/]+=*$/)
  })

  it('are read back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (rest) => {
        const token = Buffer.concat([Buffer.of(0x30), rest])
        const parsed = parseTimestampLink(tokenLink(token))
        expect(parsed?.kind === 'token' && token.equals(parsed.token)).toBe(true)
      }),
    )
  })

  const link = tokenLink(TOKEN)

  it.each([
    ['a space before it', ` ${link}`],
    ['a line break after it', `${link}\n`],
    ['a line break in it', `${link.slice(0, 4)}\n${link.slice(4)}`],
    ['no padding', link.replace(/=+$/, '')],
    ['more padding', `${link}=`],
    ['other trailing bits', link.replace(/8=$/, '9=')],
    ['letters of base64url', tokenLink(Buffer.from('30fbff', 'hex')).replace('/', '_')],
    ['the form of PEM', `-----BEGIN CMS-----\n${link}\n-----END CMS-----`],
    ['hex instead', TOKEN.toString('hex')],
    ['a data URL around it', `data:application/cms;base64,${link}`],
    ['something that no SEQUENCE begins with', Buffer.from('plain text').toString('base64')],
    ['nothing', ''],
    ['only padding', '===='],
  ])('are not read with %s', (_, changed) => {
    expect(changed).not.toBe(link)
    expect(parseTimestampLink(changed)).toBeUndefined()
  })
})

describe('links of records', () => {
  it('are paths of the API', () => {
    expect(recordLink(ID)).toBe(`/bytes/evidence_records/${ID}`)
  })

  it('are read back', () => {
    fc.assert(
      fc.property(fc.uuid(), (id) => {
        expect(parseTimestampLink(recordLink(id))).toEqual({ kind: 'record', id })
      }),
    )
  })

  it.each([
    `/bytes/evidence_records/${ID.toUpperCase()}`,
    `/bytes/evidence_records/${ID.replaceAll('-', '')}`,
    `/bytes/evidence_records/{${ID}}`,
    `/bytes/evidence_records/urn:uuid:${ID}`,
    `/bytes/evidence_records/${ID}/`,
    `/bytes/evidence_records/${ID}\n`,
    ` /bytes/evidence_records/${ID}`,
    `/bytes/evidence_records/${ID}?x=1`,
    `/bytes/evidence_records//${ID}`,
    `/bytes/evidence_records/../raw/${ID}`,
    '/bytes/evidence_records/',
    `/bytes/raw/${ID}`,
    `/evidence_records/${ID}`,
    `http://localhost:8002/bytes/evidence_records/${ID}`,
    ID,
  ])('are not read from %j', (link) => {
    expect(parseTimestampLink(link)).toBeUndefined()
  })
})
