/** What the build writes is the whole program: it needs no package but for what is no code. */
import { execFile } from 'node:child_process'
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const COMMANDS = 'serve migrate sql keys audit put get evidence verify'.split(' ')

let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bytes-test-build-'))
  for (const name of ['dist', 'package.json', 'migrations', 'certificates']) {
    await cp(join(ROOT, name), join(folder, name), { recursive: true })
  }
})

afterAll(() => rm(folder, { recursive: true, force: true }))

async function run(...args: string[]): Promise<string> {
  const program = [join(folder, 'dist/main.js'), ...args]
  const { stdout } = await promisify(execFile)(process.execPath, program, { cwd: '/', env: {} })
  return stdout
}

it('knows its version, and has the migrations, without packages', async () => {
  const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
  expect(await run('--version')).toBe(`${version}\n`)
  expect(await run('sql')).toContain('CREATE TABLE "raw_file"')
  expect(await run('keys', 'generate')).toContain('BYTES_PUBLIC_KEY_B64=')
})

it.each(COMMANDS)('loads the command %s without packages', async (command) => {
  expect(await run(command, '--help')).toContain(`Usage: bytes ${command}`)
})

it('knows all commands', async () => {
  const names = [...(await run('help')).matchAll(/^ {2}(\w+) /gm)].map(([, name]) => name)
  expect(names.filter((name) => name !== 'help')).toEqual(COMMANDS)
})

it('has the client, with its types, without packages', async () => {
  const client = await import(join(folder, 'dist/client.js'))
  expect(Object.keys(client).sort()).toEqual(['BytesClientError', 'createClient'])
  const { exports } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
  expect(exports['./client'].default).toBe('./dist/client.js')
  const types = await readFile(join(folder, exports['./client'].types), 'utf8')
  expect(types).toContain('export declare function createClient')
})
