/** Evidence bundles with a real timestamp authority, checked by hand, by `VERIFY.md` and by command. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { verifyBundle } from '../../src/cli/verify-bundle.js'
import type { StoredRawFile } from '../../src/domain/models.js'
import { rawFileText } from '../../src/domain/wire-text.js'
import { openEvidence } from '../../src/flows/evidence.js'
import { anchorsIn } from '../../src/flows/evidence-anchors.js'
import { proofOf } from '../../src/flows/proof.js'
import { verifyRawFile } from '../../src/flows/verify.js'
import { type MemoryStore, memoryStore } from '../support/evidence.js'
import { PATIENCE } from '../support/patience.js'
import { startTestAuthority, type TestAuthority } from '../support/tsa.js'
import { filesIn, zipOf } from '../support/zip.js'

const run = promisify(execFile)

let authority: TestAuthority
let other: TestAuthority
let store: MemoryStore
let folder: string
let stdout: string
let stderr: string

beforeAll(async () => {
  ;[authority, other] = await Promise.all([
    startTestAuthority(),
    startTestAuthority({ key: 'rsa' }),
  ])
})
afterAll(() => Promise.all([authority, other].map((each) => each?.stop())))

beforeEach(async () => {
  // The one that it leads to is the second.
  store = memoryStore(`${other.root}\n${authority.root}`, authority.url)
  folder = await mkdtemp(join(tmpdir(), 'bytes-test-evidence-'))
  stdout = ''
  stderr = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    stdout += String(chunk)
    return true
  })
  vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => {
    stderr += String(chunk)
    return true
  })
  vi.stubEnv('BYTES_RFC3161_CERT_FILE', undefined)
})
afterEach(async () => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true, force: true })
})

async function bundleOf(file: StoredRawFile): Promise<Buffer> {
  const { size, pieces } = await openEvidence(store.ports, file)
  const chunks: Uint8Array[] = []
  for await (const piece of pieces) chunks.push(piece)
  const whole = Buffer.concat(chunks)
  expect(whole.length).toBe(size)
  return whole
}

/** Unzips a bundle by the system's `unzip`. @returns the folder */
async function unzipped(bundle: Uint8Array, name = 'bundle'): Promise<string> {
  await writeFile(join(folder, `${name}.zip`), bundle)
  await run('unzip', ['-q', '-o', `${name}.zip`, '-d', name], { cwd: folder })
  return join(folder, name)
}

/** The commands of `VERIFY.md`. */
async function commandsOf(path: string): Promise<string[]> {
  const text = await readFile(join(path, 'VERIFY.md'), 'utf8')
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, commands = '']) => commands)
}

/** Runs each block by itself. @returns which have failed, by number */
async function failuresOf(path: string): Promise<number[]> {
  const failed: number[] = []
  for (const [i, commands] of (await commandsOf(path)).entries()) {
    // Also without `-e`, as when they are copied into a terminal.
    const codes = await Promise.all(
      [['-e'], []].map((options) =>
        run('sh', [...options, '-c', commands], {
          cwd: path,
          env: { PATH: process.env.PATH },
        }).then(
          () => 0,
          (error: { code: number }) => error.code,
        ),
      ),
    )
    expect(new Set(codes).size).toBe(1)
    if (codes[0] !== 0) failed.push(i + 1)
  }
  return failed
}

/** Zips the files of a folder again. */
async function zipped(path: string): Promise<string> {
  await writeFile(`${path}-again.zip`, await zipOf(await filesIn(path), true))
  return `${path}-again.zip`
}

async function flip(path: string, at = 0): Promise<void> {
  const bytes = await readFile(path)
  bytes[at] = (bytes[at] ?? 0) ^ 1
  await writeFile(path, bytes)
}

const PLAIN = [
  'VERIFY.md',
  'certificates/anchors.pem',
  'certificates/token.pem',
  'content',
  'content.sha512',
  'ended_at.txt',
  'raw_meta.json',
  'secure_hash.txt',
  'timestamp_token.der',
]

const namesIn = async (path: string): Promise<string[]> =>
  (await filesIn(path)).map(({ name }) => name)

interface Case {
  readonly name: string
  readonly algorithm: 'sha512' | 'sha224'
  /** Files that share the timestamp. */
  readonly batch: number
}

const CASES: readonly Case[] = [
  { name: 'a timestamp of its own, SHA-512', algorithm: 'sha512', batch: 1 },
  { name: 'a timestamp of its own, SHA-224', algorithm: 'sha224', batch: 1 },
  { name: 'a shared timestamp, SHA-512', algorithm: 'sha512', batch: 2 },
  { name: 'a shared timestamp, SHA-224', algorithm: 'sha224', batch: 11 },
]

async function stampedFile({ algorithm, batch }: Case, content?: Uint8Array) {
  const files = Array.from({ length: batch }, (_, i) =>
    store.add({ algorithm, ...(i === 0 && content && { content }) }),
  )
  const [first] = files
  if (!first) throw new Error('no file')
  const [stamped] = batch === 1 ? [await store.stamp(first)] : await store.stampAll(files)
  if (!stamped) throw new Error('not stamped')
  return stamped
}

describe.each(CASES)('a bundle with $name', (each) => {
  it('is checked by its own commands, which find what was changed', async () => {
    const file = await stampedFile(each, Buffer.from('the content\n'))
    const path = await unzipped(await bundleOf(file))
    const names = await namesIn(path)
    const record = names.filter((name) => !PLAIN.includes(name))
    expect(names.filter((name) => PLAIN.includes(name))).toEqual(PLAIN)
    if (each.batch === 1) expect(record).toEqual([])
    else expect(record.slice(0, 2)).toEqual(['evidence_record.der', 'hash_tree/1.bin'])
    expect(await readFile(join(path, 'raw_meta.json'), 'utf8')).toBe(rawFileText(file.rawFile))
    expect(await readFile(join(path, 'content'), 'utf8')).toBe('the content\n')
    expect(await readFile(join(path, 'secure_hash.txt'), 'utf8')).toBe(file.rawFile.secureHash)
    expect(await readFile(join(path, 'ended_at.txt'), 'utf8')).toBe('1767226200.123456')

    expect((await commandsOf(path)).length).toBe(5)
    expect(await failuresOf(path)).toEqual([])
    // Nothing is left behind.
    expect(await namesIn(path)).toEqual(names)

    const damages: [string, number[]][] = [
      ['content', [1, 2]],
      ['content.sha512', [1]],
      ['ended_at.txt', [2]],
      ['secure_hash.txt', [2, 3]],
      ['timestamp_token.der', [3, 4]],
      ['certificates/anchors.pem', [3, 5]],
      ...record
        .filter((name) => name.startsWith('hash_tree/'))
        .map((name): [string, number[]] => [name, [3]]),
    ]
    for (const [name, expected] of damages) {
      const hurt = join(folder, 'hurt')
      await rm(hurt, { recursive: true, force: true })
      await cp(path, hurt, { recursive: true })
      await flip(join(hurt, name), name.endsWith('.pem') ? 100 : 7)
      expect([name, await failuresOf(hurt)]).toEqual([name, expected])
      await rm(join(hurt, name))
      const lost = await failuresOf(hurt)
      expect([name, expected.every((block) => lost.includes(block))]).toEqual([name, true])
    }
  })

  it('is checked by the command, without anything else', async () => {
    const file = await stampedFile(each)
    const path = await unzipped(await bundleOf(file))
    expect(await verifyBundle(`${path}.zip`, authority.rootFile)).toBe(0)
    const names = stdout.split('\n').map((line) => line.slice(0, 30).trim().replace(/ {2,}/g, ' '))
    expect(names.slice(0, -2)).toEqual([
      'content digest ok',
      'secure hash ok',
      'raw meta ok',
      ...(each.batch === 1 ? [] : ['evidence record ok', 'hash tree ok']),
      'timestamp format ok',
      'timestamp imprint ok',
      'timestamp signature ok',
      'timestamp certificate ok',
      ...(each.batch === 1 ? [] : ['hash tree files ok']),
    ])
    expect(stdout).toMatch(
      /\nverified: it existed at 20\d\d-.*Z, says .*CN=Timestamp authority for trying out.*\n$/,
    )
    expect(stderr).toBe('')
    // Zipped by another program, deflated and with folders.
    expect(await verifyBundle(await zipped(path), authority.rootFile)).toBe(0)
  })

  it('says the same as the verification of the service', async () => {
    const file = await stampedFile(each)
    const result = await verifyRawFile(store.ports, file)
    expect(result.verdict).toBe('verified')
    const proof = await proofOf(store.ports, file)
    expect('time' in proof && result.checks.some(({ time }) => time === proof.time)).toBe(true)
  })

  it('that was changed is found out by the command', async () => {
    const path = await unzipped(await bundleOf(await stampedFile(each)))
    const damages = (await namesIn(path)).filter(
      (name) => name !== 'VERIFY.md' && !name.startsWith('certificates/'),
    )
    for (const name of damages) {
      const hurt = join(folder, 'hurt')
      await rm(hurt, { recursive: true, force: true })
      await cp(path, hurt, { recursive: true })
      const bytes = await readFile(join(hurt, name))
      // Of the metadata nothing but the hash, the time and the link is proved.
      const at = { 'content.sha512': 7, 'raw_meta.json': bytes.indexOf('"secure_hash":"') + 30 }[
        name
      ]
      await flip(join(hurt, name), at ?? bytes.length - 1)
      stdout = ''
      const code = await verifyBundle(await zipped(hurt), authority.rootFile).catch(String)
      expect([
        name,
        code === 1 || /Error: .*(is no JSON|not what sha512sum)/.test(String(code)),
      ]).toEqual([name, true])
      if (code === 1) expect(stdout).toMatch(/ {2}WRONG [\s\S]*\nfailed: /)
    }
  })
})

describe('a bundle', () => {
  it('has the same bytes each time', async () => {
    const file = await stampedFile({ name: '', algorithm: 'sha512', batch: 1 })
    expect((await bundleOf(file)).equals(await bundleOf(file))).toBe(true)
  })

  it('holds the one trust anchor that is needed, with its fingerprint', async () => {
    const file = await stampedFile({ name: '', algorithm: 'sha512', batch: 1 })
    const path = await unzipped(await bundleOf(file))
    const pem = await readFile(join(path, 'certificates/anchors.pem'), 'utf8')
    expect(pem.trim()).toBe(authority.root.trim())
    const { stdout: told } = await run('openssl', [
      ...['x509', '-noout', '-fingerprint', '-sha256', '-in', authority.rootFile],
    ])
    expect(await readFile(join(path, 'VERIFY.md'), 'utf8')).toContain(told.split('=')[1]?.trim())
  })

  it('is checked as of the time of the timestamp', async () => {
    const file = await stampedFile({ name: '', algorithm: 'sha512', batch: 1 })
    const proof = await proofOf(store.ports, file)
    const seconds = 'time' in proof ? Math.floor(Date.parse(proof.time) / 1000) : Number.NaN
    const path = await unzipped(await bundleOf(file))
    const [, , commands = ''] = await commandsOf(path)
    expect(commands).toContain(` -attime ${seconds}\n`)
    const guide = await readFile(join(path, 'VERIFY.md'), 'utf8')
    // Before the certificates were valid; and another time than the timestamp tells.
    const forged = guide
      .replace(String(seconds), '1000000000')
      .replace(/(Time stamp: .* \d\d:\d\d:)\d\d/, '$161')
    await writeFile(join(path, 'VERIFY.md'), forged)
    expect(await failuresOf(path)).toEqual([3, 4])
  })

  it.each([1, 3])(
    'may have the certificate of the authority as its anchor (%i files)',
    async (batch) => {
      const first = await unzipped(await bundleOf(await stampedFile(CASES[0] as Case)), 'first')
      const certificates = await readFile(join(first, 'certificates/token.pem'), 'utf8')
      const own = anchorsIn(certificates).find(({ subject }) =>
        subject.includes('Timestamp authority'),
      )
      if (!own) throw new Error('the certificate is not in the timestamp')
      store = memoryStore(own.pem, authority.url)
      const file = await stampedFile({ name: '', algorithm: 'sha512', batch })
      const path = await unzipped(await bundleOf(file))
      expect(await readFile(join(path, 'certificates/anchors.pem'), 'utf8')).toBe(own.pem)
      expect(await failuresOf(path)).toEqual([])
      await writeFile(join(folder, 'own.pem'), own.pem)
      expect(await verifyBundle(`${path}.zip`, join(folder, 'own.pem'))).toBe(0)
    },
  )

  it('is not trusted for the anchors that it brings', async () => {
    const path = await unzipped(await bundleOf(await stampedFile(CASES[0] as Case)))
    expect(await verifyBundle(`${path}.zip`, other.rootFile)).toBe(1)
    expect(stdout).toMatch(/\ntimestamp certificate {2}WRONG {2}.*\nfailed: /)
    const root = createHash('sha256')
      .update(Buffer.from(authority.root.replace(/-----.*-----|\s/g, ''), 'base64'))
      .digest('hex')
    expect(stderr.replaceAll(':', '').toLowerCase()).toContain(root)
    expect(stderr).toContain('--anchor certificates/anchors.pem')
    // The one that is shipped is another as well; one from the environment is taken.
    expect(await verifyBundle(`${path}.zip`, undefined)).toBe(1)
    vi.stubEnv('BYTES_RFC3161_CERT_FILE', join(path, 'certificates/anchors.pem'))
    expect(await verifyBundle(`${path}.zip`, undefined)).toBe(0)
  })

  it.each<[string, (file: StoredRawFile) => StoredRawFile, RegExp]>([
    [
      'that waits',
      (file) => {
        store.pending.add(file.rawFile.id)
        return file
      },
      /proves no time:\*\* the secure hash still waits for its timestamp: ask again later/,
    ],
    ['without a link', (file) => file, /proves no time:\*\* the secure hash was given to no third/],
    [
      'with a timestamp that is not its own',
      (file) => store.link(file, 'MAA='),
      /proves no time:\*\* the timestamp cannot be relied on: /,
    ],
  ])('of a file %s proves the content and no time', async (_, prepare, reason) => {
    const path = await unzipped(await bundleOf(prepare(store.add())))
    expect(await readFile(join(path, 'VERIFY.md'), 'utf8')).toMatch(reason)
    expect((await commandsOf(path)).length).toBe(2)
    expect(await failuresOf(path)).toEqual([])
    expect(await verifyBundle(`${path}.zip`, authority.rootFile)).toBe(1)
    expect(stdout).toMatch(/\n(unverifiable|failed): /)
  })

  it('of a file without a secure hash has commands for its content', async () => {
    const file = store.add({ rawFile: { secureHash: null } })
    const path = await unzipped(await bundleOf(file))
    expect(await failuresOf(path)).toEqual([])
    expect((await commandsOf(path)).length).toBe(1)
    expect(await verifyBundle(`${path}.zip`, authority.rootFile)).toBe(1)
    expect(stdout).toMatch(/\nsecure hash +- +the raw file has no secure hash\n/)
  })

  it('of an empty content is whole', async () => {
    const path = await unzipped(await bundleOf(await stampedFile(CASES[0] as Case, Buffer.of())))
    expect(await failuresOf(path)).toEqual([])
    expect(await verifyBundle(`${path}.zip`, authority.rootFile)).toBe(0)
  })

  it('ends before its end when the content is damaged, and closes it', async () => {
    const file = await stampedFile(CASES[0] as Case, Buffer.alloc(100_000, 1))
    store.faults.set(file.rawFile.id, 'blob_damaged')
    const { size, pieces } = await openEvidence(store.ports, file)
    let received = 0
    const reading = (async () => {
      for await (const piece of pieces) received += piece.length
    })()
    await expect(reading).rejects.toMatchObject({ code: 'blob_damaged' })
    expect(received).toBeLessThan(size)
    expect(store.open()).toBe(0)
  })

  it('is not begun when the content is missing', async () => {
    const file = store.add()
    store.faults.set(file.rawFile.id, 'blob_missing')
    await expect(openEvidence(store.ports, file)).rejects.toMatchObject({ code: 'blob_missing' })
  })

  it('that nobody reads to its end leaves nothing open', async () => {
    const file = store.add({ content: Buffer.alloc(3_000_000) })
    const { pieces } = await openEvidence(store.ports, file)
    let received = 0
    for await (const piece of pieces) {
      received += piece.length
      if (received > 500_000) break
    }
    await vi.waitUntil(() => store.open() === 0, PATIENCE)
  })
})
