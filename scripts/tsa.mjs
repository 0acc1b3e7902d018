/**
 * A timestamp authority for trying out and for tests: `openssl ts` behind HTTP (RFC 3161, section
 * 3.4), on 127.0.0.1. Its certificates are made once and are good for nothing else.
 *
 *   node scripts/tsa.mjs --dir DIRECTORY [--port 3161] [--delay-ms 0] [--key ec|rsa]
 *
 * Prints {"url", "root"} as JSON when it serves, and ends with its standard input if that is a pipe.
 */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, fstatSync, mkdirSync, writeFileSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs, promisify } from 'node:util'

const run = promisify(execFile)
const openssl = (...args) => run('openssl', args, { maxBuffer: 16 * 1024 * 1024 })

function fail(text) {
  process.stderr.write(`${text}\n`)
  process.exit(1)
}

const MAX_QUERY = 64 * 1024
const { values: options } = parseArgs({
  options: {
    dir: { type: 'string' },
    port: { type: 'string', default: '3161' },
    'delay-ms': { type: 'string', default: '0' },
    key: { type: 'string', default: 'ec' },
  },
})
if (options.dir === undefined) fail('give --dir DIRECTORY')
await openssl('version').catch(() => fail('openssl is needed: it is the Debian package openssl'))
const dir = resolve(options.dir)
const delayMs = Number(options['delay-ms'])
const at = (name) => join(dir, name)

const CONFIG = `
[tsa]
default_tsa = tsa1
[tsa1]
serial = ${at('serial')}
signer_cert = ${at('tsa.pem')}
signer_key = ${at('tsa.key')}
certs = ${at('root.pem')}
signer_digest = sha512
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
`

/** A root, and the authority's certificate that it has issued. */
async function makeCertificates() {
  const curve = ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384']
  const key =
    options.key === 'rsa' ? ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:3072'] : curve
  await openssl('genpkey', ...curve, '-out', at('root.key'))
  const root = ['-subj', '/O=Bytes/CN=Root for trying out', '-days', '3650']
  const isRoot = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign']
  const added = isRoot.flatMap((extension) => ['-addext', extension])
  await openssl(
    'req',
    '-x509',
    '-new',
    '-key',
    at('root.key'),
    ...root,
    ...added,
    '-out',
    at('root.new'),
  )
  await openssl('genpkey', ...key, '-out', at('tsa.key'))
  const subject = ['-subj', '/O=Bytes/CN=Timestamp authority for trying out']
  await openssl('req', '-new', '-key', at('tsa.key'), ...subject, '-out', at('tsa.csr'))
  const isAuthority =
    'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\n'
  writeFileSync(at('tsa.ext'), isAuthority)
  const issued = [
    '-CA',
    at('root.new'),
    '-CAkey',
    at('root.key'),
    '-set_serial',
    '2',
    '-days',
    '3650',
  ]
  await openssl(
    'x509',
    '-req',
    '-in',
    at('tsa.csr'),
    ...issued,
    '-extfile',
    at('tsa.ext'),
    '-out',
    at('tsa.pem'),
  )
  await rm(at('tsa.csr'))
  await rm(at('tsa.ext'))
  await writeFile(at('root.pem'), await readFile(at('root.new')))
  await rm(at('root.new'))
}

/** One at a time: each takes the next number of the serial file. */
let last = Promise.resolve()
function stamp(query) {
  const answer = last.then(async () => {
    const name = at(randomBytes(8).toString('hex'))
    try {
      await writeFile(`${name}.tsq`, query)
      const files = ['-queryfile', `${name}.tsq`, '-out', `${name}.tsr`]
      await openssl('ts', '-reply', '-config', at('tsa.cnf'), ...files)
      return await readFile(`${name}.tsr`)
    } finally {
      await rm(`${name}.tsq`, { force: true })
      await rm(`${name}.tsr`, { force: true })
    }
  })
  last = answer.catch(() => undefined)
  return answer
}

async function answer(request, response) {
  if (
    request.method !== 'POST' ||
    request.headers['content-type'] !== 'application/timestamp-query'
  ) {
    response.writeHead(415).end('POST an application/timestamp-query\n')
    return
  }
  const pieces = []
  let size = 0
  for await (const piece of request) {
    size += piece.length
    if (size > MAX_QUERY) {
      response.writeHead(413).end()
      return
    }
    pieces.push(piece)
  }
  const waited = sleep(delayMs)
  const reply = await stamp(Buffer.concat(pieces))
  await waited
  response.writeHead(200, { 'content-type': 'application/timestamp-reply' }).end(reply)
}

mkdirSync(dir, { recursive: true, mode: 0o700 })
if (!existsSync(at('root.pem'))) await makeCertificates()
if (!existsSync(at('serial'))) writeFileSync(at('serial'), '01\n')
writeFileSync(at('tsa.cnf'), CONFIG)
const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    process.stderr.write(`${error.message}\n`)
    if (!response.headersSent) response.writeHead(500)
    response.end()
  })
})
server.on('error', ({ message }) => fail(message))
server.listen(Number(options.port), '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}/tsr`
  process.stdout.write(`${JSON.stringify({ url, root: at('root.pem') })}\n`)
})
const end = () => process.exit(0)
process.on('SIGTERM', end)
process.on('SIGINT', end)
const stdin = fstatSync(0)
if (stdin.isFIFO() || stdin.isSocket()) process.stdin.on('end', end).on('error', end).resume()
