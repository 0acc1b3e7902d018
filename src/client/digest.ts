/** Digests as HTTP fields write them: RFC 9530 (Digest Fields) with RFC 8941 byte sequences. */

const SHA512_BYTES = 64
const MEMBER = /(?:^|,)[ \t]*sha-512=:([A-Za-z0-9+/]+={0,2}):[ \t]*(?:;[^,]*)?(?=,|$)/

/** The SHA-512 in a `Repr-Digest`, as `sha512:<hex>`; undefined when there is none to be used. */
export function parseReprDigest(header: string | null): string | undefined {
  const text = MEMBER.exec(header ?? '')?.[1]
  if (text === undefined) return undefined
  const bytes = Buffer.from(text, 'base64')
  return bytes.length === SHA512_BYTES ? `sha512:${bytes.toString('hex')}` : undefined
}

/** `Repr-Digest` of a SHA-512. @param digest `sha512:<hex>` */
export function reprDigest(digest: string): string {
  return `sha-512=:${Buffer.from(digest.replace(/^sha512:/, ''), 'hex').toString('base64')}:`
}
