/** The bearer token: one log-in for all requests that need it, renewed shortly before its end. */
import { BytesClientError, orAborted, throwIfAborted } from './errors.js'

export interface Credentials {
  readonly username: string
  readonly password: string
}

export interface Tokens {
  /** Whether a new token can be had. */
  readonly renewable: boolean
  /** A token that is valid as far as is known; logs in when there is none. */
  get(signal: AbortSignal | undefined): Promise<string>
  /** A token other than `refused`, which the service did not accept. */
  renew(refused: string, signal: AbortSignal | undefined): Promise<string>
}

/** Whether it can be sent as a bearer token: fetch would tell another one in its error. */
export function isToken(value: unknown): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]+$/.test(value)
}

/** A token, and how long it is good for. */
export interface Held {
  readonly token: string
  /** From when on another is wanted, in milliseconds of `performance.now()`. */
  readonly staleAt: number
}

/** How long before its end a token is renewed, in milliseconds; of a short life, a tenth. */
const MARGIN_MS = 30_000

/**
 * @param logIn sends the form to the service, and tells nothing of the secrets in it; its signal
 * aborts when nobody waits for it any more
 */
export function createTokens(
  credentials: Credentials | string,
  logIn: (form: string, secrets: readonly string[], signal: AbortSignal) => Promise<Held>,
): Tokens {
  if (typeof credentials === 'string') {
    const token = async (): Promise<string> => credentials
    return { renewable: false, get: token, renew: token }
  }
  const { username, password } = credentials
  const form = new URLSearchParams({ grant_type: 'password', username, password }).toString()
  // What sends back what it got may write it in each of these ways.
  const secrets = [
    password,
    form.slice(form.lastIndexOf('=') + 1),
    JSON.stringify(password).slice(1, -1),
  ]
  let held: Held | undefined
  let underWay: { held: Promise<Held>; waiters: number; end: AbortController } | undefined

  async function obtain(signal: AbortSignal): Promise<Held> {
    held = await logIn(form, secrets, signal)
    return held
  }

  // It belongs to all that wait for it, so that no one's signal ends it.
  async function shared(signal: AbortSignal | undefined): Promise<string> {
    throwIfAborted(signal)
    if (underWay === undefined) {
      const end = new AbortController()
      underWay = { held: obtain(end.signal), waiters: 0, end }
    }
    const ours = underWay
    ours.waiters++
    try {
      return (await orAborted(ours.held, signal)).token
    } finally {
      ours.waiters--
      if (ours === underWay) {
        // The first of them to leave knows how it ended, unless its own signal aborted.
        if (ours.waiters === 0 || !signal?.aborted) underWay = undefined
      }
      if (ours.waiters === 0) ours.end.abort()
    }
  }

  return {
    renewable: true,
    async get(signal) {
      return held && performance.now() < held.staleAt ? held.token : shared(signal)
    },
    async renew(refused, signal) {
      return held && held.token !== refused ? held.token : shared(signal)
    },
  }
}

/**
 * @param body of the answer to a log-in
 * @param date of that answer
 * @throws BytesClientError `not_a_service` when there is no token in it
 */
export function readToken(body: unknown, date: string | null): Held {
  const answer: object = typeof body === 'object' && body !== null ? body : {}
  const token: unknown = Reflect.get(answer, 'access_token')
  if (!isToken(token)) {
    throw new BytesClientError('not_a_service', 'the log-in was answered without a token')
  }
  const expiresAt = Date.parse(String(Reflect.get(answer, 'expires_at')))
  // Both are by the clock of the service, so that it does not matter what ours says.
  const lifetime = expiresAt - (date === null ? Date.now() : Date.parse(date))
  // Unknown: it is used until it is refused.
  if (Number.isNaN(lifetime)) return { token, staleAt: Number.POSITIVE_INFINITY }
  const margin = Math.min(MARGIN_MS, lifetime / 10)
  return { token, staleAt: performance.now() + lifetime - margin }
}
