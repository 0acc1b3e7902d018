import type { ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { parseAnchors } from '../../src/hashing/rfc3161/anchors.js'
import {
  createTimestampAuthority,
  type TimestampAuthority,
  type TimestampAuthorityOptions,
} from '../../src/hashing/rfc3161/authority.js'
import {
  TIMESTAMP_STAGES,
  TimestampError,
  type TimestampErrorCode,
} from '../../src/hashing/rfc3161/errors.js'
import { verifyToken } from '../../src/hashing/rfc3161/token.js'
import {
  CA_EXTENSIONS,
  makeCertificate,
  makeKey,
  SIGNER_EXTENSIONS,
} from '../support/certificates.js'
import { int, seq } from '../support/der.js'
import { type FakeAuthority, type Query, startFakeAuthority } from '../support/fake-authority.js'
import { digest, type InfoOptions, makeInfo, makeResponse, makeToken } from '../support/tokens.js'
import { startTestAuthority } from '../support/tsa.js'

const MIB = 1024 * 1024
const REPLY = { 'content-type': 'application/timestamp-reply' }
const IMPRINT = digest('sha512', Buffer.from('a secure hash'))
/** genTime of the tokens made here. */
const TIME = '20260131120000Z'
const NOW = Date.UTC(2026, 0, 31, 12)

const root = makeCertificate({ key: makeKey('p256'), extensions: CA_EXTENSIONS })
const signer = makeCertificate({
  key: makeKey('p256'),
  issuer: root,
  extensions: SIGNER_EXTENSIONS,
})
const anchors = parseAnchors(root.pem)

const tokenFor = ({ imprint, nonce }: Query, tst: Partial<InfoOptions> = {}): Buffer =>
  makeToken({ signer, info: makeInfo({ imprint, nonce, time: TIME, ...tst }) })
const right = (query: Query): Buffer => makeResponse(0, tokenFor(query))

let tsa: FakeAuthority
beforeAll(async () => {
  tsa = await startFakeAuthority()
})
beforeEach(() => {
  tsa.answer = right
  tsa.queries.length = 0
})
afterAll(() => tsa.close())

const open = (options: Partial<TimestampAuthorityOptions> = {}): TimestampAuthority =>
  createTimestampAuthority({
    url: tsa.url,
    anchors,
    timeoutMs: 30_000,
    maxSkewMs: 60_000,
    minIntervalMs: 0,
    now: () => NOW,
    ...options,
  })

/** Codes that were met, so that none is forgotten. */
const met = new Set<string>()

async function refusalOf(stamping: Promise<Uint8Array>): Promise<TimestampError> {
  const error = await stamping.then(
    () => expect.fail('accepted'),
    (reason: unknown) => reason,
  )
  if (!(error instanceof TimestampError)) throw error
  met.add(error.code)
  return error
}

async function expectRefusal(
  code: TimestampErrorCode,
  says: string,
  stamping: Promise<Uint8Array> = open().stamp(IMPRINT),
): Promise<void> {
  const error = await refusalOf(stamping)
  expect({ code: error.code, message: error.message }).toEqual({
    code,
    message: expect.stringContaining(says),
  })
}

describe('an authority', () => {
  it('is asked as RFC 3161 says, and gives a token', async () => {
    const token = await open().stamp(IMPRINT)
    const [query] = tsa.queries
    expect(query?.method).toBe('POST')
    expect(query?.headers).toMatchObject({
      'content-type': 'application/timestamp-query',
      accept: 'application/timestamp-reply',
      'content-length': String(query?.body.length),
    })
    expect(query?.imprint).toEqual(IMPRINT)
    const { nonce, time } = verifyToken(token, IMPRINT, 'sha512', anchors)
    expect(time).toBe('2026-01-31T12:00:00Z')
    expect(BigInt(`0x${nonce}`)).toBe(query?.nonce)
  })

  it('is asked with another nonce each time, also for the same imprint', async () => {
    const authority = open()
    await Promise.all(Array.from({ length: 20 }, () => authority.stamp(IMPRINT)))
    expect(new Set(tsa.queries.map(({ nonce }) => nonce)).size).toBe(20)
  })

  it('may grant with modifications, and write its content type with parameters', async () => {
    tsa.answer = (query, response) => {
      response.writeHead(200, { 'content-type': 'Application/Timestamp-Reply; x=y' })
      response.end(makeResponse(1, tokenFor(query)))
      return undefined
    }
    expect(await open().stamp(IMPRINT)).toBeInstanceOf(Uint8Array)
  })

  it.each(['ec', 'rsa'] as const)('may be openssl, with a key %s', async (key) => {
    const real = await startTestAuthority({ key })
    try {
      const trusted = parseAnchors(real.root)
      const options = { url: real.url, anchors: trusted, maxSkewMs: 3_600_000, now: Date.now }
      const token = await open(options).stamp(IMPRINT)
      const { signer: name, chain } = verifyToken(token, IMPRINT, 'sha512', trusted)
      expect(name).toBe('CN=Timestamp authority for trying out,O=Bytes')
      expect(chain).toHaveLength(2)
    } finally {
      await real.stop()
    }
  })

  it('takes SHA-512 only', async () => {
    await expect(open().stamp(IMPRINT.subarray(1))).rejects.toThrow(RangeError)
    expect(tsa.queries).toEqual([])
  })

  it.each([
    ['no url', 'is no URL'],
    ['', 'is no URL'],
    ['ftp://tsa.example/', 'must begin with http'],
    ['file:///etc/passwd', 'must begin with http'],
    ['https://me:hunter2@tsa.example/', 'user name or a password'],
    ['https://hunter2@tsa.example/', 'user name or a password'],
  ])('has a URL that is one: not %j', (url, says) => {
    try {
      open({ url })
      expect.fail('accepted')
    } catch (error) {
      if (!(error instanceof TimestampError)) throw error
      met.add(error.code)
      expect(error).toMatchObject({ code: 'bad_url', stage: null })
      expect(error.message).toContain(says)
      expect(error.message).not.toContain('hunter2')
    }
  })
})

describe('an answer is refused', () => {
  it('when it is no answer of an authority', async () => {
    const answers: [TimestampErrorCode, string, (response: ServerResponse) => void][] = [
      ['redirected', 'status 302', (r) => r.writeHead(302, { location: tsa.url }).end()],
      ['redirected', 'status 307', (r) => r.writeHead(307, { location: tsa.url }).end()],
      ['wrong_http_status', 'status 500', (r) => r.writeHead(500, REPLY).end()],
      ['wrong_http_status', 'status 204', (r) => r.writeHead(204).end()],
      ['wrong_media_type', 'is it a timestamp', (r) => r.end('hello')],
      [
        'wrong_media_type',
        'is it a timestamp',
        (r) => r.writeHead(200, { 'content-type': 'text/html' }).end(),
      ],
      ['malformed_response', 'no DER', (r) => r.writeHead(200, REPLY).end()],
      ['malformed_response', 'no DER', (r) => r.writeHead(200, REPLY).end('<html>garbage</html>')],
    ]
    for (const [code, says, answer] of answers) {
      tsa.answer = (_, response) => {
        answer(response)
        return undefined
      }
      await expectRefusal(code, says)
    }
    expect(tsa.queries).toHaveLength(answers.length)
  })

  it('when it is no TimeStampResp', async () => {
    const answers: [string, (query: Query) => Buffer][] = [
      ['the token', () => makeResponse(0)],
      ['no DER', (query) => Buffer.concat([right(query), Buffer.of(0)])],
      ['no DER', (query) => right(query).subarray(0, -1)],
      ['TimeStampResp', () => int(0)],
      ['a member that has no place', (query) => seq(seq(int(0)), tokenFor(query), int(0))],
      ['the status', (query) => seq(int(0), tokenFor(query))],
      ['the status', (query) => seq(seq(), tokenFor(query))],
      ['the status', (query) => makeResponse(6, tokenFor(query))],
      ['the status', (query) => makeResponse(256, tokenFor(query))],
    ]
    for (const [says, make] of answers) {
      tsa.answer = make
      await expectRefusal('malformed_response', says)
    }
  })

  it('when it grants nothing, and says why', async () => {
    const said = async (response: Buffer): Promise<string> => {
      tsa.answer = () => response
      const { code, message } = await refusalOf(open().stamp(IMPRINT))
      expect(code).toBe('not_granted')
      return message
    }
    expect(
      await said(
        makeResponse(2, undefined, { texts: ['Too many', 'come\u001b[31m back\r\nlater'] }),
      ),
    ).toBe('the authority refused: rejection; Too many; come [31m back later')
    // Bits 0 and 25 of PKIFailureInfo, and one that has no name.
    const failures = Buffer.of(0x80 | 0x10, 0, 0, 0x40)
    expect(await said(makeResponse(2, undefined, { failures }))).toBe(
      'the authority refused: rejection; badAlg; failure 3; systemFailure',
    )
    expect(await said(makeResponse(3))).toContain('waiting')
    expect(await said(makeResponse(4))).toContain('revocationWarning')
    expect(await said(makeResponse(5))).toContain('revocationNotification')
    const long = await said(makeResponse(2, undefined, { texts: ['x'.repeat(10_000)] }))
    expect(long.length).toBeLessThan(400)
  })

  it('when it grants nothing, whatever token is with it', async () => {
    tsa.answer = (query) => makeResponse(2, tokenFor(query))
    await expectRefusal('not_granted', 'rejection')
  })

  it('when it is for another imprint', async () => {
    tsa.answer = (query) => makeResponse(0, tokenFor(query, { imprint: Buffer.alloc(64) }))
    await expectRefusal('wrong_imprint', 'something else')
  })

  it('when it is an old one', async () => {
    const authority = open()
    let first: Buffer | undefined
    tsa.answer = (query) => {
      first ??= right(query)
      return first
    }
    await authority.stamp(IMPRINT)
    await expectRefusal('wrong_nonce', 'the nonce is another', authority.stamp(IMPRINT))
  })

  it('when the nonce is missing, or another by one bit', async () => {
    tsa.answer = ({ imprint }) =>
      makeResponse(0, makeToken({ signer, info: makeInfo({ imprint, time: TIME }) }))
    await expectRefusal('wrong_nonce', 'the nonce is missing')
    tsa.answer = (query) => makeResponse(0, tokenFor(query, { nonce: query.nonce ^ 1n }))
    await expectRefusal('wrong_nonce', 'the nonce is another')
    tsa.answer = (query) => makeResponse(0, tokenFor(query, { nonce: query.nonce + 2n ** 64n }))
    await expectRefusal('wrong_nonce', 'the nonce is another')
  })

  it('when its signer is not trusted', async () => {
    const other = makeCertificate({ key: makeKey('p256'), extensions: SIGNER_EXTENSIONS })
    tsa.answer = ({ imprint, nonce }) =>
      makeResponse(0, makeToken({ signer: other, info: makeInfo({ imprint, nonce, time: TIME }) }))
    await expectRefusal('untrusted', 'none of the trust anchors')
  })

  it('when its clock and ours are too far apart', async () => {
    const at = (offset: number): TimestampAuthority =>
      open({ maxSkewMs: 60_000, now: () => NOW + offset })
    await at(60_000).stamp(IMPRINT)
    await at(-60_000).stamp(IMPRINT)
    await expectRefusal('clock_skew', '61 s behind the clock', at(61_000).stamp(IMPRINT))
    await expectRefusal('clock_skew', '61 s ahead of the clock', at(-61_000).stamp(IMPRINT))
    await expectRefusal('clock_skew', 'at most 60 s are allowed', at(86_400_000).stamp(IMPRINT))
  })

  it('only for what the clocks differ by, and not for how long it took', async () => {
    const times = [NOW - 10_000_000, NOW + 10_000_000]
    await open({ maxSkewMs: 0, now: () => times.shift() ?? 0 }).stamp(IMPRINT)
  })
})

describe('the connection', () => {
  it('is to somebody', async () => {
    const gone = await startFakeAuthority()
    await gone.close()
    await expectRefusal('unreachable', 'ECONNREFUSED', open({ url: gone.url }).stamp(IMPRINT))
  })

  it('is to the one that the URL names, where that begins with https', async () => {
    const { pem, key } = makeCertificate({ key: makeKey('p256'), subject: 'CN=127.0.0.1' })
    const keyPem = key.export({ type: 'pkcs8', format: 'pem' })
    let asked = 0
    const server = createServer({ cert: pem, key: keyPem }, (_, response) => {
      asked += 1
      response.end()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    try {
      const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`
      await expectRefusal('unreachable', 'SELF_SIGNED', open({ url }).stamp(IMPRINT))
      expect(asked).toBe(0)
    } finally {
      server.close()
    }
  })

  it('does not break off', async () => {
    tsa.answer = (_, response) => {
      response.destroy()
      return undefined
    }
    await expectRefusal('unreachable', 'breaks off')
    tsa.answer = (query, response) => {
      const reply = right(query)
      response.writeHead(200, { ...REPLY, 'content-length': reply.length + 1 })
      response.write(reply, () => response.destroy())
      return undefined
    }
    await expectRefusal('unreachable', 'breaks off')
  })

  it.each<[string, (response: ServerResponse) => void]>([
    ['nothing', () => undefined],
    ['a head, and no more', (response) => response.writeHead(200, REPLY).flushHeaders()],
    [
      'a byte now and then, for ever',
      (response) => {
        response.writeHead(200, REPLY)
        const timer = setInterval(() => response.write('x'), 20)
        response.on('close', () => clearInterval(timer))
      },
    ],
  ])('is cut when there comes %s', async (_, answer) => {
    const cut = new Promise<void>((resolve) => {
      tsa.answer = (_, response) => {
        response.on('close', resolve)
        answer(response)
        return undefined
      }
    })
    const says = 'did not answer fully within 150 ms'
    await expectRefusal('timed_out', says, open({ timeoutMs: 150 }).stamp(IMPRINT))
    await cut
  })

  it('is cut as soon as the answer is too long', async () => {
    let sent = 0
    const cut = new Promise<void>((resolve) => {
      tsa.answer = (_, response) => {
        response.writeHead(200, REPLY)
        response.on('close', resolve)
        const more = (): void => {
          while (!response.destroyed && sent < 100 * MIB) {
            sent += 65_536
            if (!response.write(Buffer.alloc(65_536))) {
              response.once('drain', more)
              return
            }
          }
          response.end()
        }
        more()
        return undefined
      }
    })
    await expectRefusal('answer_too_long', `more than ${MIB} bytes`)
    await cut
    // What is over was on its way already.
    expect(sent).toBeLessThan(50 * MIB)
  })

  it('is cut when the answer says that it will be too long', async () => {
    const cut = new Promise<void>((resolve) => {
      tsa.answer = (_, response) => {
        response.on('close', resolve)
        response.writeHead(200, { ...REPLY, 'content-length': 100 * MIB }).flushHeaders()
        return undefined
      }
    })
    await expectRefusal('answer_too_long', `more than ${MIB} bytes`)
    await cut
  })

  it('is cut when the caller gives up', async () => {
    const giveUp = new AbortController()
    const cut = new Promise<void>((resolve) => {
      tsa.answer = (_, response) => {
        response.on('close', resolve)
        giveUp.abort()
        return undefined
      }
    })
    await expectRefusal('aborted', 'not waited for', open().stamp(IMPRINT, giveUp.signal))
    await cut
  })

  it('is not made when the caller has given up', async () => {
    await expectRefusal('aborted', 'not waited for', open().stamp(IMPRINT, AbortSignal.abort()))
    expect(tsa.queries).toEqual([])
  })

  it('is made again and again to one that failed', async () => {
    const authority = open()
    for (const answer of [() => Buffer.of(1), () => makeResponse(2)]) {
      tsa.answer = answer
      await refusalOf(authority.stamp(IMPRINT))
    }
    tsa.answer = right
    expect(await authority.stamp(IMPRINT)).toBeInstanceOf(Uint8Array)
  })
})

describe('the least time between requests', () => {
  it('keeps the second waiting, who can give up', async () => {
    const authority = open({ minIntervalMs: 3_600_000 })
    await authority.stamp(IMPRINT)
    const giveUp = new AbortController()
    const second = refusalOf(authority.stamp(IMPRINT, giveUp.signal))
    // Another one behind it, that would come to its turn if the second had not been kept waiting.
    const third = refusalOf(authority.stamp(IMPRINT, giveUp.signal))
    // A whole exchange of somebody else: long enough for one that does not wait.
    await open().stamp(IMPRINT)
    giveUp.abort()
    expect([(await second).code, (await third).code]).toEqual(['aborted', 'aborted'])
    expect(tsa.queries).toHaveLength(2)
  })
})

describe('refusals', () => {
  it('have all been met', () => {
    const own = Object.entries(TIMESTAMP_STAGES).flatMap(([code, stage]) => (stage ? [] : [code]))
    const missing = own.filter((code) => !met.has(code) && code !== 'bad_anchors')
    expect(missing).toEqual([])
  })
})
