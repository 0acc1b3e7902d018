/** Timestamps that freetsa.org has given: they verify, and nothing that is almost one does. */
import { createHash, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Anchors, parseAnchors } from '../../src/hashing/rfc3161/anchors.js'
import { TimestampError } from '../../src/hashing/rfc3161/errors.js'
import { tokenOf } from '../../src/hashing/rfc3161/response.js'
import { verifyToken } from '../../src/hashing/rfc3161/token.js'
import {
  CA_EXTENSIONS,
  makeCertificate,
  makeKey,
  SIGNER_EXTENSIONS,
} from '../support/certificates.js'
import { digest, makeInfo, makeToken } from '../support/tokens.js'

const fixture = (name: string): Buffer =>
  readFileSync(new URL(`../fixtures/timestamps/${name}`, import.meta.url))
const anchorsOf = (name: string): Anchors => parseAnchors(fixture(name).toString())

const root = anchorsOf('freetsa-root.pem')
const RSA_IMPRINT = 'e2361b4053a945dd1d241a6c87dad798b7fd7450614b815a2d947283ed359452'

interface Real {
  readonly name: string
  readonly token: Buffer
  readonly imprint: Buffer
  readonly anchors: Anchors
  readonly hash: 'sha256' | 'sha512'
}

/** One of ours, of another kind in everything: Ed25519, and its anchor not in it. */
function ownToken(): Real {
  const key = makeKey('ed25519')
  const issuer = makeCertificate({ key: makeKey('p521'), extensions: CA_EXTENSIONS })
  const signer = makeCertificate({ key, issuer, extensions: SIGNER_EXTENSIONS })
  const imprint = digest('sha512', Buffer.from('a secure hash'))
  const token = makeToken({ signer, info: makeInfo({ imprint }) })
  return { name: 'our own', token, imprint, anchors: parseAnchors(issuer.pem), hash: 'sha512' }
}

const tsr = fixture('freetsa-2026-09-18.tsr')
const REAL: readonly Real[] = [
  {
    name: 'RSA, expired since',
    token: fixture('freetsa-2026-01-04.token'),
    imprint: Buffer.from(RSA_IMPRINT, 'hex'),
    anchors: root,
    hash: 'sha256',
  },
  {
    name: 'ECDSA',
    token: Buffer.from(tokenOf(tsr)),
    imprint: Buffer.alloc(32, 0xab),
    anchors: root,
    hash: 'sha256',
  },
]
const ALL: readonly Real[] = [...REAL, ownToken()]

const verify = ({ token, imprint, hash, anchors }: Real, changed: Uint8Array = token) =>
  verifyToken(changed, imprint, hash, anchors)

/** Whether it is refused in the way that everything is; else what happened. */
function outcome(real: Real, changed: Uint8Array): string {
  try {
    verify(real, changed)
    return 'accepted'
  } catch (error) {
    return error instanceof TimestampError && error.stage !== null ? 'refused' : String(error)
  }
}

describe('real timestamps', () => {
  it('verify with the root', () => {
    const [rsa, ecdsa] = REAL.map((real) => verify(real))
    expect(rsa).toMatchObject({
      time: '2026-01-04T21:57:43Z',
      serial: '025792cb',
      nonce: null,
      accuracyMs: null,
      policy: '1.2.3.4.1',
    })
    expect(rsa?.signer).toMatch(/^ST=Bayern,C=DE,L=Wuerzburg,emailAddress=.*,OU=TSA,O=Free TSA$/)
    expect(rsa?.chain.map(({ notAfter }) => notAfter)).toEqual([
      '2026-03-11T01:57:39Z',
      '2041-03-07T01:52:13Z',
    ])
    expect(ecdsa).toMatchObject({
      time: '2026-09-18T21:18:56Z',
      serial: '083c2a8e',
      nonce: 'c0ffee42',
    })
    const [first = '', second = ''] = (ecdsa?.certificates ?? '').split(
      /(?<=END CERTIFICATE-----\n)/,
    )
    const fingerprints = [first, second].map((pem) => new X509Certificate(pem).fingerprint256)
    const known = ['freetsa-tsa-2026.pem', 'freetsa-root.pem'].map(
      (name) => new X509Certificate(fixture(name)).fingerprint256,
    )
    expect(fingerprints).toEqual(known)
  })

  it('verify with the certificate of the authority pinned, and with no other', () => {
    const pinned = ['freetsa-tsa-2016-expired.pem', 'freetsa-tsa-2026.pem'].map(anchorsOf)
    REAL.forEach((real, i) => {
      pinned.forEach((anchors, j) => {
        const check = (): unknown => verify({ ...real, anchors }).chain.length
        if (i === j) expect(check()).toBe(1)
        else expect(check).toThrow(expect.objectContaining({ code: 'untrusted' }))
      })
    })
  })

  it('are for nothing else', () => {
    for (const real of REAL) {
      const imprint = createHash('sha256').update(real.imprint).digest()
      expect(() => verify({ ...real, imprint })).toThrow(
        expect.objectContaining({ code: 'wrong_imprint' }),
      )
    }
  })
})

describe.each(ALL)('a token ($name)', (real) => {
  it('verifies as it is', () => {
    expect(verify(real).chain).toHaveLength(2)
  })

  it('is refused with any byte changed, wherever it is', () => {
    const wrong: string[] = []
    const changed = Buffer.from(real.token)
    for (let at = 0; at < changed.length; at++) {
      const mask = 1 << ((at * 5) % 8)
      changed[at] = (changed[at] ?? 0) ^ mask
      const what = outcome(real, changed)
      if (what !== 'refused') wrong.push(`${what}: byte ${at}, ${mask}`)
      changed[at] = (changed[at] ?? 0) ^ mask
    }
    expect(wrong).toEqual([])
  })

  it('is refused when it is cut off, wherever that is', () => {
    const wrong: string[] = []
    for (let length = 0; length < real.token.length; length++) {
      const what = outcome(real, real.token.subarray(0, length))
      if (what !== 'refused') wrong.push(`${what}: ${length} bytes`)
    }
    expect(wrong).toEqual([])
  })

  it('is refused with any bytes put in, taken out or written over', () => {
    const { token } = real
    const place = fc.nat({ max: token.length - 1 })
    fc.assert(
      fc.property(place, fc.nat({ max: 8 }), fc.uint8Array({ maxLength: 8 }), (at, gone, put) => {
        const parts = [token.subarray(0, at), put, token.subarray(at + gone)]
        const changed = Buffer.concat(parts)
        fc.pre(!changed.equals(token))
        expect(outcome(real, changed)).toBe('refused')
      }),
      { numRuns: 2000 },
    )
  })

  it('is refused with any byte set to anything', () => {
    const place = fc.nat({ max: real.token.length - 1 })
    fc.assert(
      fc.property(place, fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const changed = Buffer.from(real.token)
        changed[at] = (changed[at] ?? 0) ^ mask
        expect(outcome(real, changed)).toBe('refused')
      }),
      { numRuns: 2000 },
    )
  })
})

describe('an answer of an authority', () => {
  const taken = (answer: Uint8Array): string => {
    try {
      return Buffer.from(tokenOf(answer)).equals(REAL[1]?.token ?? tsr) ? 'taken' : 'another token'
    } catch (error) {
      return error instanceof TimestampError ? error.code : String(error)
    }
  }

  it('has no bit around the token that may be another, but that for modifications', () => {
    const around = tsr.length - (REAL[1]?.token.length ?? 0)
    const codes: string[] = []
    for (let bit = 0; bit < around * 8; bit++) {
      const changed = Buffer.from(tsr)
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      codes.push(taken(changed))
    }
    // granted (0) becomes grantedWithMods (1).
    expect(codes.filter((code) => code === 'taken')).toHaveLength(1)
    expect([...new Set(codes)].sort()).toEqual(['malformed_response', 'not_granted', 'taken'])
  })

  it('is refused when it is anything', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(taken(bytes)).toBe('malformed_response')
      }),
      { numRuns: 1000 },
    )
  })
})

describe('anything', () => {
  it('is refused as a token, and does no harm', () => {
    const [real] = REAL
    if (real === undefined) return expect.fail('no token')
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(outcome(real, bytes)).toBe('refused')
      }),
      { numRuns: 2000 },
    )
  })
})
