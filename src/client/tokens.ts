/** The bearer token: one log-in for all requests that need it, renewed shortly before its end. */
import { abortedError, BytesClientError, throwIfAborted } from './errors.js'

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

/** Answer of a log-in, and the `Date` of that answer. */
export interface LogInAnswer {
  readonly body: unknown
  readonly date: string | null
}

interface Held {
  readonly token: string
  /** From when on another is wanted, in milliseconds of `performance.now()`. */
  readonly staleAt: number
}

/** How long before its end a token is renewed, in milliseconds; of a short life, a tenth. */
const MARGIN_MS = 30_000

/** @param logIn sends the form to the service */
export function createTokens(
  credentials: Credentials | string,
  logIn: (form: string) => Promise<LogInAnswer>,
): Tokens {
  if (typeof credentials === 'string') {
    const token = async (): Promise<string> => credentials
    return { renewable: false, get: token, renew: token }
  }
  const { username, password } = credentials
  let held: Held | undefined
  let underWay: Promise<Held> | undefined

  async function obtain(): Promise<Held> {
    const form = new URLSearchParams({ grant_type: 'password', username, password }).toString()
    held = read(await logIn(form))
    return held
  }

  // It belongs to all that wait for it, so that no one's signal ends it.
  async function shared(signal: AbortSignal | undefined): Promise<string> {
    throwIfAborted(signal)
    underWay ??= obtain().finally(() => {
      underWay = undefined
    })
    return (await orAborted(underWay, signal)).token
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

function read({ body, date }: LogInAnswer): Held {
  const answer: object = typeof body === 'object' && body !== null ? body : {}
  const token: unknown = Reflect.get(answer, 'access_token')
  if (typeof token !== 'string' || token === '') {
    throw new BytesClientError('unexpected_answer', 'the log-in was answered without a token')
  }
  const expiresAt = Date.parse(String(Reflect.get(answer, 'expires_at')))
  // Both are by the clock of the service, so that it does not matter what ours says.
  const lifetime = expiresAt - (date === null ? Date.now() : Date.parse(date))
  // Unknown: it is used until it is refused.
  if (Number.isNaN(lifetime)) return { token, staleAt: Number.POSITIVE_INFINITY }
  const margin = Math.min(MARGIN_MS, lifetime / 10)
  return { token, staleAt: performance.now() + lifetime - margin }
}

async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  let stop = (): void => undefined
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(abortedError(signal))
    signal.addEventListener('abort', stop, { once: true })
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
