import { createHash } from 'node:crypto'
import { join } from 'node:path'

/** Longest folder name that common file systems take is 255 bytes; this leaves room. */
const MAX_FOLDER_NAME = 200
/** What takes the place of a name that is longer. */
const DIGEST_NAME = /^%[0-9a-f]{64}$/

/**
 * Folder name for an organization. The name is data, never a path: every byte outside `a-z`,
 * `0-9`, `_` and `-` is written `%XX`, so that no two organizations share a folder, not even on a
 * file system that ignores case, and none is `.`, `..` or empty. A name that gets too long so is
 * replaced by `%` and its SHA-256, which no encoded name can look like: it would have to hold 62
 * plain characters, and an organization has at most 32.
 */
export function organizationFolder(organization: string): string {
  if (organization === '') return '%'
  let name = ''
  for (const byte of Buffer.from(organization)) {
    const char = String.fromCharCode(byte)
    name += /[a-z0-9_-]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  if (name.length <= MAX_FOLDER_NAME) return name
  return `%${createHash('sha256').update(organization).digest('hex')}`
}

/**
 * The organization that a folder is named for.
 * @returns undefined for a name that does not tell it, or that `organizationFolder` does not give
 */
export function organizationOf(folder: string): string | undefined {
  if (folder === '%') return ''
  // A digest that begins with two digits reads like an encoded byte and plain characters.
  if (DIGEST_NAME.test(folder)) return undefined
  const bytes = folder.replaceAll(/%([0-9A-F]{2})|(.)/gs, (_, hex?: string, char = '') =>
    String.fromCharCode(hex === undefined ? char.charCodeAt(0) : Number.parseInt(hex, 16)),
  )
  const organization = Buffer.from(bytes, 'latin1').toString('utf8')
  return organizationFolder(organization) === folder ? organization : undefined
}

/**
 * Folder of a blob, relative to the data directory: `blobs/v1/<organization>/<2 hex digits>`. The
 * layout's version is in the path. 256 folders are few enough to be made once and kept in caches.
 */
export function blobFolder(organization: string, address: string): string {
  return join('blobs', 'v1', organizationFolder(organization), address.slice(0, 2))
}
