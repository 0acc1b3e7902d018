import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { JsonScanner } from '../../src/api/upload/json-scanner.js'
import { ScanError } from '../../src/api/upload/scan-error.js'
import { decodeBase64 } from '../../src/domain/base64.js'
import { UploadBodies } from '../support/upload-bodies.js'

const NO_LIMIT = { maxSkeletonBytes: 1e6 }

interface Scanned {
  readonly skeleton: string
  readonly contents: readonly Buffer[]
}

/** Scans the chunks, checks the order of events, and overwrites each chunk once it is scanned. */
function scan(chunks: readonly Buffer[], options = NO_LIMIT): Scanned {
  const scanner = new JsonScanner(options)
  const contents: Buffer[] = []
  let parts: Buffer[] | undefined
  const demand = (condition: boolean): void => {
    if (!condition) throw new Error('The events are out of order, or empty')
  }
  for (const chunk of chunks) {
    for (const event of scanner.write(chunk)) {
      if (event.type === 'begin') {
        demand(parts === undefined && event.index === contents.length)
        parts = []
      } else if (event.type === 'data') {
        demand(event.bytes.length > 0)
        parts?.push(event.bytes)
      } else {
        demand(parts !== undefined)
        contents.push(Buffer.concat(parts ?? []))
        parts = undefined
      }
    }
    chunk.fill('"')
  }
  const skeleton = scanner.finish()
  demand(parts === undefined)
  return { skeleton, contents }
}

const scanText = (text: string, options = NO_LIMIT): Scanned => scan([Buffer.from(text)], options)
const byteByByte = (text: string): Scanned =>
  scan([...Buffer.from(text)].map((byte) => Buffer.of(byte)))

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** JSON of the value, with each string at `files[*].content` as `spell` has it. */
function spelled(value: unknown, spell: (text: string) => string | undefined): string {
  if (isObject(value) && Array.isArray(value.files)) {
    for (const file of value.files) {
      if (isObject(file) && typeof file.content === 'string') file.content = spell(file.content)
    }
  }
  return JSON.stringify(value)
}

/** Texts of all contents in valid JSON, also of those that a later member replaces. */
function contentTexts(text: string): { file: number; text: string }[] {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? []
  const found: { file: number; text: string }[] = []
  let at = 0
  const walk = (path: readonly (string | number)[]): void => {
    const token = tokens[at++] ?? ''
    if (token === '{' || token === '[') {
      for (let position = 0; !'}]'.includes(tokens[at] ?? '}'); position++) {
        let step: string | number = position
        if (token === '{') {
          step = JSON.parse(tokens[at] ?? '') as string
          at += 2
        }
        walk([...path, step])
        if (tokens[at] === ',') at++
      }
      at++
    } else if (path.length === 3 && path[0] === 'files' && path[2] === 'content') {
      const file = path[1]
      if (typeof file === 'number' && token.startsWith('"')) {
        found.push({ file, text: JSON.parse(token) as string })
      }
    }
  }
  walk([])
  return found
}

type Outcome = 'read' | 'not base64' | 'not JSON'

/**
 * Compares the scanner with `JSON.parse` and `decodeBase64` of the whole body. The one difference
 * that is meant: malformed base64 is refused also where a later member replaces it, so all contents
 * of the text count.
 */
function compare(body: Buffer, chunks: readonly Buffer[]): Outcome {
  let text: string | undefined
  let value: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(body)
    value = JSON.parse(text)
  } catch {
    text = undefined
  }
  const texts = text === undefined ? [] : contentTexts(text)
  const contents = texts.map((content) => decodeBase64(content.text))
  const bad = contents.indexOf(undefined)

  let scanned: Scanned
  let skeleton: unknown
  try {
    scanned = scan(chunks)
    skeleton = JSON.parse(scanned.skeleton)
  } catch (error) {
    if (!(error instanceof ScanError || error instanceof SyntaxError)) throw error
    if (text === undefined) return 'not JSON'
    if (bad === -1) throw new Error(`Refused what is valid: ${error.message}`)
    expect(error).toMatchObject({ code: 'malformed_base64', file: texts[bad]?.file })
    return 'not base64'
  }
  if (text === undefined || bad !== -1) throw new Error('Read what is not valid')
  const hex = scanned.contents.map((content) => content.toString('hex'))
  expect(hex).toEqual(contents.map((content) => content?.toString('hex')))
  const expected = spelled(value, (content) => decodeBase64(content)?.toString('hex'))
  expect(spelled(skeleton, (index) => (/^\d+$/.test(index) ? hex[Number(index)] : index))).toBe(
    expected,
  )
  return 'read'
}

/** Compares many bodies, each made from a number that a failure shows as its counterexample. */
function compareMany(kind: 'valid' | 'damaged', numRuns: number): Record<Outcome, number> {
  const outcomes = { read: 0, 'not base64': 0, 'not JSON': 0 }
  const run = (seed: number): void => {
    const bodies = new UploadBodies(seed)
    const body = bodies[kind]()
    try {
      outcomes[compare(body, bodies.chunks(body))]++
    } catch (error) {
      throw new Error(`Body ${JSON.stringify(body.toString('latin1'))}`, { cause: error })
    }
  }
  fc.assert(fc.property(fc.noShrink(fc.integer()), run), { numRuns })
  return outcomes
}

describe('JsonScanner and JSON.parse', () => {
  it('agree on 40,000 valid bodies', () => {
    const outcomes = compareMany('valid', 40_000)
    expect(outcomes['not JSON']).toBe(0)
    expect(outcomes.read).toBeGreaterThan(30_000)
    expect(outcomes['not base64']).toBeGreaterThan(500)
  })

  it('agree on 60,000 damaged bodies', () => {
    const outcomes = compareMany('damaged', 60_000)
    expect(outcomes['not JSON']).toBeGreaterThan(20_000)
    expect(outcomes.read).toBeGreaterThan(5000)
    expect(outcomes['not base64']).toBeGreaterThan(500)
  })
})

describe('JsonScanner', () => {
  const UPLOAD =
    '{"status":"x","files":[{"name":"a","content":"aGVsbG8=","tags":["t"]},{"content":"AQID"}]}'

  it('takes contents out and keeps the rest to the byte', () => {
    for (const { skeleton, contents } of [scanText(UPLOAD), byteByByte(UPLOAD)]) {
      expect(skeleton).toBe(UPLOAD.replace('"aGVsbG8="', '"0"').replace('"AQID"', '"1"'))
      expect(contents).toEqual([Buffer.from('hello'), Buffer.of(1, 2, 3)])
    }
  })

  it.each([
    ['{"files":[{"content":"\\u0041\\u0051\\n\\/\\u002f"}]}', '010fff'],
    ['{"files":[{"content":""}]}', ''],
    ['{"files":[{"content":" A Q = = "}]}', '01'],
    ['{"fil\\u0065s":[{"\\u0063\\u006f\\u006e\\u0074\\u0065\\u006E\\u0074":"AQ=="}]}', '01'],
    [' { "files" : [ {} , "content" , [] , { "a" : { } , "content" : "AQ==" } ] } ', '01'],
  ])('reads %s', (text, hex) => {
    for (const { contents } of [scanText(text), byteByByte(text)]) {
      expect(contents.map((content) => content.toString('hex'))).toEqual([hex])
    }
  })

  it.each([
    '{"content":"AQ=="}',
    '[{"files":[{"content":"AQ=="}]}]',
    '{"files":{"content":"AQ=="}}',
    '{"files":["content","AQ=="]}',
    '{"files":[[{"content":"AQ=="}]]}',
    '{"files":[{"content":["AQ=="]}]}',
    '{"files":[{"content":{"content":"AQ=="}}]}',
    '{"files":[{"a":"content","b":"AQ=="}]}',
    '{"a":[{"content":"AQ=="}],"b":"files"}',
    '{"a":{"files":[{"content":"AQ=="}]}}',
    '{"files":1,"a":[{"content":"AQ=="}]}',
    '{"files":[{"contents":"AQ==","conten":"","\\u0063ontent\\u0000":"","content\\\\":""}]}',
    '{"files":[{"content":1,"a":"AQ=="}]}',
    '"files"',
    '',
  ])('finds no content in %s', (text) => {
    for (const scanned of [scanText(text), byteByByte(text)]) {
      expect(scanned).toEqual({ skeleton: text, contents: [] })
    }
  })

  it.each([
    ['malformed_base64', '{"files":[{"content":"AQ=="},{"content":"A"}]}', 1],
    ['malformed_base64', '{"files":[{"content":"AAA-"', 0],
    ['malformed_base64', '{"files":[[],{"content":"AAA\\""}]}', 1],
    ['malformed_base64', '{"files":[{"content":"AA\\u0141A"}]}', 0],
    ['malformed_base64', '{"files":[{"content":"AAAŁ"}]}', 0],
    ['malformed_base64', '{"files":[{},{}],"files":[{"content":"A"}]}', 0],
    ['invalid_string', '{"files":[{"content":"AAAA\n"}]}', 0],
    ['invalid_string', '{"files":[{},{"content":"AAAA\\x"}]}', 1],
    ['invalid_string', '{"files":[{"content":"\\u12G4"}]}', 0],
    ['invalid_string', '{"files":[{"content":"AAAA\\u004"}]}', 0],
    ['unterminated_string', '{"files":[{"content":"AAAA', 0],
    ['unterminated_string', '{"files":[{"content', undefined],
    ['unterminated_string', '"\\"', undefined],
  ] as const)('fails with %s for %j', (code, text, file) => {
    for (const read of [scanText, byteByByte]) {
      expect(() => read(text)).toThrow(expect.objectContaining({ name: 'ScanError', code, file }))
    }
  })

  it('fails at malformed base64 before the body ends', () => {
    const scanner = new JsonScanner(NO_LIMIT)
    const events = scanner.write(Buffer.from('{"files":[{"content":"!!!!'))
    expect(events.next().value).toEqual({ type: 'begin', index: 0 })
    expect(() => events.next()).toThrow(expect.objectContaining({ code: 'malformed_base64' }))
  })

  it('fails for what is not UTF-8, and drops a byte order mark', () => {
    const bytes = Buffer.from('{"a":"\u00e9"}', 'latin1')
    expect(() => scan([bytes])).toThrow(expect.objectContaining({ code: 'not_utf8' }))
    expect(scanText('\ufeff{}').skeleton).toBe('{}')
  })

  it('counts contents towards the limit of the skeleton by their index only', () => {
    const long = `{"files":[{"content":"${'AAAA'.repeat(100_000)}"}]}`
    const length = '{"files":[{"content":"0"}]}'.length
    expect(scanText(long, { maxSkeletonBytes: length }).contents[0]?.length).toBe(300_000)
    for (const text of [long, `{"a":"${'a'.repeat(100)}`, ' '.repeat(100)]) {
      expect(() => scanText(text, { maxSkeletonBytes: length - 1 })).toThrow(
        expect.objectContaining({ code: 'skeleton_too_long', file: undefined }),
      )
    }
  })

  it('follows nesting of any depth', () => {
    const deep = `${'[{"files":'.repeat(50_000)}0${'}]'.repeat(50_000)}`
    const text = `{"a":${deep},"files":[{"a":${deep},"content":"AQ=="}]}`
    expect(scanText(text, { maxSkeletonBytes: 1e7 }).contents).toEqual([Buffer.of(1)])
  })

  it('throws nothing but its own errors, whatever the bytes', () => {
    const byte = fc.oneof(fc.constantFrom(...Buffer.from('{}[]:,"\\')), fc.nat({ max: 255 }))
    const start = fc.constantFrom(
      '',
      '{"files":[',
      '{"files":[{"content":',
      '{"files":[{"content":"',
    )
    fc.assert(
      fc.property(start, fc.array(byte, { maxLength: 60 }), (text, bytes) => {
        const body = Buffer.concat([Buffer.from(text), Uint8Array.from(bytes)])
        compare(body, [Buffer.from(body)])
      }),
      { numRuns: 10_000 },
    )
  })
})
