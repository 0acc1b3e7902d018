/**
 * The floor: the least that a server in Node.js has to do for a durable upload, with nothing of the
 * service in it. Takes the bytes as they are; SHA-512, a file and its name fsynced, one INSERT.
 *
 * Started with an IPC channel, a directory and a database URI; sends `{ url }` when it is ready.
 */
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, open, rename } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import pg from 'pg'

const CONNECTIONS = 16

const [directory = '', databaseUri = ''] = process.argv.slice(2)
const pool = new pg.Pool({ connectionString: databaseUri, max: CONNECTIONS })

/** @param {string} path */
async function syncDirectory(path) {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** @param {AsyncIterable<Buffer>} request */
async function readAll(request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/**
 * @param {string} digest
 * @param {Buffer} content
 */
async function writeFileDurably(digest, content) {
  const folder = join(directory, digest.slice(0, 2))
  const temporary = join(directory, randomUUID())
  const handle = await open(temporary, 'wx')
  try {
    await handle.write(content)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(temporary, join(folder, digest))
  await syncDirectory(folder)
}

/** @param {import('node:http').IncomingMessage} request */
async function store(request) {
  const content = await readAll(request)
  const digest = createHash('sha512').update(content).digest('hex')
  await writeFileDurably(digest, content)
  const id = randomUUID()
  await pool.query({
    name: 'insert',
    text: 'INSERT INTO floor (id, digest, size) VALUES ($1, $2, $3)',
    values: [id, digest, content.length],
  })
  return id
}

const server = createServer((request, response) => {
  /** @param {number} status @param {unknown} value */
  const answer = (status, value) => {
    const text = JSON.stringify(value)
    response.writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
    })
    response.end(text)
  }
  store(request).then(
    (id) => answer(200, { id }),
    (error) => answer(500, { detail: String(error) }),
  )
})

process.on('disconnect', () => process.exit())
await pool.query(`CREATE TABLE floor (
  id uuid PRIMARY KEY,
  digest text NOT NULL,
  size bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
)`)
for (let i = 0; i < 256; i++) {
  await mkdir(join(directory, i.toString(16).padStart(2, '0')), { recursive: true })
}
await syncDirectory(directory)
server.listen(0, '127.0.0.1', () => {
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  process.send?.({ url: `http://127.0.0.1:${port}` })
})
