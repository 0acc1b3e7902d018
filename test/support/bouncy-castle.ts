/** Evidence records by Bouncy Castle, see `java/EvidenceRecords.java`. */
import { execFile, spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { TestAuthority } from './tsa.js'

const PROGRAM = fileURLToPath(new URL('java/EvidenceRecords.java', import.meta.url))
/** Of Debian's package libbcpkix-java and those that it needs. */
const JARS = ['bcprov', 'bcutil', 'bcpkix'].map((name) => `/usr/share/java/${name}.jar`)

const CLASS_PATH = JARS.join(':')

/**
 * Whether there are a Java that runs source files, which takes its compiler, and a Bouncy Castle
 * that knows evidence records.
 */
export const hasBouncyCastle =
  spawnSync('java', ['--describe-module', 'jdk.compiler']).status === 0 &&
  spawnSync('javap', ['-cp', CLASS_PATH, 'org.bouncycastle.tsp.ers.ERSEvidenceRecord']).status === 0

/** Starting Java takes seconds: first everything is asked, then it runs once. */
export interface BouncyCastle {
  /** @returns the number of the answer: `ok`, or `refused` and why */
  verify(record: Uint8Array, text: string): number
  /** One hash tree and timestamp over the SHA-512 of each text. @returns their records, later */
  generate(texts: readonly string[]): () => Promise<Uint8Array[]>
  /** The answers, in order. */
  run(): Promise<string[]>
}

/** Calls `use` with a new one, and removes its files in the end. */
export async function withBouncyCastle(
  authority: TestAuthority,
  use: (castle: BouncyCastle) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'bytes-test-ers-'))
  const cases: string[] = []
  const files: (readonly [string, Uint8Array])[] = []
  const add = (line: string): number => cases.push(line) - 1
  try {
    await use({
      verify: (record, text) => {
        const name = `record-${files.length}`
        files.push([name, record])
        return add(`verify ${name} ${text}`)
      },
      generate: (texts) => {
        const name = `made-${cases.length}`
        add(`generate ${name} ${texts.join(' ')}`)
        return () => Promise.all(texts.map((_, at) => readFile(join(folder, `${name}-${at}`))))
      },
      run: async () => {
        for (const [name, bytes] of files) await writeFile(join(folder, name), bytes)
        await writeFile(join(folder, 'cases'), `${cases.join('\n')}\n`)
        const args = ['-cp', CLASS_PATH, PROGRAM, folder, authority.rootFile, authority.url]
        const { stdout } = await promisify(execFile)('java', args, { maxBuffer: 2 ** 26 })
        return stdout.trimEnd().split('\n')
      },
    })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
