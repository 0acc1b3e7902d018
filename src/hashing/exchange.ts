/** One request to a third party over HTTP, and its answer: bounded in size and in time. */
import { type IncomingHttpHeaders, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'

export type ExchangeFault = 'unreachable' | 'timed_out' | 'aborted' | 'answer_too_long'

/** There is no answer. `message` completes a sentence that begins with whom was asked. */
export class ExchangeError extends Error {
  readonly fault: ExchangeFault

  constructor(fault: ExchangeFault, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'ExchangeError'
    this.fault = fault
  }
}

export interface ExchangeRequest {
  readonly method: 'GET' | 'POST'
  /** http or https. */
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Uint8Array
  /** For everything from the look-up of the name to the last byte, in milliseconds. */
  readonly timeoutMs: number
  /** Most bytes of an answer; the connection is cut as soon as there are more. */
  readonly maxBytes: number
  readonly signal?: AbortSignal | undefined
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** What went wrong, without addresses: `ECONNREFUSED`, or the text where there is no code. */
function reasonOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message
}

/**
 * Asks once, on a connection of its own: redirects are answers, and no proxy is used.
 * @throws ExchangeError
 */
export function exchange(options: ExchangeRequest): Promise<Answer> {
  const { method, url, headers, body, timeoutMs, maxBytes, signal } = options
  return new Promise((resolve, reject) => {
    const request = (url.startsWith('https:') ? requestHttps : requestHttp)(url, {
      method,
      agent: false,
      headers: { ...headers, ...(body && { 'content-length': String(body.length) }) },
    })
    const settle = (error: ExchangeError | undefined, answer?: Answer): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      // What comes afterwards, such as the error of the cut connection, changes nothing.
      request.on('error', () => undefined)
      request.destroy()
      if (error !== undefined) reject(error)
      else if (answer !== undefined) resolve(answer)
    }
    const fail = (fault: ExchangeFault, message: string, cause?: unknown): void =>
      settle(new ExchangeError(fault, message, { cause }))
    const abort = (): void => fail('aborted', 'was not waited for any longer')
    const broken = (error: Error): void =>
      fail('unreachable', `cannot be reached, or breaks off (${reasonOf(error)})`, error)
    const timer = setTimeout(
      () => fail('timed_out', `did not answer fully within ${timeoutMs} ms`),
      timeoutMs,
    )
    signal?.addEventListener('abort', abort)
    request.on('error', broken)
    request.on('response', (response) => {
      const pieces: Buffer[] = []
      let size = 0
      const tooLong = (): void =>
        fail('answer_too_long', `answered with more than ${maxBytes} bytes`)
      response.on('error', broken)
      response.on('data', (piece: Buffer) => {
        size += piece.length
        if (size > maxBytes) tooLong()
        else pieces.push(piece)
      })
      response.on('end', () => {
        const { statusCode: status = 0, headers: received } = response
        settle(undefined, { status, headers: received, body: Buffer.concat(pieces) })
      })
      if (Number(response.headers['content-length'] ?? 0) > maxBytes) tooLong()
    })
    if (signal?.aborted) abort()
    else request.end(body)
  })
}

/** Longest text of a third party that is repeated, in characters. */
const MAX_TEXT = 300

/** Text of a third party for a message: printable, on one line, not too long. */
export function shownText(text: string): string {
  const line = text
    .slice(0, MAX_TEXT * 4)
    .replace(/[\p{C}\p{Zl}\p{Zp}\s\uFFFD]+/gu, ' ')
    .trim()
  return line.length <= MAX_TEXT ? line : `${line.slice(0, MAX_TEXT)}...`
}
