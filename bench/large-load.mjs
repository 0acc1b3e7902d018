/**
 * Sends and fetches large files, as a process of its own, so that it does not share an event loop
 * with what it loads. What it sends is made beforehand; it hashes nothing.
 * Gets one `LargeSpec` after the other on its IPC channel and sends a `LargeResult` for each.
 *
 * @typedef {'octets' | 'form' | 'json'} Form how a file is sent
 *
 * @typedef {object} LargeRequest
 * @property {string} path
 * @property {Form} [form] of an upload; without it, it is a download
 * @property {number} size bytes of the content
 *
 * @typedef {object} LargeSpec
 * @property {string} url
 * @property {string} token
 * @property {LargeRequest[]} requests sent at the same time, on a connection each
 *
 * @typedef {object} LargeResult
 * @property {number} seconds from the first byte sent to the last answer
 * @property {string[]} ids that the uploads were answered with
 * @property {string[]} failures requests that were answered otherwise than expected
 */
import { randomBytes } from 'node:crypto'
import { Connection, requestHead } from './connection.mjs'

/** A multiple of three, so that the base64 of pieces is that of the whole: 1 MiB of it. */
const PIECE = 768 * 1024
/** Bytes of a connection that may wait in this process for the socket. */
const WRITE_BUFFER = 4 * 1024 * 1024
const BOUNDARY = 'a-boundary-of-the-bench'

const bytes = randomBytes(PIECE)
/** Every piece of a content but the first and the last. */
const MIDDLE = { plain: bytes, base64: Buffer.from(bytes.toString('base64')) }

/** @type {Record<Form, { type: string, base64: boolean, before: string, after: string }>} */
const ENVELOPES = {
  octets: { type: 'application/octet-stream', base64: false, before: '', after: '' },
  form: {
    type: `multipart/form-data; boundary=${BOUNDARY}`,
    base64: false,
    before:
      `--${BOUNDARY}\r\ncontent-disposition: form-data; name="f"; filename="f"\r\n` +
      'content-type: bench/large\r\n\r\n',
    after: `\r\n--${BOUNDARY}--\r\n`,
  },
  json: {
    type: 'application/json',
    base64: true,
    before: '{"files":[{"name":"f","tags":["bench/large"],"content":"',
    after: '"}]}',
  },
}

/**
 * A body in pieces, with a content that no other has.
 * @param {Form} form
 * @param {number} size of the content
 */
function bodyOf(form, size) {
  const { type, base64, before, after } = ENVELOPES[form]
  const encode = (/** @type {Buffer} */ piece) =>
    base64 ? Buffer.from(piece.toString('base64')) : piece
  const unique = Buffer.from(bytes.subarray(0, size))
  randomBytes(Math.min(16, size)).copy(unique)
  const rest = size - unique.length
  const whole = Math.floor(rest / PIECE)
  const first = Buffer.concat([Buffer.from(before), encode(unique)])
  const last = Buffer.concat([encode(bytes.subarray(0, rest - whole * PIECE)), Buffer.from(after)])
  const middle = base64 ? MIDDLE.base64 : MIDDLE.plain
  return {
    type,
    length: first.length + whole * middle.length + last.length,
    pieces: [first, ...Array.from({ length: whole }, () => middle), last],
  }
}

/** @param {LargeRequest} request @param {LargeSpec} spec */
function prepare({ path, form, size }, { token }) {
  const authorization = `Bearer ${token}`
  if (form === undefined) return { head: requestHead('GET', path, { authorization }), size }
  const { type, length, pieces } = bodyOf(form, size)
  const headers = { authorization, 'content-type': type, 'content-length': length }
  return { head: requestHead('POST', path, headers), pieces }
}

/** @param {LargeSpec} spec @returns {Promise<LargeResult>} */
async function run(spec) {
  const prepared = spec.requests.map((request) => prepare(request, spec))
  const connections = await Promise.all(prepared.map(() => Connection.open(spec.url, WRITE_BUFFER)))
  /** @type {string[]} */
  const ids = []
  const work = async (/** @type {Connection} */ connection, /** @type {number} */ i) => {
    const { head, pieces, size } = /** @type {typeof prepared[number]} */ (prepared[i])
    const { status, length, body } = pieces
      ? await connection.sendPieces(head, pieces)
      : await connection.send(head)
    if (status !== 200) throw new Error(`status ${status}: ${body?.toString('utf8', 0, 300) ?? ''}`)
    if (size !== undefined && size !== length) throw new Error(`${length} bytes, not ${size}`)
    if (body) ids.push(String(Object.values(JSON.parse(body.toString()))[0]))
  }
  const started = performance.now()
  const outcomes = await Promise.allSettled(connections.map(work))
  const seconds = (performance.now() - started) / 1000
  for (const connection of connections) connection.close()
  const failures = outcomes.flatMap((o) => (o.status === 'rejected' ? [o.reason.message] : []))
  return { seconds, ids, failures }
}

process.on('message', (/** @type {LargeSpec} */ spec) => {
  run(spec).then(
    (value) => process.send?.({ value }),
    (error) => process.send?.({ error: error.stack }),
  )
})
process.on('disconnect', () => process.exit())
