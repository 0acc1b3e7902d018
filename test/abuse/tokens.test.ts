/** Tokens that nobody issued, and passwords that are guessed. */
import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import { request } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { base64, errorsLogged, jwt, nowSeconds, type Sent, send } from '../acceptance/helpers.js'
import { type Client, login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import {
  PASSWORD,
  SECRET,
  type TestService,
  type TestStore,
  testStore,
  USERNAME,
} from '../support/service.js'
import { tallyOf } from '../support/tally.js'

let store: TestStore
let service: TestService
let client: Client

beforeAll(async () => {
  store = await testStore()
  service = await store.start()
  client = await login(service.url)
})

afterAll(async () => {
  expect(errorsLogged(service.log())).toEqual([])
  await store?.remove()
})

const soon = (): number => nowSeconds() + 600
const right = (): object => ({ sub: USERNAME, exp: soon() })
const part = (text: string | object): string =>
  Buffer.from(typeof text === 'string' ? text : JSON.stringify(text)).toString('base64url')

/** Signed with the service's own secret, whatever header and payload say. */
function signed(header: string | object, payload: string | object): string {
  const head = `${part(header)}.${part(payload)}`
  return `${head}.${createHmac('sha256', SECRET).update(head).digest('base64url')}`
}

const HS256 = { alg: 'HS256', typ: 'JWT' }
const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const publicPem = publicKey.export({ type: 'spki', format: 'pem' }).toString()

function rsaSigned(header: object): string {
  const head = `${part(header)}.${part(right())}`
  return `${head}.${sign('sha256', Buffer.from(head), privateKey).toString('base64url')}`
}

function signedWith(secret: string, header: object): string {
  const head = `${part(header)}.${part(right())}`
  return `${head}.${createHmac('sha256', secret).update(head).digest('base64url')}`
}

const FORGED: readonly (readonly [string, () => string])[] = [
  ...['none', 'None', 'NONE', 'nOnE', '', null, 0, ['HS256'], 'hs256', ' HS256', 'HS256\0'].flatMap(
    (alg) =>
      [
        [`alg ${JSON.stringify(alg)}, unsigned`, () => `${part({ alg })}.${part(right())}.`],
        [`alg ${JSON.stringify(alg)}, signed`, () => signed({ alg, typ: 'JWT' }, right())],
      ] as const,
  ),
  ['no alg', () => signed({ typ: 'JWT' }, right())],
  ['RS256 by a key of ours', () => rsaSigned({ alg: 'RS256', typ: 'JWT' })],
  [
    'RS256 with its key in it',
    () => rsaSigned({ alg: 'RS256', jwk: publicKey.export({ format: 'jwk' }) }),
  ],
  [
    'RS256 with the address of its key',
    () => rsaSigned({ alg: 'RS256', jku: 'http://127.0.0.1:9/jwks' }),
  ],
  ['RS256 in name, HMAC in truth', () => signed({ alg: 'RS256', typ: 'JWT' }, right())],
  ['HMAC under a public key', () => signedWith(publicPem, HS256)],
  [
    'HMAC under the key in it',
    () => signedWith('k', { ...HS256, jwk: { kty: 'oct', k: part('k') } }),
  ],
  ['HMAC under a file of nothing', () => signedWith('', { ...HS256, kid: '../../../dev/null' })],
  ['HMAC under a selected key', () => signedWith('k', { ...HS256, kid: "x' UNION SELECT 'k" })],
  ['critical extension', () => signed({ ...HS256, crit: ['exp'] }, right())],
  ['another type', () => signed({ ...HS256, typ: 'at+secret' }, right())],
  ['header of nothing', () => signed('null', right())],
  ['header that is a list', () => signed('["HS256"]', right())],
  ['header of a prototype', () => signed('{"__proto__":{"alg":"HS256"}}', right())],
  ['header that is no JSON', () => signed('{', right())],
  ['huge header', () => signedWith('x', { ...HS256, kid: 'k'.repeat(9000) })],
  [
    'deep payload',
    () => signedWith('x', { ...HS256, a: JSON.parse(`${'['.repeat(2000)}${']'.repeat(2000)}`) }),
  ],
  ['expired', () => jwt({ sub: USERNAME, exp: nowSeconds() - 1 })],
  ['expired since 1970', () => jwt({ sub: USERNAME, exp: -1 })],
  ['far future, another secret', () => jwt({ sub: USERNAME, exp: 9e15 }, { secret: 'x' })],
  ['not yet valid', () => jwt({ sub: USERNAME, exp: soon(), nbf: soon() })],
  ['issued in the future', () => jwt({ sub: USERNAME, exp: soon(), iat: soon() })],
  ['another account, another secret', () => jwt({ sub: 'admin', exp: soon() }, { secret: 'x' })],
  ...[null, 1, true, [], [USERNAME], { name: USERNAME }].map(
    (sub) => [`sub ${JSON.stringify(sub)}`, () => jwt({ sub, exp: soon() })] as const,
  ),
  ...['', '9999999999', null, true, [], [9999999999], {}].map(
    (exp) => [`exp ${JSON.stringify(exp)}`, () => jwt({ sub: USERNAME, exp })] as const,
  ),
  ['exp beyond numbers', () => signed(HS256, `{"sub":"${USERNAME}","exp":1e999}`)],
  [
    'sub of a prototype',
    () => signed(HS256, `{"__proto__":{"sub":"${USERNAME}"},"exp":9999999999}`),
  ],
  ...['null', '[]', '"text"', '7', '{', ''].map(
    (payload) => [`payload ${payload}`, () => signed(HS256, payload)] as const,
  ),
  ['white space in it', () => client.token.replace('.', '. ')],
  ['white space at its end', () => `${client.token}\t x`],
  ['a fourth part', () => `${client.token}.${part('x')}`],
  ['a part less', () => client.token.split('.').slice(0, 2).join('.')],
  [
    'signature of another token',
    () => `${part(HS256)}.${part({ sub: USERNAME })}.${client.token.split('.')[2]}`,
  ],
  ['twice', () => `${client.token}, Bearer ${client.token}`],
]

describe('a token is refused', () => {
  it.each(FORGED)('%s', async (_, make) => {
    tallyOf('abuse', 'forged tokens').tried = 1
    const headers = { authorization: `Bearer ${make()}` }
    const answer = await send(service.url, { path: '/bytes/raw', headers })
    expect([answer.status, answer.headers['content-type']]).toEqual([401, 'application/json'])
    expect(answer.headers['www-authenticate']).toBe('Bearer')
    expect(JSON.parse(answer.text).detail).toMatch(/^(Could not validate credentials|Not auth)/)
  })

  it('that is longer than a head may be, before it is looked at', async () => {
    const headers = { authorization: `Bearer ${'a'.repeat(20_000)}` }
    const answer = await send(service.url, { path: '/bytes/raw', headers })
    expect([answer.status, JSON.parse(answer.text)]).toEqual([431, { detail: expect.any(String) }])
  })

  it('anywhere but in the header', async () => {
    for (const sent of [
      { path: `/bytes/raw?access_token=${client.token}` },
      {
        path: '/bytes/raw',
        headers: { cookie: `access_token=${client.token}; token=${client.token}` },
      },
      { path: '/bytes/raw', headers: { 'x-authorization': `Bearer ${client.token}` } },
    ]) {
      expect((await send(service.url, sent)).status).toBe(401)
    }
  })

  // There is one account: as the protocol has it, who knows the secret is that one.
  it('but a right one is taken, whoever it names', async () => {
    const named = ['admin', ''].map((sub) => jwt({ sub, exp: soon() }))
    const late = jwt({ sub: USERNAME, exp: 9e15 })
    for (const token of [client.token, signed(HS256, right()), late, ...named]) {
      const headers = { authorization: `Bearer ${token}` }
      expect((await send(service.url, { path: '/bytes/raw?limit=0', headers })).status).toBe(200)
    }
  })

  it('and none of them is in the log', () => {
    expect(service.log()).not.toContain(client.token.slice(-20))
    expect(service.log()).not.toContain(SECRET)
    expect(service.log()).not.toContain(PASSWORD)
  })
})

const logIn = (username: string, password: string, headers = {}): Sent => ({
  method: 'POST',
  path: '/token',
  headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  body: new URLSearchParams({ username, password }).toString(),
})

describe('guessing passwords', () => {
  const LIMIT = 10
  const GUESSES = 60

  it('ends soon, whatever the guesser says of itself, and for the right password too', async () => {
    const tally = tallyOf('abuse', 'guessed passwords')
    const guarded = await store.start({ BYTES_TOKEN_RATE_LIMIT: String(LIMIT) })
    const guess = (i: number): Sent => {
      const forwarded = {
        'x-forwarded-for': `10.0.0.${i}`,
        'x-real-ip': `10.0.0.${i}`,
        forwarded: `for=10.0.0.${i}`,
        'x-request-id': `guess-${i}`,
      }
      if (i % 3 > 0) return logIn(i % 3 === 1 ? USERNAME : `user${i}`, `guess${i}`, forwarded)
      return {
        path: '/metrics',
        headers: { authorization: `Basic ${base64(`${USERNAME}:${i}`)}`, ...forwarded },
      }
    }
    const answers = await Promise.all(
      Array.from({ length: GUESSES }, (_, i) => send(guarded.url, guess(i))),
    )
    const looked = answers.filter(({ status }) => status === 401)
    const refused = answers.filter(({ status }) => status === 429)
    tally.tried = answers.length
    tally.violations.push(...looked.slice(LIMIT).map(() => 'a guess too many was looked at'))
    expect([looked.length, refused.length]).toEqual([LIMIT, GUESSES - LIMIT])
    for (const { headers, text } of refused) {
      expect(Number(headers['retry-after'])).toBeGreaterThan(0)
      expect(JSON.parse(text).detail).toMatch(/^Too many log-ins: try again in \d+ seconds$/)
    }
    expect((await send(guarded.url, logIn(USERNAME, PASSWORD))).status).toBe(429)
    // Whoever comes from elsewhere, and whoever has a token, goes on.
    expect(await statusFrom('127.0.0.2', guarded.url)).toBe(401)
    const headers = { authorization: `Bearer ${client.token}` }
    expect((await send(guarded.url, { path: '/bytes/raw?limit=0', headers })).status).toBe(200)
    await guarded.stop()
  })

  /** Status of a wrong log-in from another address of this machine. */
  function statusFrom(localAddress: string, url: string): Promise<number | undefined> {
    const { method, headers, body } = logIn(USERNAME, 'wrong')
    return new Promise((resolve, reject) => {
      const outgoing = request(`${url}/token`, { method, headers, localAddress }, (incoming) => {
        incoming.resume()
        resolve(incoming.statusCode)
      })
      outgoing.on('error', reject)
      outgoing.end(body)
    })
  }
})

describe('a wrong log-in', () => {
  const WRONG = [
    ['name', 'nobody', PASSWORD],
    ['password', USERNAME, 'wrong'],
    ['both', 'nobody', 'wrong'],
    ['almost the password', USERNAME, PASSWORD.slice(0, -1)],
    ['nothing', '', ''],
    ['long', 'n'.repeat(20_000), 'p'.repeat(20_000)],
  ] as const

  it('is answered the same whatever is wrong', async () => {
    const answers = await Promise.all(
      WRONG.map(([, name, word]) => send(service.url, logIn(name, word))),
    )
    const told = answers.map(({ status, headers, text }) => {
      const { date: _, 'x-request-id': __, ...rest } = headers
      return { status, text, headers: rest }
    })
    for (const each of told) expect(each).toEqual(told[0])
    expect(told[0]?.status).toBe(401)
  })

  it.runIf(isFull)(
    'takes the same time whether the name is right',
    async () => {
      const tally = tallyOf('abuse', 'timed log-ins')
      const times: Record<string, number[]> = { nobody: [], [USERNAME]: [] }
      const SAMPLES = 6000
      for (let i = 0; i < SAMPLES; i++) {
        // In turns, so that what else the machine does meets both.
        const name = i % 2 ? 'nobody' : USERNAME
        const begun = performance.now()
        const answer = await fetch(`${service.url}/token`, {
          method: 'POST',
          body: new URLSearchParams({ username: name, password: 'wrong' }),
        })
        await answer.arrayBuffer()
        tally.tried++
        times[name]?.push(performance.now() - begun)
      }
      const median = (list: number[] = []): number =>
        list.sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0
      const [wrong, known] = [median(times.nobody), median(times[USERNAME])]
      const apart = Math.abs(wrong - known) / Math.max(wrong, known)
      expect(apart).toBeLessThan(0.2)
    },
    300_000,
  )
})
