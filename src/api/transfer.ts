import type { ServerResponse } from 'node:http'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { AppContext } from './route.js'

/**
 * Answers with pieces as they come, written to the connection no faster than the client reads. Web
 * streams would cost about as much time as the reading. An error of the first piece is thrown, and
 * so becomes an answer of its own; one that comes later cuts the connection, which the client sees
 * as an incomplete transfer.
 * @param headers with the Content-Length of all pieces
 */
export async function transfer(
  c: AppContext,
  pieces: AsyncIterable<Uint8Array>,
  status: ContentfulStatusCode,
  headers: Record<string, string>,
): Promise<Response> {
  const iterator = pieces[Symbol.asyncIterator]()
  const first = await iterator.next()
  const { outgoing } = c.env
  // With the headers that every answer has.
  const head = c.body(null, status, headers)
  outgoing.writeHead(status, Object.fromEntries(head.headers))
  writeAll(outgoing, first, iterator).catch(c.get('cut'))
  return RESPONSE_ALREADY_SENT
}

async function writeAll(
  outgoing: ServerResponse,
  first: IteratorResult<Uint8Array>,
  iterator: AsyncIterator<Uint8Array>,
): Promise<void> {
  for (let piece = first; !piece.done; piece = await iterator.next()) {
    if (!outgoing.destroyed && !outgoing.write(piece.value)) await drained(outgoing)
    if (outgoing.destroyed) {
      await iterator.return?.()
      return
    }
  }
  if (!outgoing.destroyed) outgoing.end()
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
