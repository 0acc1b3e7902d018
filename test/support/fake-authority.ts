/** A timestamp authority that answers as a test wants it, rightly or wrongly. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hexOf, parseDer } from '../../src/hashing/der.js'

export interface Query {
  readonly method: string | undefined
  readonly headers: IncomingHttpHeaders
  /** TimeStampReq. */
  readonly body: Buffer
  readonly imprint: Buffer
  readonly nonce: bigint
}

export interface FakeAuthority {
  readonly url: string
  /** What was asked, in order. */
  readonly queries: Query[]
  /** What it does; a Buffer is a TimeStampResp, and is sent as one. */
  answer: (query: Query, response: ServerResponse) => Buffer | undefined
  close(): Promise<void>
}

function read(body: Buffer): Pick<Query, 'imprint' | 'nonce'> {
  const [, imprint, nonce] = parseDer(body).children
  const hash = imprint?.children[1]?.content ?? Buffer.alloc(0)
  return { imprint: Buffer.from(hash), nonce: BigInt(nonce ? `0x${hexOf(nonce)}` : 0) }
}

export async function startFakeAuthority(): Promise<FakeAuthority> {
  const server = createServer(async (request, response) => {
    const pieces: Buffer[] = []
    for await (const piece of request) pieces.push(piece as Buffer)
    const body = Buffer.concat(pieces)
    const { method, headers } = request
    const query = { method, headers, body, ...read(body) }
    fake.queries.push(query)
    const reply = fake.answer(query, response)
    if (reply === undefined) return
    response.writeHead(200, { 'content-type': 'application/timestamp-reply' }).end(reply)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const fake: FakeAuthority = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/tsr`,
    queries: [],
    answer: () => undefined,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return fake
}
