import { createHash } from 'node:crypto'

/** The set of MIME types in its one stored form: no repetitions, in UTF-8 byte order. */
export function canonicalMimeTypes(tags: Iterable<string>): string[] {
  return Array.from(new Set(tags), (tag) => ({ tag, bytes: Buffer.from(tag) }))
    .sort((a, b) => Buffer.compare(a.bytes, b.bytes))
    .map(({ tag }) => tag)
}

/**
 * SHA-256 of a canonical set, written as compact JSON. The database is unique on it (with the
 * job), because an index entry could not hold a large set itself. Postgres computes the same with
 * `sha256(convert_to(array_to_json(mime_types)::text, 'UTF8'))`.
 */
export function mimeTypesDigest(canonical: readonly string[]): Buffer {
  return createHash('sha256').update(JSON.stringify(canonical)).digest()
}
