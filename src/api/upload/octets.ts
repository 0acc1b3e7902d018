import { unprocessable } from '../problems.js'
import type { BodyUpload } from './received.js'

/** Name of a file that was sent without one. */
const UNNAMED = 'file'
/** Bytes that are looked at. */
const HEAD_BYTES = 256
/** How the protocol's JSON body begins. */
const JSON_UPLOAD = /^\s*\{\s*"(?:files|status)"\s*:/

/**
 * A body that is one file, as it is.
 * @param buffered see `Upload`
 * @throws HttpProblem 422 from `receive` for what is the protocol's JSON under another content type,
 *   when neither a name nor a tag tells that it is meant as a file
 */
export function octetsUpload(
  body: AsyncIterable<Buffer>,
  name: string | undefined,
  tags: readonly string[],
  buffered: boolean,
): BodyUpload {
  const meant = name !== undefined || tags.length > 0
  return {
    buffered,
    receive: async (hold) => {
      const content = await hold(meant ? body : refusingJson(body))
      return [{ name: name ?? UNNAMED, fileName: name ?? null, tags, content }]
    },
  }
}

/** Clients that get their content type wrong must not find the JSON of their files stored as one. */
async function* refusingJson(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let head: Buffer | undefined = Buffer.alloc(0)
  for await (const piece of body) {
    if (head === undefined) {
      yield piece
      continue
    }
    head = Buffer.concat([head, piece])
    if (head.length < HEAD_BYTES) continue
    yield checkedHead(head)
    head = undefined
  }
  if (head !== undefined && head.length > 0) yield checkedHead(head)
}

function checkedHead(head: Buffer): Buffer {
  if (!JSON_UPLOAD.test(head.toString('latin1', 0, HEAD_BYTES))) return head
  throw unprocessable(
    'body: this looks like files in JSON: send it as application/json, or give a name in the query to store it as it is',
  )
}
