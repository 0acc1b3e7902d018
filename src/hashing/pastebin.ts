import { BytesError } from '../domain/errors.js'
import type { Check, HashRepository } from '../domain/hash-repository.js'
import { withoutSlashes } from '../domain/trim-end.js'
import {
  type Answer,
  ExchangeError,
  type ExchangeRequest,
  exchange,
  shownText,
} from './exchange.js'

export interface PastebinOptions {
  /** Developer key; it is in no error. */
  readonly key: string
  /** Where Pastebin is, such as `https://pastebin.com`. */
  readonly baseUrl: string
  /** For a whole exchange, in milliseconds. */
  readonly timeoutMs: number
}

/** Answers are the address of a paste, a secure hash, or a sentence. */
const MAX_ANSWER_BYTES = 64 * 1024
/** Key of a paste. */
const PASTE = /^[A-Za-z0-9]{1,64}$/
const CHECK = 'retrieval_link'

function failed(what: string, cause?: unknown): BytesError {
  return new BytesError('hash_repository_failed', `Pastebin ${what}`, { cause })
}

/**
 * Pastebin as a hash repository: each secure hash is a paste, and its address the retrieval link
 * (https://pastebin.com/doc_api: `api_post.php`, and `/raw/` for the text). It proves as much as
 * one trusts Pastebin: the time is on the page of the paste.
 */
export function createPastebinRepository(options: PastebinOptions): HashRepository {
  const { key, timeoutMs } = options
  const base = withoutSlashes(options.baseUrl)
  const bounds = { timeoutMs, maxBytes: MAX_ANSWER_BYTES }

  const pasteOf = (link: string): string | undefined => {
    if (!link.startsWith(`${base}/`)) return undefined
    const paste = link.slice(base.length + 1)
    return PASTE.test(paste) ? paste : undefined
  }
  const withoutKey = (text: string): string =>
    [key, encodeURIComponent(key)].reduce((shown, one) => shown.replaceAll(one, '***'), text)

  async function paste(secureHash: string, signal: AbortSignal | undefined): Promise<Answer> {
    const form = { api_dev_key: key, api_option: 'paste', api_paste_code: secureHash }
    const request: ExchangeRequest = {
      method: 'POST',
      url: `${base}/api/api_post.php`,
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: Buffer.from(new URLSearchParams(form).toString()),
      ...bounds,
      signal,
    }
    try {
      return await exchange(request)
    } catch (cause) {
      if (!(cause instanceof ExchangeError)) throw cause
      throw failed(cause.message, cause)
    }
  }

  /** What is wrong with a paste; undefined when it is exactly this text. */
  async function lookAt(name: string, text: string): Promise<Pick<Check, 'passed' | 'detail'>> {
    try {
      const url = `${base}/raw/${name}`
      const { status, body } = await exchange({ method: 'GET', url, headers: {}, ...bounds })
      if (status === 404) return { passed: false, detail: 'Pastebin has no such paste' }
      if (status !== 200) {
        return { passed: null, detail: `Pastebin answered with the status ${status}` }
      }
      if (body.equals(Buffer.from(text))) {
        return { passed: true, detail: 'the paste is this hash; its page has the time' }
      }
    } catch (error) {
      if (!(error instanceof ExchangeError)) throw error
      if (error.fault !== 'answer_too_long') {
        return { passed: null, detail: `Pastebin ${error.message}` }
      }
    }
    return { passed: false, detail: 'the paste is not this hash' }
  }

  return {
    thirdParty: true,
    signingProviderUrl: new URL(base).origin,
    recognizes: (link) => pasteOf(link) !== undefined,

    async store(secureHash, signal) {
      const { status, body } = await paste(secureHash, signal)
      const text = body.toString('utf8').trim()
      if (status === 200 && pasteOf(text) !== undefined) return text
      // Failures come with the status 200 and a sentence, too.
      const said = shownText(withoutKey(text)) || 'nothing'
      throw failed(`answered (status ${status}): ${said}`)
    },

    async verify(link, secureHash) {
      const name = pasteOf(link)
      if (name === undefined) {
        return [{ name: CHECK, passed: false, detail: 'not a link that Pastebin has given' }]
      }
      return [{ name: CHECK, ...(await lookAt(name, secureHash)) }]
    },
  }
}
