/** Bytes that one group of four letters stands for. */
const GROUP = 3

/**
 * Encodes pieces of any length as one base64 text (RFC 4648, section 4). It comes in pieces, each
 * as long as a piece that went in, so that memory does not grow with the content.
 */
export async function* encodeBase64(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let rest: Buffer = Buffer.alloc(0)
  for await (const piece of pieces) {
    const bytes = Buffer.concat([rest, piece])
    const whole = bytes.length - (bytes.length % GROUP)
    rest = bytes.subarray(whole)
    if (whole > 0) yield bytes.toString('base64', 0, whole)
  }
  if (rest.length > 0) yield rest.toString('base64')
}
