import { z } from 'zod'
import { decodeBase64 } from '../../domain/base64.js'
import { hasLoneSurrogate } from '../../domain/json-text.js'
import { malformed } from '../problems.js'
import { uploadMetadata } from '../schemas.js'
import { validate } from '../validate.js'

const HEADER = 'upload-metadata'
const schema = z.object({ [HEADER]: uploadMetadata })

/** What an upload says of its file. */
export interface Description {
  readonly boefjeMetaId: string
  readonly name: string
  /** MIME types. */
  readonly tags: readonly string[]
}

/**
 * Reads `Upload-Metadata` (tus 1.0, extension creation). Other keys than ours may be there, with
 * any value.
 * @throws HttpProblem 422
 */
export function parseMetadata(header: string): Description {
  const pairs = parsePairs(header)
  const { tags = '[]', filetype = '', ...rest } = known(pairs)
  const list = parseTags(tags)
  // Browsers that do not know a file's type give an empty one.
  const all = Array.isArray(list) && filetype !== '' ? [...list, filetype] : list
  const { [HEADER]: described } = validate(schema, { [HEADER]: { ...rest, tags: all } }, 'header')
  return {
    boefjeMetaId: described.boefje_meta_id,
    name: described.filename,
    tags: described.tags,
  }
}

const refuse = (msg: string, ...key: string[]) =>
  malformed([{ loc: ['header', HEADER, ...key], msg, type: 'metadata' }])

/** Keys to values: pairs are separated by commas, key and value by a space; a value may be left out. */
function parsePairs(header: string): Map<string, Buffer> {
  const pairs = new Map<string, Buffer>()
  if (header.trim() === '') return pairs
  for (const pair of header.split(',')) {
    const [key = '', encoded = '', ...surplus] = pair.trim().split(' ')
    const value = decodeBase64(encoded)
    if (key === '' || surplus.length > 0) {
      throw refuse('Give pairs of a key, a space and a value in base64, separated by commas')
    }
    if (!value) throw refuse('Not valid base64', key)
    if (pairs.has(key)) throw refuse('The key is given twice', key)
    pairs.set(key, value)
  }
  return pairs
}

/** The texts of our keys. */
function known(pairs: ReadonlyMap<string, Buffer>): Record<string, string> {
  const texts: Record<string, string> = {}
  for (const key of ['boefje_meta_id', 'filename', 'filetype', 'tags']) {
    const value = pairs.get(key)
    if (value) texts[key] = decodeUtf8(key, value)
  }
  return texts
}

function decodeUtf8(key: string, value: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value)
  } catch {
    throw refuse('Not valid UTF-8', key)
  }
}

function parseTags(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text)
    if (!hasLoneSurrogate(text)) return value
  } catch {
    throw refuse('Give a JSON array of MIME types', 'tags')
  }
  throw refuse('A string holds half of a surrogate pair, which is no character', 'tags')
}
