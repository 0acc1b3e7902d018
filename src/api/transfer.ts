import type { ServerResponse } from 'node:http'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { AppContext } from './route.js'

/**
 * Answers with pieces as they come, written to the connection no faster than the client reads. Web
 * streams would cost about as much time as the reading. An error of the pieces that are read ahead
 * is thrown, and so becomes an answer of its own; one that comes later cuts the connection, which
 * the client sees as an incomplete transfer.
 * @param headers with the Content-Length of all pieces, if it is known: else they are sent chunked
 * @param ahead bytes to read before the head is sent; at least one piece is
 */
export async function transfer(
  c: AppContext,
  pieces: AsyncIterable<Uint8Array>,
  status: ContentfulStatusCode,
  { ...headers }: Record<string, string>,
  ahead = 1,
): Promise<Response> {
  const iterator = pieces[Symbol.asyncIterator]()
  const { first, whole } = await readAhead(iterator, ahead)
  if (whole)
    headers['content-length'] ??= String(first.reduce((sum, { length }) => sum + length, 0))
  if (c.req.method === 'HEAD') {
    await iterator.return?.()
    return c.body(null, status, headers)
  }
  const { outgoing } = c.env
  // With the headers that every answer has.
  const head = c.body(null, status, headers)
  outgoing.writeHead(status, Object.fromEntries(head.headers))
  writeAll(outgoing, first, iterator).catch((error: unknown) => {
    // Nothing is wrong with pieces that end because the client has gone.
    if (outgoing.destroyed && error instanceof Error && error.name === 'AbortError') return
    c.get('cut')(error)
  })
  return RESPONSE_ALREADY_SENT
}

async function readAhead(
  iterator: AsyncIterator<Uint8Array>,
  bytes: number,
): Promise<{ first: Uint8Array[]; whole: boolean }> {
  const first: Uint8Array[] = []
  for (let size = 0; size < bytes; ) {
    const { done, value } = await iterator.next()
    if (done) return { first, whole: true }
    first.push(value)
    size += value.length
  }
  return { first, whole: false }
}

async function writeAll(
  outgoing: ServerResponse,
  first: Uint8Array[],
  iterator: AsyncIterator<Uint8Array>,
): Promise<void> {
  while (await writeNext(outgoing, first, iterator)) {
    if (outgoing.destroyed) {
      await iterator.return?.()
      return
    }
  }
  if (!outgoing.destroyed) outgoing.end()
}

/**
 * A call for each piece, so that none is kept in memory while the next one is waited for.
 * @returns false when there is none
 */
async function writeNext(
  outgoing: ServerResponse,
  first: Uint8Array[],
  iterator: AsyncIterator<Uint8Array>,
): Promise<boolean> {
  const piece: Uint8Array | undefined = first.shift() ?? (await iterator.next()).value
  if (piece === undefined) return false
  if (!outgoing.destroyed && !outgoing.write(piece)) await drained(outgoing)
  return true
}

/** Resolves when more can be written, or nothing can any more. */
function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      outgoing.off('drain', done)
      outgoing.off('close', done)
      resolve()
    }
    outgoing.on('drain', done)
    outgoing.on('close', done)
  })
}
