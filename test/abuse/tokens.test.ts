/** Tokens that nobody issued, and passwords that are guessed. */
import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import { Agent, request } from 'node:http'
import { describe, expect, it } from 'vitest'
import { base64, jwt, nowSeconds, type Sent, send } from '../acceptance/helpers.js'
import { isFull } from '../support/fault-report.js'
import { PASSWORD, SECRET, USERNAME } from '../support/service.js'
import { tallyOf } from '../support/tally.js'
import { rankSum, spread } from './rank-sum.js'
import { victimOf } from './victim.js'

const victim = victimOf()

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
  ['white space in it', () => victim.client.token.replace('.', '. ')],
  ['white space at its end', () => `${victim.client.token}\t x`],
  ['a fourth part', () => `${victim.client.token}.${part('x')}`],
  ['a part less', () => victim.client.token.split('.').slice(0, 2).join('.')],
  [
    'signature of another token',
    () => `${part(HS256)}.${part({ sub: USERNAME })}.${victim.client.token.split('.')[2]}`,
  ],
  ['twice', () => `${victim.client.token}, Bearer ${victim.client.token}`],
]

describe('a token is refused', () => {
  it.each(FORGED)('%s', async (_, make) => {
    tallyOf('abuse', 'forged tokens').tried = 1
    const headers = { authorization: `Bearer ${make()}` }
    const answer = await send(victim.url, { path: '/bytes/raw', headers })
    expect([answer.status, answer.headers['content-type']]).toEqual([401, 'application/json'])
    expect(answer.headers['www-authenticate']).toBe('Bearer')
    expect(JSON.parse(answer.text).detail).toMatch(/^(Could not validate credentials|Not auth)/)
  })

  it('that is longer than a head may be, before it is looked at', async () => {
    const headers = { authorization: `Bearer ${'a'.repeat(20_000)}` }
    const answer = await send(victim.url, { path: '/bytes/raw', headers })
    expect([answer.status, JSON.parse(answer.text)]).toEqual([431, { detail: expect.any(String) }])
  })

  it('anywhere but in the header', async () => {
    for (const sent of [
      { path: `/bytes/raw?access_token=${victim.client.token}` },
      {
        path: '/bytes/raw',
        headers: { cookie: `access_token=${victim.client.token}; token=${victim.client.token}` },
      },
      { path: '/bytes/raw', headers: { 'x-authorization': `Bearer ${victim.client.token}` } },
    ]) {
      expect((await send(victim.url, sent)).status).toBe(401)
    }
  })

  // There is one account: as the protocol has it, who knows the secret is that one.
  it('but a right one is taken, whoever it names', async () => {
    const named = ['admin', ''].map((sub) => jwt({ sub, exp: soon() }))
    const late = jwt({ sub: USERNAME, exp: 9e15 })
    for (const token of [victim.client.token, signed(HS256, right()), late, ...named]) {
      const headers = { authorization: `Bearer ${token}` }
      expect((await send(victim.url, { path: '/bytes/raw?limit=0', headers })).status).toBe(200)
    }
  })

  it('and none of them is in the log', () => {
    expect(victim.service.log()).not.toContain(victim.client.token.slice(-20))
    expect(victim.service.log()).not.toContain(SECRET)
    expect(victim.service.log()).not.toContain(PASSWORD)
  })
})

const logIn = (username: string, password: string, headers = {}): Sent => ({
  method: 'POST',
  path: '/token',
  headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  body: new URLSearchParams({ username, password }).toString(),
})

/** @param how the connection is made */
function statusOf(
  { method, path, headers, body }: Sent,
  url: string,
  how: { readonly localAddress?: string; readonly agent?: Agent },
): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${url}${path}`, { method, headers, ...how }, (incoming) => {
      incoming.on('error', reject)
      incoming.on('end', () => resolve(incoming.statusCode))
      incoming.resume()
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

describe('guessing passwords', () => {
  const LIMIT = 10
  const GUESSES = 60

  it('ends soon, whatever the guesser says of itself, and for the right password too', async () => {
    const tally = tallyOf('abuse', 'guessed passwords')
    const guarded = await victim.store.start({ BYTES_TOKEN_RATE_LIMIT: String(LIMIT) })
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
    const elsewhere = { localAddress: '127.0.0.2' }
    expect(await statusOf(logIn(USERNAME, 'wrong'), guarded.url, elsewhere)).toBe(401)
    const headers = { authorization: `Bearer ${victim.client.token}` }
    expect((await send(guarded.url, { path: '/bytes/raw?limit=0', headers })).status).toBe(200)
    await guarded.stop()
  })
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
      WRONG.map(([, name, word]) => send(victim.url, logIn(name, word))),
    )
    const told = answers.map(({ status, headers, text }) => {
      const { date: _, 'x-request-id': __, ...rest } = headers
      return { status, text, headers: rest }
    })
    for (const each of told) expect(each).toEqual(told[0])
    expect(told[0]?.status).toBe(401)
  })

  /** Log-ins with each name. */
  const PAIRS = isFull ? 4500 : 200
  /** Two samples of one kind are farther apart once in about 500 million times. */
  const APART = 6

  /** Milliseconds of wrong log-ins with the right name and with another one of its length. */
  async function timed(): Promise<{ right: number[]; wrong: number[] }> {
    const times = { right: [] as number[], wrong: [] as number[] }
    const names = { right: USERNAME, wrong: 'nobody' }
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    try {
      // The first ones warm up.
      for (let i = -50; i < PAIRS; i++) {
        // In turns, so that what else the machine does meets both; neither is always the first.
        const turns =
          Math.random() < 0.5 ? (['right', 'wrong'] as const) : (['wrong', 'right'] as const)
        for (const turn of turns) {
          const begun = performance.now()
          expect(await statusOf(logIn(names[turn], 'wrong'), victim.url, { agent })).toBe(401)
          if (i >= 0) times[turn].push(performance.now() - begun)
        }
      }
    } finally {
      agent.destroy()
    }
    return times
  }

  it('takes the same time whether the name is right', async () => {
    const tally = tallyOf('abuse', 'timed log-ins')
    const found: number[] = []
    // A real difference is there each time.
    while (found.length < 3 && !found.some((z) => Math.abs(z) < APART)) {
      const { right, wrong } = await timed()
      tally.tried += right.length + wrong.length
      found.push(rankSum(right, wrong))
      // That it would be seen: the more log-ins, the smaller it may be.
      const least = spread(right) * (isFull ? 0.25 : 2)
      expect(
        rankSum(
          right.map((ms) => ms + least),
          right,
        ),
      ).toBeGreaterThan(APART)
      console.info(
        `right and wrong names are ${found.at(-1)?.toFixed(1)} standard deviations apart; ${least.toFixed(3)} ms would be seen`,
      )
    }
    expect(
      found.filter((z) => Math.abs(z) < APART),
      `apart by ${found}`,
    ).toHaveLength(1)
  }, 1_800_000)
})
