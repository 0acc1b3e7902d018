/** Requests to one service, with a bearer token that is renewed as needed. */
import {
  abortedError,
  BytesClientError,
  errorOfAnswer,
  networkError,
  throwIfAborted,
} from './errors.js'
import { isTransient, type OnWait, type Pause, repeat, type Waiting } from './retry.js'
import { type Credentials, createTokens, readToken } from './tokens.js'

/**
 * For requests with a streamed body. Others are cloned before they are sent, and the clone would
 * keep all of the body in memory (nodejs/undici issue 4058).
 */
const UNCLONED = { redirect: 'error', window: null } as const

/** How long one log-in may take, in milliseconds. */
const LOG_IN_MS = 60_000

/** A request. */
export interface Call {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'DELETE'
  /** Relative to the URL of the service, without a leading slash; or a URL that it gave. */
  readonly path: string | URL
  readonly headers?: Readonly<Record<string, string>>
  /** Gives the body, once for each time the request is sent. */
  readonly body?: () => string | AsyncIterable<Uint8Array>
  /** False when `body` can be called only once. */
  readonly replayable?: boolean
  /** Whether the request is sent again when it fails in a way that may pass. Default: false. */
  readonly repeated?: boolean
  /** Statuses that are an answer and no error, besides 2xx. */
  readonly accept?: readonly number[]
  readonly signal?: AbortSignal | undefined
}

/** The way to one service. */
export interface Session {
  /**
   * Sends a request. A 401 is answered by a log-in and one repetition where that is possible.
   * @throws BytesClientError for every answer that is neither 2xx nor accepted, and for none at all
   */
  send(call: Call): Promise<Response>
  /** As `send`, and reads the answer, which must be JSON. */
  sendForJson(call: Call): Promise<{ value: unknown; headers: Headers }>
  /**
   * A URL that the service gave. Its paths begin at the root: what is before them in the URL of the
   * service is put there, unless a proxy has done so.
   * @throws BytesClientError when it is of another origin, where the token must not go, or has
   * credentials
   */
  resolve(reference: string, base?: URL): URL
  /** For transfers that are taken up again by those who make them. */
  readonly waiting: Waiting
}

export type Fetch = (url: URL, init: RequestInit) => Promise<Response>

/**
 * @param url where the service is; ends with a slash
 * @param credentials or a token that is used as it is
 * @param onWait is told before a wait for the service that takes longer than a moment
 */
export function createSession(
  url: URL,
  credentials: Credentials | string,
  fetch: Fetch,
  pause: Pause,
  onWait: OnWait = () => undefined,
): Session {
  let reached = false
  const waiting: Waiting = { pause, onWait, reached: () => reached }

  async function dispatch(call: Call, headers: Record<string, string>): Promise<Response> {
    const target = new URL(call.path, url)
    throwIfAborted(call.signal)
    const content = call.body?.()
    let over = false
    let failure: { readonly error: unknown } | undefined
    async function* guarded(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
      try {
        for await (const chunk of chunks) {
          // The stream may be read a little longer than the request lives.
          if (over) return
          yield chunk
        }
      } catch (error) {
        failure = { error }
        throw error
      }
    }
    const body =
      content === undefined || typeof content === 'string'
        ? content
        : ReadableStream.from(guarded(content))
    try {
      const answer = await fetch(target, {
        method: call.method,
        headers: { ...call.headers, ...headers },
        // A token must not follow a redirect.
        ...(typeof body === 'object' ? UNCLONED : { redirect: 'manual' as const }),
        // Else Node >= 24.14 hides a 401 to a streamed body (nodejs/undici issue 5018).
        credentials: 'omit',
        ...(body !== undefined && { body, duplex: 'half' as const }),
        ...(call.signal && { signal: call.signal }),
      })
      // A fetch that was given may answer anything.
      if (typeof answer?.status === 'number') return answer
      throw new TypeError('fetch gave no answer')
    } catch (error) {
      over = true
      // What the body failed with says more than that the request failed.
      if (failure !== undefined) throw failure.error
      throw call.signal?.aborted ? abortedError(call.signal) : networkError(error, target.origin)
    }
  }

  async function readJson(answer: Response, call: Call): Promise<unknown> {
    let text: string
    try {
      text = await answer.text()
    } catch (error) {
      throw call.signal?.aborted ? abortedError(call.signal) : networkError(error, url.origin)
    }
    try {
      return JSON.parse(text) as unknown
    } catch {
      throw new BytesClientError(
        'unexpected_answer',
        `${nameOf(call)} was not answered with JSON`,
        {
          status: answer.status,
        },
      )
    }
  }

  const nameOf = ({ method, path }: Call): string =>
    `${method} ${new URL(path, url).pathname}`.slice(0, 200)

  async function demand(
    call: Call,
    answer: Response,
    secrets: readonly string[],
  ): Promise<Response> {
    if (answer.ok || call.accept?.includes(answer.status)) {
      reached = true
      return answer
    }
    throw await errorOfAnswer(answer, nameOf(call), secrets)
  }

  const tokens = createTokens(credentials, (form, secrets, signal) => {
    const logIn = async () => {
      const call: Call = {
        method: 'POST',
        path: 'token',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: () => form,
        signal: AbortSignal.any([signal, AbortSignal.timeout(LOG_IN_MS)]),
      }
      const answer = await demand(call, await dispatch(call, {}), secrets)
      return readToken(await readJson(answer, call), answer.headers.get('date'))
    }
    return repeat(logIn, waiting, signal).catch((error) => {
      throw noService(error, url)
    })
  })

  async function sendOnce(call: Call): Promise<Response> {
    const token = await tokens.get(call.signal)
    const answer = await dispatch(call, { authorization: `Bearer ${token}` })
    if (answer.status !== 401 || !tokens.renewable || call.replayable === false) {
      return demand(call, answer, [token])
    }
    await answer.body?.cancel()
    const renewed = await tokens.renew(token, call.signal)
    return demand(call, await dispatch(call, { authorization: `Bearer ${renewed}` }), [renewed])
  }

  function attempt<T>(call: Call, once: () => Promise<T>): Promise<T> {
    return call.repeated === true ? repeat(once, waiting, call.signal) : once()
  }

  return {
    send: (call) => attempt(call, () => sendOnce(call)),
    sendForJson: (call) =>
      attempt(call, async () => {
        const answer = await sendOnce(call)
        return { value: await readJson(answer, call), headers: answer.headers }
      }),
    resolve(reference, base = url) {
      const given = withBasePath(reference, url.pathname)
      const target = URL.canParse(given, base.href) ? new URL(given, base) : undefined
      if (target && (target.username !== '' || target.password !== '')) {
        // Not shown: fetch refuses it with an error that tells the password.
        throw new BytesClientError(
          'unexpected_answer',
          `an address with credentials is not followed, even at ${url.origin}`,
        )
      }
      if (target?.origin === url.origin) return target
      throw new BytesClientError(
        'unexpected_answer',
        `an address of another server than ${url.origin} is not followed`,
      )
    },
    waiting,
  }
}

/** @param basePath ends with a slash */
function withBasePath(reference: string, basePath: string): string {
  if (!/^\/(?!\/)/.test(reference) || reference.startsWith(`${basePath}bytes/`)) return reference
  return basePath + reference.slice(1)
}

/** The failure of a log-in: what no Bytes service answers tells that the URL is wrong. */
function noService(error: unknown, url: URL): unknown {
  if (!(error instanceof BytesClientError) || isTransient(error)) return error
  const { code, status } = error
  const foreign = status === 400 || status === 403 || status === 405 || status === 501
  const strange = code === 'unexpected_answer' || code === 'not_a_service' || code === 'not_found'
  if (!foreign && !strange) return error
  return new BytesClientError(
    'not_a_service',
    `${url.href} does not look like a Bytes service (POST token: ${error.message})`,
    { ...(status !== undefined && { status }), cause: error },
  )
}
