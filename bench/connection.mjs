/** The least HTTP client that can load a server: one keep-alive connection, one request at a time. */
import { once } from 'node:events'
import { connect } from 'node:net'

const HEAD_END = Buffer.from('\r\n\r\n')

/**
 * @typedef {object} Answer
 * @property {number} status
 * @property {number} length bytes of the body
 * @property {Buffer | undefined} body when it was asked for
 */

/**
 * The head of a request, with the empty line.
 * @param {string} method
 * @param {string} path
 * @param {Record<string, string | number>} headers
 */
export function requestHead(method, path, headers) {
  const lines = Object.entries({ host: 'bench', ...headers }).map(([k, v]) => `${k}: ${v}\r\n`)
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`
}

export class Connection {
  /** @type {import('node:net').Socket} */
  #socket
  /** @type {((answer: Answer) => void) | undefined} */
  #resolve
  /** @type {((error: Error) => void) | undefined} */
  #reject
  /** Bytes of an unfinished head. @type {Buffer | undefined} */
  #head
  /** Bytes of the body that are still to come; undefined before the end of the head. */
  #missing = /** @type {number | undefined} */ (undefined)
  #status = 0
  #length = 0
  #keep = false
  /** @type {Buffer[]} */
  #kept = []

  /** @param {import('node:net').Socket} socket */
  constructor(socket) {
    this.#socket = socket
    socket.on('data', (chunk) => {
      try {
        this.#take(chunk)
      } catch (error) {
        socket.destroy(/** @type {Error} */ (error))
      }
    })
    socket.on('error', (error) => this.#reject?.(error))
    socket.on('close', () => this.#reject?.(new Error('the server closed the connection')))
  }

  /** @param {string} url @param {number} [writeBuffer] bytes that may wait to be sent */
  static async open(url, writeBuffer) {
    const { hostname, port } = new URL(url)
    const address = { host: hostname, port: Number(port), noDelay: true }
    // Handed on to the stream, though the types do not tell.
    const socket = connect({
      ...address,
      ...(writeBuffer && { writableHighWaterMark: writeBuffer }),
    })
    await once(socket, 'connect')
    return new Connection(socket)
  }

  /**
   * Sends a whole request, which must not be changed before the answer.
   * @param {Buffer | string} request
   * @param {boolean} [keep] whether the body is wanted
   * @returns {Promise<Answer>}
   */
  send(request, keep = false) {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) return reject(new Error('the connection is closed'))
      this.#resolve = resolve
      this.#reject = reject
      this.#keep = keep
      this.#socket.write(request)
    })
  }

  /**
   * Sends a request in pieces, the head first, as fast as the server takes them. When it is answered
   * before its end, the rest is not sent, and the connection is fit for nothing more.
   * @param {string} head
   * @param {Iterable<Buffer>} body pieces that must not be changed before the answer
   * @returns {Promise<Answer>} with its body
   */
  async sendPieces(head, body) {
    let answered = false
    const answer = this.send(head, true).finally(() => {
      answered = true
    })
    for (const piece of body) {
      if (answered) break
      if (!this.#socket.write(piece)) await Promise.race([once(this.#socket, 'drain'), answer])
    }
    return answer
  }

  close() {
    this.#reject = undefined
    this.#socket.destroy()
  }

  /** @param {Buffer} chunk */
  #take(chunk) {
    let body = chunk
    if (this.#missing === undefined) {
      const all = this.#head ? Buffer.concat([this.#head, chunk]) : chunk
      const end = all.indexOf(HEAD_END)
      this.#head = end < 0 ? all : undefined
      if (end < 0) return
      this.#readHead(all.latin1Slice(0, end))
      body = all.subarray(end + HEAD_END.length)
    }
    if (this.#keep && body.length > 0) this.#kept.push(body)
    this.#missing = (this.#missing ?? 0) - body.length
    if (this.#missing < 0) throw new Error('the answer is longer than its content-length')
    if (this.#missing === 0) this.#finish()
  }

  /** @param {string} head */
  #readHead(head) {
    const length = /^content-length: *(\d+) *$/im.exec(head)
    if (!length) throw new Error(`an answer without content-length: ${head}`)
    this.#status = Number(head.slice(9, 12))
    this.#length = Number(length[1])
    this.#missing = this.#length
  }

  #finish() {
    const resolve = this.#resolve
    const body = this.#keep ? Buffer.concat(this.#kept) : undefined
    this.#kept = []
    this.#missing = undefined
    this.#resolve = undefined
    this.#reject = undefined
    resolve?.({ status: this.#status, length: this.#length, body })
  }
}
