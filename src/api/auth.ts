import { createHash, timingSafeEqual } from 'node:crypto'
import { sign, verify } from 'hono/jwt'
import { LRUCache } from 'lru-cache'
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible'
import { z } from 'zod'
import { detail, type HttpProblem } from './problems.js'

export interface AuthOptions {
  readonly username: string
  readonly password: string
  /** Key of the signatures. */
  readonly secret: string
  /** Lifetime of a token in milliseconds. */
  readonly tokenLifetimeMs: number
  /** Log-ins that one client address has in a minute, by form and by HTTP basic together. */
  readonly logInsPerMinute: number
}

/** Tokens remembered as verified, a few hundred bytes each. */
const REMEMBERED = 10_000
/** In which log-ins are counted. */
const WINDOW_SECONDS = 60

/** `exp` is optional: existing clients hold tokens that never expire. */
const claims = z.object({ sub: z.string(), exp: z.number().optional() })

export interface Auth {
  /** Counts a log-in of a client address. @throws HttpProblem 429 when it has none left */
  countLogIn(client: string): Promise<void>
  /** Compares in constant time. */
  accepts(username: string, password: string): boolean
  /** A signed token (RFC 7519, HS256) and when it expires, in milliseconds since 1970. */
  issue(): Promise<{ token: string; expiresAt: number }>
  /** @throws HttpProblem 401 unless the header holds a bearer token that this service signed */
  requireBearer(authorization: string | undefined): Promise<void>
  /**
   * As `requireBearer`, or HTTP basic with the same credentials: for scrapers, which cannot log in.
   * Basic credentials that are wrong count as a log-in of the client.
   * @throws HttpProblem 401, or 429 as `countLogIn`
   */
  requireBearerOrBasic(authorization: string | undefined, client: string): Promise<void>
}

/** Authentication of one account. Remembers verified tokens and the clients' log-ins in memory. */
export function createAuth(options: AuthOptions): Auth {
  const { username, password, secret, tokenLifetimeMs } = options
  const verified = new LRUCache<string, true>({ max: REMEMBERED })
  const logIns = new RateLimiterMemory({
    points: options.logInsPerMinute,
    duration: WINDOW_SECONDS,
  })

  const countLogIn = async (client: string): Promise<void> => {
    try {
      await logIns.consume(client)
    } catch (error) {
      if (!(error instanceof RateLimiterRes)) throw error
      // It counts by the system's clock, and forgets after the window however that is set.
      const seconds = Math.min(WINDOW_SECONDS, Math.max(1, Math.ceil(error.msBeforeNext / 1000)))
      throw detail(429, `Too many log-ins: try again in ${seconds} seconds`, {
        'retry-after': String(seconds),
      })
    }
  }

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
    countLogIn,
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
    requireBearerOrBasic: async (authorization, client) => {
      const { scheme, rest } = split(authorization)
      if (scheme !== 'basic') return requireBearer(authorization)
      // Counted before the credentials are looked at, or the limit would tell right ones apart.
      await countLogIn(client)
      const pair = Buffer.from(rest.trim(), 'base64').toString('utf8')
      const colon = pair.indexOf(':')
      if (colon < 0 || !accepts(pair.slice(0, colon), pair.slice(colon + 1))) {
        throw unauthorized('Incorrect username or password', 'Basic realm="bytes"')
      }
      await logIns.reward(client)
    },
  }
}

/** @param challenge how the client may authenticate (RFC 9110, section 11.6.1) */
export function unauthorized(text: string, challenge = 'Bearer'): HttpProblem {
  return detail(401, text, { 'www-authenticate': challenge })
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
