import { createHash, timingSafeEqual } from 'node:crypto'
import { sign, verify } from 'hono/jwt'
import { LRUCache } from 'lru-cache'
import { z } from 'zod'
import { detail, type HttpProblem } from './problems.js'

export interface AuthOptions {
  readonly username: string
  readonly password: string
  /** Key of the signatures. */
  readonly secret: string
  /** Lifetime of a token in milliseconds. */
  readonly tokenLifetimeMs: number
}

/** Tokens remembered as verified, a few hundred bytes each. */
const REMEMBERED = 10_000

/** `exp` is optional: existing clients hold tokens that never expire. */
const claims = z.object({ sub: z.string(), exp: z.number().optional() })

export interface Auth {
  /** Compares in constant time. */
  accepts(username: string, password: string): boolean
  /** A signed token (RFC 7519, HS256) and when it expires, in milliseconds since 1970. */
  issue(): Promise<{ token: string; expiresAt: number }>
  /** @throws HttpProblem 401 unless the header holds a bearer token that this service signed */
  requireBearer(authorization: string | undefined): Promise<void>
  /** As `requireBearer`, or HTTP basic with the same credentials: for scrapers, which cannot log in. */
  requireBearerOrBasic(authorization: string | undefined): Promise<void>
}

export function createAuth({ username, password, secret, tokenLifetimeMs }: AuthOptions): Auth {
  const verified = new LRUCache<string, true>({ max: REMEMBERED })

  const accepts = (name: string, word: string): boolean => {
    const names = equal(name, username)
    const words = equal(word, password)
    return names && words
  }

  const requireBearer = async (authorization: string | undefined): Promise<void> => {
    const { scheme, rest } = split(authorization)
    if (scheme !== 'bearer') throw unauthorized('Not authenticated')
    if (verified.has(rest)) return
    const payload = await verify(rest, secret, 'HS256').then(
      (found) => claims.safeParse(found).data,
      () => undefined,
    )
    if (!payload) throw unauthorized('Could not validate credentials')
    const remaining = payload.exp === undefined ? Infinity : payload.exp * 1000 - Date.now()
    if (remaining <= 0) throw unauthorized('Could not validate credentials')
    verified.set(rest, true, remaining === Infinity ? {} : { ttl: Math.ceil(remaining) })
  }

  return {
    accepts,
    issue: async () => {
      const expiresAt = Date.now() + tokenLifetimeMs
      const token = await sign(
        { sub: username, exp: Math.floor(expiresAt / 1000) },
        secret,
        'HS256',
      )
      return { token, expiresAt }
    },
    requireBearer,
    requireBearerOrBasic: async (authorization) => {
      const { scheme, rest } = split(authorization)
      if (scheme !== 'basic') return requireBearer(authorization)
      const pair = Buffer.from(rest.trim(), 'base64').toString('utf8')
      const colon = pair.indexOf(':')
      if (colon < 0 || !accepts(pair.slice(0, colon), pair.slice(colon + 1))) {
        throw unauthorized('Incorrect username or password')
      }
    },
  }
}

export function unauthorized(text: string): HttpProblem {
  return detail(401, text, { 'www-authenticate': 'Bearer' })
}

/** Scheme in lower case and what follows the first space (RFC 9110, section 11.4). */
function split(authorization = ''): { scheme: string; rest: string } {
  const space = authorization.indexOf(' ')
  if (space < 0) return { scheme: authorization.toLowerCase(), rest: '' }
  return {
    scheme: authorization.slice(0, space).toLowerCase(),
    rest: authorization.slice(space + 1),
  }
}

function equal(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}
