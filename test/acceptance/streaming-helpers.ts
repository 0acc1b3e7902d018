/** Bodies of any size, made while they are sent, and what came of them. */
import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { Readable } from 'node:stream'
import type { Answer } from './helpers.js'

const PIECE = 64 * 1024

/** Content that is the same each time and compresses to nothing: `size` bytes, in pieces of 64 KiB. */
export function* contentOf(size: number, seed = 1): Generator<Buffer> {
  const key = Buffer.from(`seed ${seed}`)
  const base = Buffer.alloc(PIECE)
  for (let at = 0; at < PIECE; at += 64) {
    createHash('sha512').update(key).update(String(at)).digest().copy(base, at)
  }
  for (let left = size, i = 0; left > 0; left -= PIECE, i++) {
    const piece = Buffer.from(base)
    piece.writeUInt32BE(i)
    yield left < PIECE ? piece.subarray(0, left) : piece
  }
}

export function sha512(pieces: Iterable<Uint8Array>): string {
  const hash = createHash('sha512')
  for (const piece of pieces) hash.update(piece)
  return hash.digest('hex')
}

/** A JSON upload of one file, with its content last; `size` should be a multiple of 3. */
export function* jsonBody(size: number, tag: string): Generator<Buffer> {
  yield Buffer.from(`{"files":[{"name":"file","tags":["${tag}"],"content":"`)
  let rest: Buffer = Buffer.alloc(0)
  for (const piece of contentOf(size)) {
    const all = rest.length > 0 ? Buffer.concat([rest, piece]) : piece
    const whole = all.length - (all.length % 3)
    rest = all.subarray(whole)
    yield Buffer.from(all.subarray(0, whole).toString('base64'))
  }
  yield Buffer.from(`${rest.toString('base64')}"}]}`)
}

export const BOUNDARY = 'a-boundary-of-a-test'

/** Parts of a form: a field when it has no file name. */
export function* formBody(
  parts: readonly {
    readonly name: string
    readonly fileName?: string
    readonly type?: string
    readonly headers?: string
    readonly content: Iterable<Uint8Array> | string
  }[],
): Generator<Uint8Array> {
  for (const { name, fileName, type, headers = '', content } of parts) {
    const file = fileName === undefined ? '' : `; filename="${fileName}"`
    const kind = type === undefined ? '' : `Content-Type: ${type}\r\n`
    yield Buffer.from(
      `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"${file}\r\n${kind}${headers}\r\n`,
    )
    if (typeof content === 'string') yield Buffer.from(content)
    else yield* content
    yield Buffer.from('\r\n')
  }
  yield Buffer.from(`--${BOUNDARY}--\r\n`)
}

/** Sends a body while it is made, as fast as the server takes it. A refusal may come before its end. */
export function sendBody(
  url: string,
  path: string,
  headers: Record<string, string>,
  body: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<Answer> {
  const { hostname, port } = new URL(url)
  // Like most clients in use.
  const agent = new Agent({ keepAlive: true })
  return new Promise<Answer>((resolve, reject) => {
    const outgoing = request(
      { hostname, port, path, headers, method: 'POST', agent },
      (incoming) => {
        const chunks: Buffer[] = []
        incoming.on('data', (chunk) => chunks.push(chunk))
        incoming.on('error', reject)
        incoming.on('end', () => {
          const whole = Buffer.concat(chunks)
          const text = whole.toString('utf8')
          source.destroy()
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            body: whole,
            text,
          })
        })
      },
    )
    const source = Readable.from(body)
    // The server may have answered and stopped reading; then the answer counts.
    outgoing.on('error', (error) => setTimeout(() => reject(error), 1000))
    source.pipe(outgoing)
  }).finally(() => agent.destroy())
}

/** Bytes of memory that a process has held at most since `resetPeak`. */
export async function peakMemory(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) * 1024
}

export async function resetPeak(pid: number): Promise<void> {
  // 5 resets the peak (proc_pid_clear_refs(5)).
  await writeFile(`/proc/${pid}/clear_refs`, '5')
}
