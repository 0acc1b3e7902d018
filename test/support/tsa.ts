/** A timestamp authority of our own: `openssl ts` behind HTTP, see `scripts/tsa.mjs`. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const SCRIPT = fileURLToPath(new URL('../../scripts/tsa.mjs', import.meta.url))

export interface TestAuthority {
  readonly url: string
  /** PEM file of the root that its timestamps lead to. */
  readonly rootFile: string
  readonly root: string
  /** Ends it and removes its files. */
  stop(): Promise<void>
}

/** @throws Error when it does not start, for example because there is no `openssl` */
export async function startTestAuthority({
  key = 'ec',
  delayMs = 0,
}: {
  key?: 'ec' | 'rsa'
  delayMs?: number
} = {}): Promise<TestAuthority> {
  const dir = await mkdtemp(join(tmpdir(), 'bytes-test-tsa-'))
  const args = ['--dir', dir, '--port', '0', '--key', key, '--delay-ms', String(delayMs)]
  const child = spawn(process.execPath, [SCRIPT, ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
  const closed = once(child, 'close')
  let output = ''
  const line = new Promise<string>((resolve, reject) => {
    const read = (chunk: Buffer): void => {
      output += chunk
      const found = /^\{"url".*$/m.exec(output)?.[0]
      if (found) resolve(found)
    }
    child.stdout.on('data', read)
    child.stderr.on('data', read)
    closed.then(([code]) => reject(new Error(`the authority ended with ${code}: ${output}`)))
  })
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM')
    await closed
    await rm(dir, { recursive: true, force: true })
  }
  try {
    const { url, root } = JSON.parse(await line)
    return { url, rootFile: root, root: await readFile(root, 'utf8'), stop }
  } catch (error) {
    await stop()
    throw error
  }
}
