import { type Instant, instantMicros } from '../../domain/instant.js'
import { type Answer, ExchangeError, exchange } from '../exchange.js'
import type { Anchors } from './anchors.js'
import { TimestampError } from './errors.js'
import { makeRequest } from './request.js'
import { tokenOf } from './response.js'
import { verifyToken } from './token.js'
import { createTurns } from './turns.js'

/** A timestamp authority (RFC 3161) behind HTTP. */
export interface TimestampAuthority {
  readonly url: string
  /**
   * Gets a timestamp, which is verified when this resolves.
   * @param imprint SHA-512 digest, 64 bytes
   * @param signal gives up, also while it waits for its turn
   * @returns the TimeStampToken in DER
   * @throws TimestampError
   */
  stamp(imprint: Uint8Array, signal?: AbortSignal): Promise<Uint8Array>
}

export interface TimestampAuthorityOptions {
  /** http or https, without credentials. */
  readonly url: string
  readonly anchors: Anchors
  /** For the whole exchange, in milliseconds. */
  readonly timeoutMs: number
  /** How far genTime may be from our clock, in milliseconds. */
  readonly maxSkewMs: number
  /** Least time between the starts of two exchanges, in milliseconds. */
  readonly minIntervalMs: number
  /** Our clock: milliseconds since 1970. */
  readonly now?: () => number
}

/** Types of RFC 3161, section 3.4. */
const QUERY = 'application/timestamp-query'
const REPLY = 'application/timestamp-reply'
/** A token with a chain of RSA certificates has less than 20 KiB. */
const MAX_ANSWER_BYTES = 1024 * 1024
const IMPRINT_BYTES = 64

/** @throws TimestampError `bad_url`, whose message does not repeat a password */
function checkUrl(text: string): void {
  const bad = (what: string): never => {
    throw new TimestampError('bad_url', `the URL of the timestamp authority ${what}`)
  }
  if (!URL.canParse(text)) bad('is no URL')
  const { protocol, username, password } = new URL(text)
  if (protocol !== 'http:' && protocol !== 'https:') bad('must begin with http:// or https://')
  if (username !== '' || password !== '') bad('must not have a user name or a password')
}

/** @throws TimestampError when it is no answer of RFC 3161, section 3.4 */
function checkAnswer({ status, headers }: Answer, name: string): void {
  if (status >= 300 && status < 400) {
    const what = `${name} redirects (status ${status}); give the URL that it redirects to`
    throw new TimestampError('redirected', what)
  }
  if (status !== 200) {
    throw new TimestampError('wrong_http_status', `${name} answered with the status ${status}`)
  }
  const type = (headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase()
  if (type !== REPLY) {
    const what = `${name} did not answer with ${REPLY}; is it a timestamp authority?`
    throw new TimestampError('wrong_media_type', what)
  }
}

/**
 * The authority has looked at its clock between `before` and `after`, milliseconds of ours.
 * @throws TimestampError `clock_skew`
 */
function checkClock(time: Instant, before: number, after: number, maxSkewMs: number): void {
  const then = Number(instantMicros(time)) / 1000
  const off = then < before ? then - before : Math.max(0, then - after)
  if (Math.abs(off) <= maxSkewMs) return
  const seconds = Math.round(Math.abs(off) / 1000)
  const what = `the time of the timestamp, ${time}, is ${seconds} s ${off < 0 ? 'behind' : 'ahead of'} the clock of this machine; at most ${maxSkewMs / 1000} s are allowed: see whose clock is wrong`
  throw new TimestampError('clock_skew', what)
}

/** The URL in messages: its query may hold a key. */
function nameOf(url: string): string {
  const { origin, pathname } = new URL(url)
  return `${origin}${pathname}`
}

/** @throws TimestampError `bad_url` */
export function createTimestampAuthority(options: TimestampAuthorityOptions): TimestampAuthority {
  const { url, anchors, timeoutMs, maxSkewMs, minIntervalMs, now = Date.now } = options
  checkUrl(url)
  const name = nameOf(url)
  const turns = createTurns(minIntervalMs)

  async function ask(body: Uint8Array, signal: AbortSignal | undefined): Promise<Answer> {
    const headers = { 'content-type': QUERY, accept: REPLY }
    const bounds = { timeoutMs, maxBytes: MAX_ANSWER_BYTES, signal }
    try {
      return await exchange({ method: 'POST', url, headers, body, ...bounds })
    } catch (cause) {
      if (!(cause instanceof ExchangeError)) throw cause
      throw new TimestampError(cause.fault, `${name} ${cause.message}`, { cause })
    }
  }

  return {
    url,

    async stamp(imprint, signal) {
      if (imprint.length !== IMPRINT_BYTES) {
        throw new RangeError(`an imprint has ${IMPRINT_BYTES} bytes, and not ${imprint.length}`)
      }
      try {
        await turns.next(signal)
      } catch (cause) {
        throw new TimestampError('aborted', `${name} was not waited for any longer`, { cause })
      }
      const request = makeRequest(imprint)
      const before = now()
      const answer = await ask(request.der, signal)
      const after = now()
      checkAnswer(answer, name)
      const token = tokenOf(answer.body)
      const { nonce, time } = verifyToken(token, imprint, 'sha512', anchors)
      if (nonce !== request.nonce) {
        const what = `the answer of ${name} is to another request: the nonce is ${nonce === null ? 'missing' : 'another'}`
        throw new TimestampError('wrong_nonce', what)
      }
      checkClock(time, before, after, maxSkewMs)
      return Uint8Array.from(token)
    },
  }
}
