/** Texts as answers: short ones whole, lists of any length in pieces while they are read. */
import type { JsonText } from '../domain/models.js'
import { arrayText } from '../domain/wire-text.js'
import { FEW_HELD } from '../flows/answer-room.js'
import type { OpenList } from '../flows/lists.js'
import { type AppContext, json } from './route.js'
import { transfer } from './transfer.js'

/** Pieces of an answer: short texts are sent together. */
const PIECE_LENGTH = 64 * 1024
const TYPE = { 'content-type': 'application/json' }

/**
 * Answers with a JSON array of what is read. One that is short, or has a single row, has a length.
 * What fails before the answer begins is thrown.
 */
export async function answerList<Row>(
  c: AppContext,
  list: OpenList<Row, unknown>,
  textOf: (row: Row) => JsonText,
  headers: Record<string, string>,
): Promise<Response> {
  const { whole } = list
  if (whole?.length === 1) return answerText(c, arrayText(whole.map(textOf)), headers)
  return answerParts(c, ['[', ']'], textsOf(list.rows, textOf), headers)
}

/** As `answerList`, with a JSON object. @param memberOf a key with its value */
export function answerObject<Row>(
  c: AppContext,
  list: OpenList<Row, unknown>,
  memberOf: (row: Row) => JsonText,
): Promise<Response> {
  return answerParts(c, ['{', '}'], textsOf(list.rows, memberOf), {})
}

type Ends = readonly [begin: string, end: string]

async function answerParts(
  c: AppContext,
  ends: Ends,
  texts: Texts,
  headers: Record<string, string>,
): Promise<Response> {
  const ahead: JsonText[] = []
  // No more than what needs no room: beside what has room, nothing may be waited for.
  for (let length = 0; length <= FEW_HELD; ) {
    const text = await texts.next()
    if (text === undefined) return json(c, ends[0] + ahead.join(',') + ends[1], 200, headers)
    ahead.push(text)
    length += text.length
  }
  return transfer(c, piecesOf(ends, ahead, texts), 200, { ...TYPE, ...headers })
}

/** Answers with JSON text of any length. */
export async function answerText(
  c: AppContext,
  text: JsonText,
  headers: Record<string, string> = {},
): Promise<Response> {
  if (text.length <= FEW_HELD) return json(c, text, 200, headers)
  // As bytes, of which there are no copies while they wait for the client.
  const bytes = Buffer.from(text)
  const length = { 'content-length': String(bytes.length) }
  return transfer(c, inOne(bytes), 200, { ...TYPE, ...length, ...headers })
}

async function* inOne(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

interface Texts {
  /** The next one; undefined after the last. */
  next(): Promise<JsonText | undefined>
  end(): Promise<void>
}

function textsOf<Row>(rows: AsyncIterable<Row>, textOf: (row: Row) => JsonText): Texts {
  const iterator = rows[Symbol.asyncIterator]()
  return {
    next: async () => {
      const { done, value } = await iterator.next()
      return done ? undefined : textOf(value)
    },
    end: async () => {
      await iterator.return?.()
    },
  }
}

/**
 * A list in pieces that are worth sending. No generator: one that waits for the next row may keep the
 * last one in memory.
 */
function piecesOf(
  [first, last]: Ends,
  ahead: readonly JsonText[],
  texts: Texts,
): AsyncIterable<Uint8Array> {
  // Not with shift: there may be many, and it would move all others each time.
  const early = ahead.values()
  let before = first
  let ended = false
  const next = async (): Promise<IteratorResult<Uint8Array>> => {
    if (ended) return { done: true, value: undefined }
    let whole = ''
    while (!ended && whole.length < PIECE_LENGTH) {
      const text = early.next().value ?? (await texts.next())
      ended = text === undefined
      whole += text === undefined ? last : before + text
      before = ','
    }
    return { done: false, value: Buffer.from(whole) }
  }
  const end = async (): Promise<IteratorResult<Uint8Array>> => {
    await texts.end()
    return { done: true, value: undefined }
  }
  return { [Symbol.asyncIterator]: () => ({ next, return: end }) }
}

/** Text in UTF-8, in pieces that are worth sending. */
export async function* encoded(texts: AsyncIterable<string>): AsyncGenerator<Uint8Array> {
  let whole = ''
  for await (const text of texts) {
    whole += text
    if (whole.length < PIECE_LENGTH) continue
    yield Buffer.from(whole)
    whole = ''
  }
  if (whole !== '') yield Buffer.from(whole)
}
