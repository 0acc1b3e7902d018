/** Requests of the soak: answers are read as they come, and not kept unless they are asked for. */
import { Agent, request as open } from 'node:http'

/** Longer than any request may take: what takes longer is a failure. */
const TIMEOUT_MS = 120_000

/**
 * @typedef {object} Answer
 * @property {number} status
 * @property {import('node:http').IncomingHttpHeaders} headers
 * @property {Buffer} body empty when `onData` got it
 * @property {number} length of the body
 *
 * @typedef {object} Request
 * @property {string} path
 * @property {string} [method]
 * @property {Record<string, string>} [headers]
 * @property {readonly Buffer[]} [body]
 * @property {(chunk: Buffer, offset: number) => void} [onData] may throw, which fails the request
 */

/** @param {string} url of the service @param {number} connections */
export function createHttp(url, connections) {
  const { hostname, port } = new URL(url)
  const agent = new Agent({ keepAlive: true, maxSockets: connections })

  /** @param {Request} request */
  const start = ({ path, method = 'GET', headers = {}, body }, length = lengthOf(body)) =>
    open({
      agent,
      hostname,
      port,
      path,
      method,
      headers: { ...headers, ...(body && { 'content-length': String(length) }) },
    })

  /** @param {Request} request @returns {Promise<Answer>} rejects when the connection breaks */
  const send = (request) =>
    new Promise((resolve, reject) => {
      const sent = start(request)
      sent.setTimeout(TIMEOUT_MS, () => sent.destroy(new Error(`no answer in ${TIMEOUT_MS} ms`)))
      sent.once('error', reject)
      sent.once('response', (answer) => {
        /** @type {Buffer[]} */
        const chunks = []
        let length = 0
        answer.on('data', (/** @type {Buffer} */ chunk) => {
          try {
            if (request.onData && answer.statusCode && answer.statusCode < 300) {
              request.onData(chunk, length)
            } else chunks.push(chunk)
          } catch (error) {
            sent.destroy()
            reject(error)
          }
          length += chunk.length
        })
        answer.once('error', reject)
        answer.once('end', () => {
          const status = answer.statusCode ?? 0
          resolve({ status, headers: answer.headers, body: Buffer.concat(chunks), length })
        })
      })
      for (const piece of request.body ?? []) sent.write(piece)
      sent.end()
    })

  /** Sends a head that promises more than comes, and goes away. @param {Request} request */
  const breakOffUpload = (request) =>
    new Promise((resolve) => {
      const sent = start(request, lengthOf(request.body) + 1)
      sent.once('error', () => undefined)
      sent.once('close', resolve)
      for (const piece of request.body ?? []) sent.write(piece)
      // Once the last byte is on its way.
      sent.write('', () => sent.destroy())
    })

  /** Goes away at the first bytes of the answer. @param {Request} request @returns {Promise<number>} its status */
  const breakOffDownload = (request) =>
    new Promise((resolve, reject) => {
      const sent = start(request)
      sent.once('error', reject)
      sent.once('response', (answer) => {
        answer.once('error', () => undefined)
        answer.once('data', () => sent.destroy())
        answer.once('close', () => resolve(answer.statusCode ?? 0))
      })
      sent.end()
    })

  return { send, breakOffUpload, breakOffDownload, close: () => agent.destroy() }
}

/** @param {readonly Buffer[] | undefined} pieces */
function lengthOf(pieces = []) {
  return pieces.reduce((sum, piece) => sum + piece.length, 0)
}
