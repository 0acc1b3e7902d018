import { ContentDecoder } from './content-decoder.js'
import { ScanError } from './scan-error.js'
import { Skeleton } from './skeleton.js'

const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const BACKSLASH = 0x5c
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

/** Numbers of open brackets inside the body, inside `files`, and inside an element of it. */
const IN_BODY = 1
const IN_FILES = 2
const IN_FILE = 3

/** `content` with each letter as a `\u` escape, and two quotes. No key of interest is longer. */
const LONGEST_KEY = 44

/** `begin` and `end` surround the bytes of each content. `index` counts contents from 0. */
export type ScanEvent =
  | { readonly type: 'begin'; readonly index: number }
  | { readonly type: 'data'; readonly bytes: Buffer }
  | { readonly type: 'end' }

/** What the token stands for; empty when it is no key of interest. */
function keyOf(token: string): unknown {
  if (token.length > LONGEST_KEY) return ''
  if (!token.includes('\\')) return token.slice(1, -1)
  try {
    return JSON.parse(token)
  } catch {
    return ''
  }
}

/**
 * Takes the contents out of an upload `{"files": [{"content": "<base64>", ...}, ...], ...}` while it
 * arrives, so that it never is in memory as a whole. Everything else is kept as the skeleton: the
 * same JSON text, where the string at `files[*].content` is the index of the content instead, such
 * as `"0"`.
 *
 * It follows valid JSON exactly, and does not check it: one string stands for another, and nothing
 * else changes, so the skeleton is valid JSON exactly when the body is. Contents that a later
 * member of the same name replaces are taken out, and must be base64, as well.
 *
 * Memory does not depend on the nesting: only the first levels matter, deeper ones are counted.
 */
export class JsonScanner {
  readonly #skeleton: Skeleton
  /** Brackets that are open, of both kinds; below 0 when the body is no JSON. */
  #depth = 0
  /** Of these, how many, from the outermost, lead to contents. */
  #onPath = 0
  /** Whether a string in the innermost object on the path is a key. */
  #atKey = false
  #key: unknown = ''
  /** Token of the key that is being read, as far as it may be of interest. */
  #token: string | undefined
  #file = 0
  #contents = 0
  #content: ContentDecoder | undefined
  #inString = false
  /** Whether the next byte of the string follows a backslash. */
  #escaped = false
  /** Where the chunk has its next backslash; its length when it has none. */
  #backslash = -1

  constructor(options: { readonly maxSkeletonBytes: number }) {
    this.#skeleton = new Skeleton(options.maxSkeletonBytes)
  }

  /**
   * Reads a chunk, cut anywhere. The events must be read to their end before the next chunk. The
   * chunk is not held afterwards. Fit for nothing more once it has thrown.
   * @returns events in the order of the body; no `data` is empty
   * @throws ScanError `malformed_base64`, `invalid_string` or `skeleton_too_long`, as soon as it is
   *   known
   */
  *write(chunk: Buffer): Generator<ScanEvent, void, undefined> {
    this.#backslash = -1
    let at = 0
    // Everything before is in the skeleton, or was content.
    let done = 0
    while (at < chunk.length) {
      if (this.#content !== undefined) {
        const quote = chunk.indexOf(QUOTE, at)
        const end = quote === -1 ? chunk.length : quote
        const escaped = this.#nextBackslash(chunk, at) < end
        if (end > at) {
          const bytes = this.#content.update(chunk.subarray(at, end), escaped)
          if (bytes.length > 0) yield { type: 'data', bytes }
        }
        at = end
        if (quote !== -1) {
          this.#content.end()
          this.#content = undefined
          yield { type: 'end' }
          at++
        }
        done = at
      } else if (this.#inString) {
        at = this.#skipString(chunk, at)
      } else {
        at = this.#skipStructure(chunk, at)
        if (at < chunk.length) {
          if (this.#atContent()) {
            const index = this.#contents++
            this.#skeleton.append(chunk, done, at)
            const token = Buffer.from(`"${index}"`)
            this.#skeleton.append(token, 0, token.length)
            this.#content = new ContentDecoder(this.#file)
            done = at + 1
            yield { type: 'begin', index }
          } else {
            this.#inString = true
            this.#token = this.#atKey ? '"' : undefined
          }
          at++
        }
      }
    }
    this.#skeleton.append(chunk, done, chunk.length)
  }

  /**
   * To be called after the last chunk.
   * @returns the skeleton, which need not be valid JSON
   * @throws ScanError `unterminated_string` or `not_utf8`
   */
  finish(): string {
    if (this.#content !== undefined) throw new ScanError('unterminated_string', this.#file)
    if (this.#inString) throw new ScanError('unterminated_string')
    return this.#skeleton.text()
  }

  #atContent(): boolean {
    return (
      this.#depth === IN_FILE && this.#onPath === IN_FILE && !this.#atKey && this.#key === 'content'
    )
  }

  /** The index of the next quote, or the chunk's length. */
  #skipStructure(chunk: Buffer, start: number): number {
    for (let at = start; at < chunk.length; at++) {
      switch (chunk[at]) {
        case QUOTE:
          return at
        case OPEN_BRACE:
          this.#open(true)
          break
        case OPEN_BRACKET:
          this.#open(false)
          break
        case CLOSE_BRACE:
        case CLOSE_BRACKET:
          this.#depth--
          if (this.#onPath > this.#depth) this.#onPath = this.#depth
          break
        case COLON:
          if (this.#depth === this.#onPath) this.#atKey = false
          break
        case COMMA:
          if (this.#depth === this.#onPath) {
            if (this.#depth === IN_FILES) this.#file++
            else this.#atKey = true
          }
          break
      }
    }
    return chunk.length
  }

  #open(object: boolean): void {
    if (this.#depth === this.#onPath && this.#leadsToContent(object)) {
      this.#onPath++
      this.#atKey = object
      this.#file = object ? this.#file : 0
    }
    this.#depth++
  }

  /** Whether an object or array that begins here, in the innermost one on the path, is on it too. */
  #leadsToContent(object: boolean): boolean {
    switch (this.#depth) {
      case 0:
      case IN_FILES:
        return object
      case IN_BODY:
        return !object && this.#key === 'files'
      default:
        return false
    }
  }

  /** The index after the quote that ends the string, or the chunk's length. */
  #skipString(chunk: Buffer, start: number): number {
    let at = this.#escaped ? start + 1 : start
    let quote = chunk.indexOf(QUOTE, at)
    let backslash = this.#nextBackslash(chunk, at)
    while (backslash < (quote === -1 ? chunk.length : quote)) {
      at = backslash + 2
      if (quote !== -1 && quote < at) quote = chunk.indexOf(QUOTE, at)
      backslash = this.#nextBackslash(chunk, at)
    }
    this.#escaped = at > chunk.length
    const end = quote === -1 ? chunk.length : quote + 1
    if (this.#token !== undefined && this.#token.length <= LONGEST_KEY) {
      this.#token += chunk.toString('latin1', start, Math.min(end, start + LONGEST_KEY))
    }
    if (quote !== -1) {
      this.#inString = false
      if (this.#token !== undefined) this.#key = keyOf(this.#token)
    }
    return end
  }

  /** Looks at no byte of the chunk twice. */
  #nextBackslash(chunk: Buffer, start: number): number {
    if (this.#backslash < start) {
      const found = chunk.indexOf(BACKSLASH, start)
      this.#backslash = found === -1 ? chunk.length : found
    }
    return this.#backslash
  }
}
