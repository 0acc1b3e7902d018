/** What can go wrong for a client, as one class with a closed set of codes. */
import { escaped, printable } from './text.js'

/**
 * - `invalid_argument`: the call itself is wrong
 * - `unauthorized`: wrong credentials, or a token that is no longer accepted
 * - `not_found`: no such job, raw file or upload
 * - `refused`: any other 4xx; `serverText` says why
 * - `too_large`: more than the service takes in one body
 * - `rate_limited`, `unavailable`: try later; `retryAfterMs` when the service said when
 * - `storage_full`: the disk of the service is full
 * - `server_error`: any other 5xx
 * - `network`: no connection, or it broke before the answer came
 * - `incomplete`: the content ended before its announced size
 * - `digest_mismatch`: the content that came is not what the service announced
 * - `content_differs`: the raw file has other content than what was sent
 * - `source_failed`, `target_failed`: the local side of a transfer
 * - `target_exists`: there is a file of this name, which was not to be replaced
 * - `unexpected_answer`: what answers does not keep to the protocol of Bytes
 * - `not_a_service`: the URL leads to something else than a Bytes service
 * - `aborted`: the caller's signal
 */
export type ClientErrorCode =
  | 'invalid_argument'
  | 'unauthorized'
  | 'not_found'
  | 'refused'
  | 'too_large'
  | 'rate_limited'
  | 'unavailable'
  | 'storage_full'
  | 'server_error'
  | 'network'
  | 'incomplete'
  | 'digest_mismatch'
  | 'content_differs'
  | 'source_failed'
  | 'target_failed'
  | 'target_exists'
  | 'unexpected_answer'
  | 'not_a_service'
  | 'aborted'

interface Details {
  readonly status?: number
  readonly requestId?: string | undefined
  readonly serverText?: string
  readonly retryAfterMs?: number | undefined
  readonly cause?: unknown
}

/**
 * A failure of the client or the service. The message is one line, has nothing in it that does
 * something to a terminal, and no secret.
 */
export class BytesClientError extends Error {
  readonly code: ClientErrorCode
  /** HTTP status, when there was an answer. */
  readonly status: number | undefined
  /** `X-Request-Id` of the answer: the service's log has it as well. */
  readonly requestId: string | undefined
  /** What the service said, on one line. */
  readonly serverText: string | undefined
  /** How long the service asked to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined

  constructor(code: ClientErrorCode, message: string, details: Details = {}) {
    forgetReceived(details.cause)
    super(escaped(message), details.cause === undefined ? {} : { cause: details.cause })
    this.name = 'BytesClientError'
    this.code = code
    this.status = details.status
    this.requestId = details.requestId
    this.serverText = details.serverText
    this.retryAfterMs = details.retryAfterMs
  }
}

/**
 * A parser of HTTP keeps what it could not read, and Node shows that with the error. Of what sends
 * back what it gets, that is the request with its password or token.
 */
function forgetReceived(error: unknown): void {
  for (const found of chainOf(error)) {
    if ('code' in found && String(found.code).startsWith('HPE_')) {
      Reflect.deleteProperty(found, 'data')
    }
  }
}

/** The error and its causes, as far as these are errors: a few, since they may go in a circle. */
function chainOf(error: unknown): Error[] {
  const found: Error[] = []
  for (let at = error; at instanceof Error && found.length < 20; at = at.cause) found.push(at)
  return found
}

const CODES: Readonly<Record<number, ClientErrorCode>> = {
  401: 'unauthorized',
  404: 'not_found',
  410: 'not_found',
  413: 'too_large',
  429: 'rate_limited',
  502: 'unavailable',
  503: 'unavailable',
  504: 'unavailable',
  507: 'storage_full',
}

function codeOf(status: number): ClientErrorCode {
  const known = CODES[status]
  if (known !== undefined) return known
  if (status >= 500) return 'server_error'
  return status >= 400 ? 'refused' : 'unexpected_answer'
}

/** What a status means where the service says nothing: an answer to HEAD has no text. */
const MEANING: Readonly<Partial<Record<ClientErrorCode, string>>> = {
  unauthorized: 'the credentials are not accepted; check them',
  not_found: 'there is nothing of this id; check it',
  too_large: 'the content is longer than the service takes',
  rate_limited: 'there are too many requests; try later',
  unavailable: 'the service is not available; try later',
  storage_full: 'the disk of the service is full',
  server_error: 'the service failed; its log tells why',
  unexpected_answer: 'this is no answer of a Bytes service; check its URL',
}

/**
 * The error that an answer stands for. Reads the answer's body.
 * @param what the request, for the message, such as `POST /bytes/raw`
 * @param secrets what was sent and must not be told: a text that has it is left out
 */
export async function errorOfAnswer(
  answer: Response,
  what: string,
  secrets: readonly string[] = [],
): Promise<BytesClientError> {
  const shown = (text: string): string => (tells(text, secrets) ? '' : text)
  const header = (name: string): string | undefined =>
    shown(answer.headers.get(name) ?? '') || undefined
  const requestId = header('x-request-id')
  const serverText = printable(shown(textOf(await readStart(answer))))
  const moved = header('location')
  const about =
    serverText !== ''
      ? serverText
      : answer.status >= 300 && answer.status < 400 && moved !== undefined
        ? `it leads to ${printable(moved)}; use the URL of the service itself`
        : `${MEANING[codeOf(answer.status)] ?? 'the request was not accepted'}: ${what}`
  const request = requestId === undefined ? '' : `, request ${printable(requestId)}`
  return new BytesClientError(codeOf(answer.status), `${about} (HTTP ${answer.status}${request})`, {
    status: answer.status,
    requestId,
    serverText,
    retryAfterMs: retryAfter(answer.headers),
  })
}

/**
 * Whether a secret is in the text. One that is shorter than 4 characters is in any text; of a long
 * one the text may have the beginning only.
 */
function tells(text: string, secrets: readonly string[]): boolean {
  return secrets.some((secret) => secret.length >= 4 && text.includes(secret.slice(0, 100)))
}

/** At most so much of the body as a message can use; the rest is not waited for. */
async function readStart(answer: Response): Promise<string> {
  const reader = answer.body?.getReader()
  if (reader === undefined) return ''
  const decoder = new TextDecoder()
  let text = ''
  try {
    while (text.length < 64 * 1024) {
      const { done, value } = await reader.read()
      if (done) break
      text += decoder.decode(value, { stream: true })
    }
  } catch {
    // The status says enough.
  }
  await reader.cancel().catch(() => undefined)
  return text
}

function textOf(body: string): string {
  let parsed: unknown
  try {
    parsed = JSON.parse(body)
  } catch {
    return body.trimStart().startsWith('<') ? '' : body
  }
  if (typeof parsed !== 'object' || parsed === null) return ''
  // `value` says in one text what `detail` has as a list.
  for (const name of ['value', 'message', 'detail']) {
    const member: unknown = Reflect.get(parsed, name)
    if (typeof member === 'string') return member
  }
  return ''
}

/** `Retry-After` (RFC 9110, section 10.2.3) in milliseconds from now. */
function retryAfter(headers: Headers): number | undefined {
  const text = headers.get('retry-after')
  if (text === null) return undefined
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now())
}

/** The error of a request that got no answer. */
export function networkError(error: unknown, where: string): BytesClientError {
  return new BytesClientError('network', `no answer from ${where}: ${reasonOf(error)}`, {
    cause: error,
  })
}

/** The error of a call that its caller ended. */
export function abortedError(signal: AbortSignal): BytesClientError {
  const late = signal.reason instanceof Error && signal.reason.name === 'TimeoutError'
  return new BytesClientError('aborted', late ? 'it took too long' : 'aborted', {
    cause: signal.reason,
  })
}

/** @throws BytesClientError `aborted` */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortedError(signal)
}

/** The first cause that says something: fetch hides it below `fetch failed`. */
export function reasonOf(error: unknown): string {
  try {
    let found = chainOf(error).at(-1) ?? error
    if (found instanceof AggregateError && found.errors[0] instanceof Error) found = found.errors[0]
    // V8 tells on further lines where a circle is that JSON cannot have.
    const text = (found instanceof Error ? messageOf(found) : String(found)).replace(/\n +.*/s, '')
    return printable(text) || 'unknown reason'
  } catch {
    // Anything may be thrown, also what cannot be made a text.
    return 'unknown reason'
  }
}

/** Without the names of files, which those who report it add, and the noise of OpenSSL. */
function messageOf(error: Error): string {
  const code = 'code' in error ? String(error.code) : ''
  if (/wrong.version.number/i.test(`${code} ${error.message}`)) {
    return 'it does not speak TLS; use http:// instead of https://'
  }
  // Such as `ENOENT: no such file or directory, open '/a/file'`.
  const system = /^([A-Z][A-Z0-9]+): (.*?), [a-z]+(?: '.*)?$/s.exec(error.message)
  return system?.[1] === code ? `${system[2]} (${code})` : error.message
}

/** The promise, or a rejection as soon as the signal aborts. @throws BytesClientError `aborted` */
export async function orAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  if (signal === undefined) return promise
  let stop = (): void => undefined
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(abortedError(signal))
    signal.addEventListener('abort', stop, { once: true })
    if (signal.aborted) stop()
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
