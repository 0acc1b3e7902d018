const PADDING = 0x3d

/** The text is no base64. */
export class MalformedBase64 extends Error {
  readonly code = 'malformed_base64'

  constructor() {
    super('Not valid base64')
    this.name = 'MalformedBase64'
  }
}

/** The bytes that are not ASCII white space. */
function withoutSpace(text: Uint8Array): Buffer {
  const kept = Buffer.allocUnsafe(text.length)
  let length = 0
  // An index is twice as fast as an iterator here.
  for (let at = 0; at < text.length; at++) {
    const byte = text[at] ?? 0
    if (byte !== 0x20 && (byte < 0x09 || byte > 0x0d)) kept[length++] = byte
  }
  return kept.subarray(0, length)
}

/**
 * Decodes standard base64 (RFC 4648, section 4) that comes as ASCII in pieces, cut anywhere. It
 * takes and refuses what `decodeBase64` does: ASCII white space is skipped, surplus `=` at the end
 * and non-zero trailing bits are let through, padding is required. Fit for nothing more once it
 * has thrown.
 */
export class Base64Decoder {
  /** Letters that do not make a group of four yet. */
  #carry = ''
  #padding = 0

  /**
   * The fast way, some GB/s: takes a piece that has letters only, and `=` at its end.
   * @returns the bytes that are known by now; undefined when the piece holds anything else,
   *   malformed or not, which leaves the decoder as it was
   */
  updateClean(text: Uint8Array): Buffer | undefined {
    let end = text.length
    while (end > 0 && text[end - 1] === PADDING) end--
    if (end > 0 && this.#padding > 0) return undefined
    const piece = Buffer.from(text.buffer, text.byteOffset, end).toString('latin1')
    if (piece.includes('-') || piece.includes('_')) return undefined
    const letters = this.#carry + piece
    const padding = this.#padding + text.length - end
    const surplus = letters.length % 4
    // The last group is short, and goes when its padding is complete.
    const carried = surplus > 1 && padding >= 4 - surplus ? 0 : surplus
    const whole = letters.length - carried
    const decoded = Buffer.from(letters.slice(0, whole), 'base64')
    const carry = letters.slice(whole)
    // Node drops what is outside the alphabet, so the length tells that nothing was dropped.
    if (decoded.length !== Math.floor((whole / 4) * 3) || /[^A-Za-z0-9+/]/.test(carry)) {
      return undefined
    }
    this.#carry = carry
    this.#padding = padding
    return decoded
  }

  /**
   * Takes any piece.
   * @returns the bytes that are known by now, perhaps none
   * @throws MalformedBase64
   */
  update(text: Uint8Array): Buffer {
    const decoded = this.updateClean(text) ?? this.updateClean(withoutSpace(text))
    if (decoded === undefined) throw new MalformedBase64()
    return decoded
  }

  /**
   * To be called after the last piece. There are no more bytes: `update` gave them all.
   * @throws MalformedBase64 when letters or padding are missing
   */
  end(): void {
    if (this.#carry !== '') throw new MalformedBase64()
  }
}
