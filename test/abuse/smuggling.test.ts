/** Requests that two servers could read in two ways, written byte by byte; and bodies that would grow. */
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { beforeAll, describe, expect, it } from 'vitest'
import { eventually, openWire, send, stateOf } from '../acceptance/helpers.js'
import { tallyOf } from '../support/tally.js'
import { victimOf } from './victim.js'

const victim = victimOf({
  BYTES_HEADERS_TIMEOUT_SECONDS: '5',
  BYTES_IDLE_TIMEOUT_SECONDS: '5',
})
let job: string

beforeAll(async () => {
  job = await victim.client.job()
})

/** What a proxy may take for a part of the first request. It is never to be answered. */
const HIDDEN = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n'
const CHUNKED = 'Transfer-Encoding: chunked\r\n'
const LENGTH = `Content-Length: ${HIDDEN.length}\r\n`

/** A request for what needs no token, with these header lines and this body. */
const post = (lines: string, body = '', start = 'POST /health HTTP/1.1\r\nHost: x\r\n'): string =>
  `${start}${lines}\r\n${body}`

const chunks = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`

const SHAPES: readonly (readonly [string, string])[] = [
  ['length, then chunked', post(LENGTH + CHUNKED, `0\r\n\r\n${HIDDEN}`)],
  ['chunked, then length', post(CHUNKED + LENGTH, `0\r\n\r\n${HIDDEN}`)],
  ['two lengths', post(`Content-Length: 0\r\n${LENGTH}`, HIDDEN)],
  ['two equal lengths', post(`${LENGTH}${LENGTH}`, HIDDEN)],
  ['a list of lengths', post(`Content-Length: 0, ${HIDDEN.length}\r\n`, HIDDEN)],
  ...['+0', '-1', '0x0', '0 0', '1e1', '0;', '', '99999999999999999999', '０'].map(
    (length) =>
      [
        `the length ${JSON.stringify(length)}`,
        post(`Content-Length: ${length}\r\n`, HIDDEN),
      ] as const,
  ),
  ['space before the colon', post(`Content-Length : ${HIDDEN.length}\r\n`, HIDDEN)],
  [
    'chunked with space before the colon',
    post(`Transfer-Encoding : chunked\r\n`, `0\r\n\r\n${HIDDEN}`),
  ],
  ['chunked on a folded line', post(`Transfer-Encoding:\r\n chunked\r\n${LENGTH}`, HIDDEN)],
  ['a folded line', post(`X-A: b\r\n c: d\r\n${LENGTH}${CHUNKED}`, HIDDEN)],
  ['a first line that is folded', post(` X-A: b\r\n${LENGTH}`, HIDDEN)],
  ...[
    'xchunked',
    'chunked-x',
    'identity',
    'chunked, identity',
    'chunked, x',
    '"chunked"',
    ', ',
    '\u000bchunked',
  ].map(
    (coding) =>
      [
        `the coding ${JSON.stringify(coding)}`,
        post(`Transfer-Encoding: ${coding}\r\n`, `0\r\n\r\n${HIDDEN}`),
      ] as const,
  ),
  [
    'two codings, the last another',
    post(`${CHUNKED}Transfer-Encoding: x\r\n`, `0\r\n\r\n${HIDDEN}`),
  ],
  ...['g', '0x0', '-0', '+0', ' 0', '_', '', '0 x', 'fffffffffffffffff', '０'].map(
    (size) =>
      [
        `the chunk size ${JSON.stringify(size)}`,
        post(CHUNKED, `${size}\r\n\r\n${HIDDEN}`),
      ] as const,
  ),
  ['a chunk that is longer than it says', post(CHUNKED, `1\r\nabc\r\n0\r\n\r\n${HIDDEN}`)],
  ['a line feed alone after a chunk size', post(CHUNKED, `0\n\r\n${HIDDEN}`)],
  ['a line feed alone after a chunk', post(CHUNKED, `1\r\na\n0\r\n\r\n${HIDDEN}`)],
  ['a line feed alone in the head', post(`X-A: b\nContent-Length: 0\r\n${CHUNKED}`, HIDDEN)],
  ['line feeds alone', `GET /health HTTP/1.1\nHost: x\n\n${HIDDEN}`],
  ['a carriage return alone', post(`X-A: b\rContent-Length: 0\r\n${CHUNKED}`, HIDDEN)],
  ['a carriage return alone in a chunk size', post(CHUNKED, `0\r\r\n${HIDDEN}`)],
  ['NUL in a value', post(`X-A: b\0c\r\n${LENGTH}`, HIDDEN)],
  ['NUL in a name', post(`X-\0A: b\r\n${LENGTH}`, HIDDEN)],
  ['a header without a colon', post(`X-A\r\n${LENGTH}`, HIDDEN)],
  ['a header without a name', post(`: a\r\n${LENGTH}`, HIDDEN)],
  ['no version', `GET /health\r\n\r\n${HIDDEN}`],
  ['an unknown version', `GET /health HTTP/1.2\r\nHost: x\r\n\r\n${HIDDEN}`],
  ['version 2', `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${HIDDEN}`],
  ['more after the version', `GET /health HTTP/1.1 x\r\nHost: x\r\n\r\n${HIDDEN}`],
  ['no method', ` /health HTTP/1.1\r\nHost: x\r\n\r\n${HIDDEN}`],
  ['a method in another case', `post /health HTTP/1.1\r\nHost: x\r\n${LENGTH}\r\n${HIDDEN}`],
  [
    'chunked in HTTP/1.0',
    `POST /health HTTP/1.0\r\nConnection: keep-alive\r\n${CHUNKED}\r\n0\r\n\r\n${HIDDEN}`,
  ],
  ['no host', `GET /health HTTP/1.1\r\nConnection: close\r\n\r\n${HIDDEN}`],
  [
    'an upgrade',
    `GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: h2c\r\n\r\n${HIDDEN}`,
  ],
  ['a tunnel', `CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n${HIDDEN}`],
]

describe('a request of two meanings', () => {
  it.each(SHAPES)('is answered once at most, and ends the connection: %s', async (name, text) => {
    const tally = tallyOf('abuse', 'request smuggling')
    tally.tried++
    const before = victim.service.log().split('"path":"/smuggled"').length
    const wire = await openWire(victim.url)
    wire.socket.write(text, 'latin1')
    const received = await wire.ended
    const statuses = (received.match(/HTTP\/1\.1 \d+/g) ?? []).map((line) => Number(line.slice(9)))
    const right =
      statuses.length <= 1 &&
      statuses.every((status) => status >= 400 && status < 500) &&
      victim.service.log().split('"path":"/smuggled"').length === before
    if (!right) tally.violations.push(name)
    expect({ received, right }).toEqual({ received, right: true })
  })

  it('is not one that is plain', async () => {
    const wire = await openWire(victim.url)
    wire.write(post(CHUNKED, chunks('abc')) + HIDDEN.replace('Host', 'Connection: close\r\nHost'))
    const received = await wire.ended
    expect(received.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 405', 'HTTP/1.1 404'])
    // The only one of all that came; that the log tells of it shows that others would be seen.
    const lines = (): number => victim.service.log().split('"path":"/smuggled"').length - 1
    await eventually(() => lines() > 0, 'the request is logged')
    expect(lines()).toBe(1)
  })

  it('is one with many headers, or long ones', async () => {
    for (const lines of [`X-A: ${'b'.repeat(20_000)}\r\n`, 'X-A: b\r\n'.repeat(6000)]) {
      const wire = await openWire(victim.url)
      wire.write(post(lines))
      expect(await wire.ended).toMatch(/^HTTP\/1\.1 431 /)
    }
  })
})

describe('a body that would grow when it is unpacked', () => {
  const zeros = Buffer.alloc(64 * 1024 * 1024)
  const bombs: readonly (readonly [string, () => Uint8Array])[] = [
    ['gzip', () => gzipSync(zeros)],
    ['GZIP', () => gzipSync('x')],
    ['x-gzip', () => gzipSync('x')],
    ['deflate', () => deflateSync('x')],
    ['br', () => brotliCompressSync('x')],
    ['zstd', () => Buffer.from('x')],
    ['gzip, gzip', () => gzipSync(gzipSync('x'))],
    ['identity, gzip', () => gzipSync('x')],
    ['unknown', () => Buffer.from('x')],
  ]
  const targets = (): [string, Record<string, string>][] => [
    ['/token', { 'content-type': 'application/x-www-form-urlencoded' }],
    ['/bytes/boefje_meta', { 'content-type': 'application/json' }],
    ['/bytes/normalizer_meta', {}],
    [`/bytes/raw?boefje_meta_id=${job}`, { 'content-type': 'application/json' }],
    [`/bytes/raw?boefje_meta_id=${job}&tag=a`, { 'content-type': 'application/octet-stream' }],
    [`/bytes/raw?boefje_meta_id=${job}`, { 'content-type': 'multipart/form-data; boundary=x' }],
    [
      '/bytes/uploads',
      {
        'tus-resumable': '1.0.0',
        'content-type': 'application/offset+octet-stream',
        'upload-length': '1',
        'upload-metadata': `boefje_meta_id ${Buffer.from(job).toString('base64')}`,
      },
    ],
  ]

  it.each(['content-encoding', 'transfer-encoding'])('is refused by %s', async (name) => {
    const before = await stateOf(victim.store, victim.client)
    const tally = tallyOf('abuse', `bodies with a ${name}`)
    const odd = tally.violations
    for (const [coding, make] of bombs) {
      const body = make()
      for (const [path, headers] of targets()) {
        const isTransfer = name === 'transfer-encoding'
        const answer = await send(victim.url, {
          method: 'POST',
          path,
          headers: {
            authorization: `Bearer ${victim.client.token}`,
            ...headers,
            [name]: isTransfer ? `${coding}, chunked` : coding,
          },
          body,
          chunked: isTransfer,
        })
        tally.tried++
        const told = JSON.parse(answer.text).detail
        if (answer.status === 415 && told.includes(coding)) continue
        odd.push(`${coding} ${path}: ${answer.status} ${answer.text}`)
      }
    }
    expect(odd).toEqual([])
    expect(await stateOf(victim.store, victim.client)).toEqual(before)
  })
})
