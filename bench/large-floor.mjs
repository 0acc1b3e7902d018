/**
 * The floor for large files: the least that a server in Node.js has to do to take one durably, or to
 * give one back. POST streams the body to a file, with one SHA-512; the file and its name are fsynced
 * before the answer, once: a server that also syncs while it receives can be faster. GET pipes
 * the file whose absolute path is the URL's path, in pieces of Node's own choice.
 *
 * Started with an IPC channel and a directory; sends `{ url }` when it is ready.
 */
import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, createWriteStream } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'

/** Bytes that wait for the disk, and are written together. */
const WRITE_BUFFER = 1024 * 1024

const [directory = ''] = process.argv.slice(2)

/** @param {string} path */
async function syncDirectory(path) {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** @param {import('node:http').IncomingMessage} request */
async function store(request) {
  const hash = createHash('sha512')
  const file = createWriteStream(join(directory, randomUUID()), {
    flags: 'wx',
    // fsync(2) before it closes.
    flush: true,
    highWaterMark: WRITE_BUFFER,
  })
  const closed = once(file, 'close')
  // While this hashes, the disk writes what came before.
  request.on('data', (chunk) => hash.update(chunk))
  await pipeline(request, file)
  await closed
  await syncDirectory(directory)
  return { file: hash.digest('hex') }
}

const server = createServer({ requestTimeout: 0 }, (request, response) => {
  /** @param {number} status @param {unknown} value */
  const answer = (status, value) => {
    const text = JSON.stringify(value)
    response.writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
    })
    response.end(text)
  }
  const give = async () => {
    const path = decodeURIComponent(request.url ?? '')
    const { size } = await stat(path)
    response.writeHead(200, {
      'content-type': 'application/octet-stream',
      'content-length': size,
    })
    createReadStream(path).pipe(response)
  }
  const done =
    request.method === 'GET' ? give() : store(request).then((value) => answer(200, value))
  done.catch((error) => answer(500, { detail: String(error) }))
})

process.on('disconnect', () => process.exit())
server.listen(0, '127.0.0.1', () => {
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  process.send?.({ url: `http://127.0.0.1:${port}` })
})
