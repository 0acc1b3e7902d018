/** The text of `VERIFY.md`; that its commands work is in test/integration/evidence.test.ts. */
import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import type { TimestampProof } from '../../src/domain/hash-repository.js'
import type { RawFile } from '../../src/domain/models.js'
import { guideText } from '../../src/flows/evidence-guide.js'
import { boefjeMeta } from '../support/rows.js'

const HOSTILE = 'CN=a\n```sh\nrm -rf /\n```\n`b`\u202e\u001b[2J'

const rawFile: RawFile = {
  id: '00000000-0000-4000-8000-000000000000',
  boefjeMeta: boefjeMeta({ organization: HOSTILE, inputOoi: HOSTILE, arguments: '{"a":"```"}' }),
  mimeTypes: [HOSTILE],
  secureHash: `sha512:${'a'.repeat(128)}`,
  signingProviderUrl: `https://example.com/${HOSTILE}`,
  hashRetrievalLink: HOSTILE,
}
const proof: TimestampProof = {
  time: '2026-01-04T21:57:43Z',
  token: Buffer.of(),
  record: null,
  steps: [],
  certificates: '',
  anchors: '',
}
const timestamp = {
  proof,
  signer: HOSTILE,
  serial: '0a',
  anchors: [{ pem: '', subject: HOSTILE, fingerprint: 'AA:BB' }],
}
const blocksOf = (text: string): string[] =>
  [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, commands = '']) => commands)

describe('the guide', () => {
  it.each([
    ['with a timestamp', timestamp, 5],
    ['without one', { reason: HOSTILE, publishedAt: HOSTILE, files: undefined }, 2],
  ])('%s has no commands and no lines but its own', (_, facts, blocks) => {
    const text = guideText(rawFile, facts)
    expect(blocksOf(text).length).toBe(blocks)
    expect(text.split('\n').filter((line) => line.startsWith('```')).length).toBe(2 * blocks)
    expect(blocksOf(text).join('')).not.toMatch(/rm -rf/)
    expect(text).not.toMatch(/[^\P{C}\n]/u)
  })

  it('takes the anchors where the timestamp brings no certificates', () => {
    expect(guideText(rawFile, timestamp)).toContain(' -untrusted certificates/anchors.pem ')
    const certificates = 'some'
    expect(guideText(rawFile, { ...timestamp, proof: { ...proof, certificates } })).toContain(
      ' -untrusted certificates/token.pem ',
    )
  })

  it.each([
    ['2026-01-04T21:57:43Z', 'Jan  4 21:57:43 2026 GMT', 'Jan  4 21:57:43.5 2026 GMT'],
    ['2026-12-24T01:02:03.500000Z', 'Dec 24 01:02:03.5 2026 GMT', 'Dec 24 01:02:04.5 2026 GMT'],
  ])('compares the time %s with what openssl writes', (time, right, wrong) => {
    const command =
      blocksOf(guideText(rawFile, { ...timestamp, proof: { ...proof, time } }))[3] ?? ''
    const run = (told: string): string => {
      const shell = `openssl() { printf 'Serial number: 0x02\\nTime stamp: ${told}\\nTSA: x\\n'; }\n`
      try {
        return execFileSync('sh', ['-c', `${shell}${command}`], { encoding: 'utf8' })
      } catch (error) {
        return String(Reflect.get(Object(error), 'stdout'))
      }
    }
    expect(run(right)).toBe(`time: OK, ${time}\n`)
    expect(run(wrong)).toBe('time: FAILED\n')
  })
})
