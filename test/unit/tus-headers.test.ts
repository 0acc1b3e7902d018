/** The two headers of the tus protocol that we parse by ourselves. */
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hashed } from '../../src/api/body-digest.js'
import { HttpProblem } from '../../src/api/problems.js'
import { parseChecksum } from '../../src/api/tus/checksum.js'
import { parseMetadata } from '../../src/api/tus/metadata.js'

const ALGORITHMS = ['sha1', 'sha256', 'sha512'] as const
const LENGTHS = { sha1: 20, sha256: 32, sha512: 64 }

function statusOf(action: () => unknown): number | undefined {
  try {
    action()
    return undefined
  } catch (error) {
    if (error instanceof HttpProblem) return error.status
    throw error
  }
}

async function* cut(content: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += size) yield content.subarray(at, at + size)
}

describe('parseChecksum', () => {
  it('reads every digest of the right length', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...ALGORITHMS),
        fc.uint8Array({ maxLength: 70 }),
        (name, bytes) => {
          const header = `${name} ${Buffer.from(bytes).toString('base64')}`
          if (bytes.length !== LENGTHS[name])
            expect(statusOf(() => parseChecksum(header))).toBe(400)
          else
            expect(parseChecksum(header)).toMatchObject({
              algorithm: name,
              digest: Buffer.from(bytes),
            })
        },
      ),
    )
  })

  it('refuses everything else with 400', () => {
    const text = fc.oneof(
      fc.string(),
      fc.tuple(fc.constantFrom(...ALGORITHMS), fc.string()).map((t) => t.join(' ')),
    )
    fc.assert(
      fc.property(text, (header) => {
        expect(statusOf(() => parseChecksum(header))).toBe(400)
      }),
    )
  })

  const right = `sha1 ${createHash('sha1').digest('base64')}`
  it.each([
    ['', 'sha1,sha256,sha512'],
    ['md5 1B2M2Y8AsgTpgAmY7PhCfg==', 'sha1,sha256,sha512'],
    ['toString AAAA', 'sha1,sha256,sha512'],
    ['SHA1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=', 'sha1,sha256,sha512'],
    [`${right} more`, '20 bytes in base64'],
    [right.replace(' ', '  '), '20 bytes in base64'],
  ])('says of %j what is accepted', (header, text) => {
    const problem = expect.objectContaining({
      body: { detail: expect.stringContaining(text) },
    })
    expect(() => parseChecksum(header)).toThrow(problem)
    expect(statusOf(() => parseChecksum(right))).toBeUndefined()
  })
})

describe('bytes with a checksum', () => {
  it('are passed on, and confirmed when it is right', async () => {
    const chunk = fc.uint8Array({ maxLength: 200 })
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...ALGORITHMS),
        chunk,
        chunk,
        fc.integer({ min: 1, max: 50 }),
        async (algorithm, content, expected, size) => {
          const digest = createHash(algorithm).update(expected).digest('base64')
          const checksum = parseChecksum(`${algorithm} ${digest}`)
          const { pieces, confirm } = hashed(cut(content, size), [checksum])
          const passed: Uint8Array[] = []
          for await (const piece of pieces) passed.push(piece)
          expect(Buffer.concat(passed)).toEqual(Buffer.from(content))
          const equal = Buffer.from(content).equals(Buffer.from(expected))
          expect(statusOf(confirm)).toBe(equal ? undefined : 460)
        },
      ),
      { examples: [['sha1', Uint8Array.of(1, 2), Uint8Array.of(1, 2), 1]] },
    )
  })
})

const JOB = '01234567-89ab-cdef-0123-456789abcdef'
const encode = (values: Record<string, string | Uint8Array>): string =>
  Object.entries(values)
    .map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`)
    .join(',')

describe('parseMetadata', () => {
  const tag = fc.string({ unit: 'grapheme', maxLength: 12 }).filter((text) => !text.includes('\0'))

  it('reads what was described, among other keys', () => {
    const key = fc
      .stringMatching(/^[!-+\--~]{1,20}$/)
      .filter((k) => !['boefje_meta_id', 'filename', 'filetype', 'tags'].includes(k))
    fc.assert(
      fc.property(
        tag,
        fc.array(tag, { maxLength: 5 }),
        tag,
        fc.dictionary(key, fc.uint8Array({ maxLength: 20 }), { maxKeys: 4 }),
        (filename, tags, filetype, others) => {
          const header = encode({
            ...others,
            boefje_meta_id: JOB,
            filename,
            tags: JSON.stringify(tags),
            filetype,
          })
          expect(parseMetadata(header)).toEqual({
            boefjeMetaId: JOB,
            name: filename,
            tags: filetype === '' ? tags : [...tags, filetype],
          })
        },
      ),
    )
  })

  it('has defaults, and takes the usual liberties', () => {
    const plain = { boefjeMetaId: JOB, name: 'file', tags: [] }
    expect(parseMetadata(encode({ boefje_meta_id: JOB }))).toEqual(plain)
    expect(parseMetadata(`flag, ${encode({ boefje_meta_id: JOB.toUpperCase() })} ,x `)).toEqual(
      plain,
    )
    expect(parseMetadata(`${encode({ boefje_meta_id: JOB })},__proto__ YQ==,filetype`)).toEqual(
      plain,
    )
  })

  it('refuses everything else with 422', () => {
    const pieces = fc.constantFrom(
      ...`boefje_meta_id filename tags , = YQ== /w== ${encode({ boefje_meta_id: JOB })}`.split(' '),
      ' ',
    )
    const text = fc.oneof(
      fc.string(),
      fc.array(pieces, { maxLength: 12 }).map((parts) => parts.join('')),
    )
    fc.assert(
      fc.property(text, (header) => {
        expect([undefined, 422]).toContain(statusOf(() => parseMetadata(header)))
      }),
    )
    expect(statusOf(() => parseMetadata(''))).toBe(422)
  })
})
