import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseAnchors } from '../../src/hashing/rfc3161/anchors.js'
import { TimestampError } from '../../src/hashing/rfc3161/errors.js'

const fixture = (name: string): string =>
  readFileSync(new URL(`../fixtures/timestamps/${name}`, import.meta.url), 'utf8')

const ROOT = fixture('freetsa-root.pem')
const SIGNER = fixture('freetsa-tsa-2026.pem')
const PRIVATE_KEY = execFileSync('openssl', ['genpkey', '-algorithm', 'ED25519']).toString()
const DER = Buffer.from(ROOT.replace(/-----.*-----|\s/g, ''), 'base64')

const block = (base64: string): string =>
  `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`
const subjectsOf = (pem: string): string[] =>
  parseAnchors(pem).certificates.map(({ subject }) => subject)

function refusalOf(pem: string): string {
  try {
    parseAnchors(pem)
  } catch (error) {
    if (!(error instanceof TimestampError)) throw error
    expect(error).toMatchObject({ code: 'bad_anchors', stage: null })
    return error.message
  }
  return expect.fail('taken')
}

describe('parseAnchors', () => {
  it('reads one certificate, or several', () => {
    const [root = ''] = subjectsOf(ROOT)
    expect(root).toBe(
      'C=DE,ST=Bayern,L=Wuerzburg,emailAddress=busilezas@gmail.com,CN=www.freetsa.org,OU=Root CA,O=Free TSA',
    )
    expect(subjectsOf(SIGNER + ROOT)).toEqual([expect.stringContaining('OU=TSA'), root])
    expect(subjectsOf(ROOT + SIGNER + ROOT)).toHaveLength(2)
  })

  it('passes over text outside, and takes every line end', () => {
    const text = `\uFEFFsubject= /O=Free TSA\n${ROOT.trimEnd()}\t\r\nAnother:\r${SIGNER}the end`
    expect(subjectsOf(text)).toHaveLength(2)
    expect(subjectsOf(SIGNER.replaceAll('\n', '\r\n'))).toHaveLength(1)
  })

  it('gives them as PEM, without the rest', () => {
    const pem = parseAnchors(`junk\n${SIGNER}junk\n${ROOT}`).pem
    expect(pem).toBe(SIGNER + ROOT)
    expect(parseAnchors(pem).pem).toBe(pem)
  })

  it.each([
    ['nothing', '', 'no certificate'],
    ['junk', 'junk\n'.repeat(100), 'no certificate'],
    ['DER', DER.toString('latin1'), 'no certificate'],
    ['too few hyphens', ROOT.replaceAll('-----', '----'), 'no certificate'],
    ['an empty block', block(''), 'certificate 1 is not in base64'],
    ['no base64', block('!!!!'), 'certificate 1 is not in base64'],
    [
      'base64 that is cut off',
      block('MIIG'.repeat(9).slice(0, -1)),
      'certificate 1 is not in base64',
    ],
    ['headers in a block', block(`Proc-Type: 4\n\n${DER.toString('base64')}`), 'not in base64'],
    ['no certificate in base64', block('AAAA'), 'certificate 1 is no certificate: no DER'],
    ['other DER', block('MAMCAQE='), 'certificate 1 is no certificate'],
    ['a damaged one', block(DER.subarray(0, -3).toString('base64')), 'no certificate: no DER'],
    ['one with more behind it', block(Buffer.concat([DER, DER]).toString('base64')), 'more bytes'],
    ['a block without an end', ROOT.slice(0, -40), 'certificate 1 has no end'],
    ['a second block without an end', `${SIGNER}${ROOT.slice(0, 500)}`, 'certificate 2 has no end'],
    ['a block in a block', `${ROOT.slice(0, 500)}\n${SIGNER}`, 'certificate 1 has no end'],
    ['an end without a beginning', ROOT.slice(30), 'no beginning'],
    ['another block', ROOT.replaceAll('CERTIFICATE', 'X509 CRL'), 'a block "X509 CRL"'],
    ['a mixed block', ROOT.replace('END CERTIFICATE', 'END PKCS7'), 'a block "PKCS7"'],
    ['a label with odd letters', '-----BEGIN \u001b[31m-----\n', 'a block "?[31m"'],
  ])('refuses %s', (_, pem, says) => {
    expect(refusalOf(pem)).toContain(says)
  })

  it('refuses a private key beside them, and does not repeat it', () => {
    const message = refusalOf(ROOT + PRIVATE_KEY)
    expect(message).toContain('a block "PRIVATE KEY"')
    const [, secret = '?'] = PRIVATE_KEY.split('\n')
    expect(message).not.toContain(secret)
    expect(refusalOf(PRIVATE_KEY.replaceAll('PRIVATE KEY', 'CERTIFICATE'))).not.toContain(secret)
  })

  it('refuses any that is cut off, and fails in no other way', () => {
    fc.assert(
      fc.property(fc.nat({ max: DER.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const changed = Buffer.from(DER)
        changed[at] = (changed[at] ?? 0) ^ mask
        try {
          parseAnchors(block(changed.toString('base64')))
        } catch (error) {
          expect(error).toMatchObject({ code: 'bad_anchors' })
        }
        expect(refusalOf(block(DER.subarray(0, at).toString('base64')))).toContain('certificate 1')
      }),
    )
  })
})
