/**
 * Tokens that name a place in a list, for clients that go through it page by page: base64url (RFC
 * 4648, section 5, without padding) of the list's name and the sort key of a row.
 */
import { type Instant, parseInstant } from './instant.js'
import type { Uuid } from './models.js'
import { parseUuid } from './uuid.js'

/** What boefje metas and normalizer metas are sorted by. The time is null where the column is. */
export interface JobKey {
  readonly startedAt: Instant | null
  readonly id: Uuid
}

/** What raw files are sorted by: the number that each got when it was stored, from 1. */
export type RawFileKey = number

/** Writes and reads the tokens of one list. */
export interface CursorCodec<Key> {
  encode(key: Key): string
  /** @returns undefined for anything that `encode` did not give, such as a token of another list */
  decode(token: string): Key | undefined
}

function codec<Key>(
  list: string,
  write: (key: Key) => readonly string[],
  read: (fields: readonly string[]) => Key | undefined,
): CursorCodec<Key> {
  const encode = (key: Key): string =>
    Buffer.from([list, ...write(key)].join(' ')).toString('base64url')
  return {
    encode,
    decode: (token) => {
      const [name, ...fields] = Buffer.from(token, 'base64url').toString().split(' ')
      const key = name === list ? read(fields) : undefined
      // Node's decoder passes over what is not base64url, and the fields have several spellings.
      return key !== undefined && encode(key) === token ? key : undefined
    },
  }
}

const NO_TIME = '-'

function jobCursor(list: string): CursorCodec<JobKey> {
  return codec<JobKey>(
    list,
    ({ startedAt, id }) => [startedAt ?? NO_TIME, id],
    ([time, uuid]) => {
      const id = parseUuid(uuid)
      if (id === undefined) return undefined
      if (time === NO_TIME) return { startedAt: null, id }
      const parsed = parseInstant(time)
      return parsed.ok ? { startedAt: parsed.instant, id } : undefined
    },
  )
}

export const boefjeMetaCursor = jobCursor('boefje_meta')
export const normalizerMetaCursor = jobCursor('normalizer_meta')
export const rawFileCursor = codec<RawFileKey>(
  'raw',
  (seq) => [String(seq)],
  ([digits = '']) => {
    const seq = /^[1-9]\d*$/.test(digits) ? Number(digits) : 0
    return Number.isSafeInteger(seq) && seq > 0 ? seq : undefined
  },
)
