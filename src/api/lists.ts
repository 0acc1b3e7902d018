/** Lists as answers: short ones whole, long ones in pieces while they are read. */
import type { JsonText } from '../domain/models.js'
import { type AppContext, json } from './route.js'
import { transfer } from './transfer.js'

/** Characters of a list that are read before its answer begins: if that is all, it has a length. */
const AHEAD_LENGTH = 4 * 1024 * 1024
/** Pieces of an answer: short texts are sent together. */
const PIECE_LENGTH = 64 * 1024

/** Answers with a JSON array of what is read. What fails before the answer begins is thrown. */
export function answerList(
  c: AppContext,
  values: AsyncIterable<JsonText>,
  headers: Record<string, string>,
): Promise<Response> {
  return answer(c, ['[', ']'], values, headers)
}

/** As `answerList`, with a JSON object, of members that are keys with their values already. */
export function answerObject(c: AppContext, members: AsyncIterable<JsonText>): Promise<Response> {
  return answer(c, ['{', '}'], members, {})
}

type Ends = readonly [begin: string, end: string]

async function answer(
  c: AppContext,
  ends: Ends,
  texts: AsyncIterable<JsonText>,
  headers: Record<string, string>,
): Promise<Response> {
  const iterator = texts[Symbol.asyncIterator]()
  const ahead: JsonText[] = []
  for (let length = 0; length <= AHEAD_LENGTH; ) {
    const { done, value } = await iterator.next()
    if (done) return json(c, ends[0] + ahead.join(',') + ends[1], 200, headers)
    ahead.push(value)
    length += value.length
  }
  const pieces = encoded(piecesOf(ends, ahead, iterator))
  return transfer(c, pieces, 200, { 'content-type': 'application/json', ...headers })
}

async function* piecesOf(
  [begin, end]: Ends,
  ahead: JsonText[],
  iterator: AsyncIterator<JsonText>,
): AsyncGenerator<string> {
  try {
    let before = begin
    // Not one by one with shift: they may be many, and it would move all others each time.
    for (const value of ahead) {
      yield before + value
      before = ','
    }
    ahead.length = 0
    for (;;) {
      const { done, value } = await iterator.next()
      if (done) break
      yield before + value
      before = ','
    }
    yield end
  } finally {
    await iterator.return?.()
  }
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

/** Each value as its text. */
export async function* textsOf<T>(
  values: AsyncIterable<T>,
  textOf: (value: T) => JsonText,
): AsyncGenerator<JsonText> {
  for await (const value of values) yield textOf(value)
}
