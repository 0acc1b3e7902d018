import { Base64Decoder, MalformedBase64 } from '../../domain/base64-stream.js'
import { ScanError } from './scan-error.js'

const BACKSLASH = 0x5c
const LETTER_U = 0x75
/** Stands for all characters that are not ASCII: no base64 has them. */
const NOT_ASCII = 0x80

/** What may follow a backslash (RFC 8259, section 7), and what it stands for. */
const ESCAPES: ReadonlyMap<number, number> = new Map(
  Object.entries({
    '"': '"',
    '\\': '\\',
    '/': '/',
    b: '\b',
    f: '\f',
    n: '\n',
    r: '\r',
    t: '\t',
  }).map(([letter, character]) => [letter.charCodeAt(0), character.charCodeAt(0)]),
)

/** Value of a hexadecimal digit; undefined for other bytes. */
function hexDigit(byte: number): number | undefined {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : undefined
}

/**
 * Decodes a JSON string that holds base64, given as the bytes between its quotes in pieces, cut
 * anywhere. Fit for nothing more once it has thrown.
 */
export class ContentDecoder {
  readonly #file: number
  readonly #base64 = new Base64Decoder()
  #state: 'text' | 'backslash' | 'digits' = 'text'
  /** Digits of a `\u` escape so far, and their value. */
  #digits = 0
  #code = 0

  /** @param file position in `files`, for errors */
  constructor(file: number) {
    this.#file = file
  }

  /**
   * @param piece has no quote: an escaped one is no base64, so the first quote is the last
   * @param escaped whether the piece has a backslash
   * @returns the bytes that are known by now, perhaps none
   * @throws ScanError `malformed_base64`, or `invalid_string` for raw control characters and
   *   malformed escapes
   */
  update(piece: Uint8Array, escaped: boolean): Buffer {
    // A clean piece has no control characters.
    const clean = escaped || this.#state !== 'text' ? undefined : this.#base64.updateClean(piece)
    if (clean !== undefined) return clean
    const text = this.#unescape(piece)
    try {
      return this.#base64.update(text)
    } catch (error) {
      throw this.#explain(error)
    }
  }

  /**
   * To be called at the closing quote. There are no more bytes: `update` gave them all.
   * @throws ScanError `malformed_base64` or `invalid_string`
   */
  end(): void {
    if (this.#state === 'digits') throw new ScanError('invalid_string', this.#file)
    // It escapes the quote.
    if (this.#state === 'backslash') throw new ScanError('malformed_base64', this.#file)
    try {
      this.#base64.end()
    } catch (error) {
      throw this.#explain(error)
    }
  }

  #explain(error: unknown): unknown {
    return error instanceof MalformedBase64 ? new ScanError(error.code, this.#file) : error
  }

  #unescape(piece: Uint8Array): Buffer {
    const text = Buffer.allocUnsafe(piece.length)
    let length = 0
    for (let at = 0; at < piece.length; at++) {
      const byte = piece[at] ?? 0
      if (byte < 0x20) throw new ScanError('invalid_string', this.#file)
      if (this.#state === 'text' && byte !== BACKSLASH) {
        text[length++] = byte
      } else {
        const character = this.#escape(byte)
        if (character !== undefined) text[length++] = character
      }
    }
    return text.subarray(0, length)
  }

  /** The character of the escape that `byte` completes; undefined while it goes on. */
  #escape(byte: number): number | undefined {
    if (this.#state === 'text') {
      this.#state = 'backslash'
      return undefined
    }
    if (this.#state === 'backslash') {
      if (byte === LETTER_U) {
        this.#state = 'digits'
        this.#digits = 0
        this.#code = 0
        return undefined
      }
      const character = ESCAPES.get(byte)
      if (character === undefined) throw new ScanError('invalid_string', this.#file)
      this.#state = 'text'
      return character
    }
    const digit = hexDigit(byte)
    if (digit === undefined) throw new ScanError('invalid_string', this.#file)
    this.#code = this.#code * 16 + digit
    this.#digits++
    if (this.#digits < 4) return undefined
    this.#state = 'text'
    return Math.min(this.#code, NOT_ASCII)
  }
}
