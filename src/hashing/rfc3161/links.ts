/** The retrieval links of timestamps. */
import { decodeBase64 } from '../../domain/base64.js'
import type { Uuid } from '../../domain/models.js'
import { parseUuid } from '../../domain/uuid.js'

/** Where the API answers evidence records. */
const RECORDS = '/bytes/evidence_records/'
const SEQUENCE = 0x30

export type TimestampLink =
  | { readonly kind: 'token'; readonly token: Uint8Array }
  | { readonly kind: 'record'; readonly id: Uuid }

/** The link of a timestamp of one hash: its TimeStampToken (DER) in base64, as others write it. */
export function tokenLink(token: Uint8Array): string {
  return Buffer.from(token).toString('base64')
}

/** The link of an evidence record: its path in the API. */
export function recordLink(id: Uuid): string {
  return `${RECORDS}${id}`
}

/**
 * Reads exactly what the two functions above write: no other spelling, nothing around it. Whether a
 * token is one is left open; it only begins like one.
 * @returns undefined for every other link
 */
export function parseTimestampLink(link: string): TimestampLink | undefined {
  if (link.startsWith(RECORDS)) {
    const id = link.slice(RECORDS.length)
    return parseUuid(id) === id ? { kind: 'record', id } : undefined
  }
  const token = decodeBase64(link)
  // The decoder lets other spellings through.
  if (token?.[0] !== SEQUENCE || tokenLink(token) !== link) return undefined
  return { kind: 'token', token }
}
