/** Evidence bundles from people who mean no good. Good ones are in test/integration/evidence.test.ts. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { command } from '../../src/cli/verify.js'
import { verifyBundle } from '../../src/cli/verify-bundle.js'
import { SettingsError } from '../../src/environment.js'
import { patched, rawZip, unicodePath, type ZippedFile, zip64Extra, zipOf } from '../support/zip.js'

const CONTENT = Buffer.from('what was found')
const DIGEST = createHash('sha512').update(CONTENT).digest('hex')
const SECURE_HASH = `sha512:${createHash('sha512').update(CONTENT).update('1767226200.5').digest('hex')}`
const META = {
  id: '00000000-0000-4000-8000-000000000000',
  boefje_meta: { ended_at: '2026-01-01T00:10:00.500000Z' },
  secure_hash: SECURE_HASH,
  hash_retrieval_link: null as unknown,
}
/** A bundle without a timestamp, whose content is right. */
const FILES: readonly ZippedFile[] = [
  { name: 'VERIFY.md', content: '# Evidence' },
  { name: 'content', content: CONTENT },
  { name: 'content.sha512', content: `${DIGEST}  content\n` },
  { name: 'raw_meta.json', content: JSON.stringify(META) },
  { name: 'secure_hash.txt', content: SECURE_HASH },
  { name: 'ended_at.txt', content: '1767226200.5' },
]

let folder: string
let path: string
let stdout: string
let stderr: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bytes-test-bundle-'))
  path = join(folder, 'bundle.zip')
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

async function verify(archive: Uint8Array): Promise<number> {
  await writeFile(path, archive)
  return verifyBundle(path, undefined)
}

/** What is said of a bundle that cannot be read as one. */
const complaint = (archive: Uint8Array): Promise<string> =>
  verify(archive).then(
    (code) => `no complaint, but the exit code ${code}`,
    (error: unknown) => String(error),
  )

const without = (name: string): ZippedFile[] => FILES.filter((file) => file.name !== name)
const replaced = (name: string, content: ZippedFile['content']): ZippedFile[] => [
  ...without(name),
  { name, content },
]
const withMeta = (meta: unknown): ZippedFile[] => replaced('raw_meta.json', JSON.stringify(meta))

describe('a bundle without a timestamp', () => {
  it.each([false, true])('is right and proves no time (compressed: %s)', async (compress) => {
    expect(await verify(await zipOf(FILES, compress))).toBe(1)
    expect(stdout).toBe(
      [
        `content digest         ok     sha512:${DIGEST}`,
        `secure hash            ok     ${SECURE_HASH}`,
        'raw meta               ok     of this secure hash, this end time and this retrieval link',
        'retrieval link         -      there is no timestamp in the bundle: nothing proves a time',
        'unverifiable: nothing is known to be wrong, and no third party that can be asked here proves a time',
        '',
      ].join('\n'),
    )
    expect(stderr).toBe('')
  })

  it('tells where the secure hash was published, without doing anything to the terminal', async () => {
    const link = 'https://pastebin.example/\u001b[2Jabc'
    expect(await verify(await zipOf(withMeta({ ...META, hash_retrieval_link: link })))).toBe(1)
    expect(stdout).toContain(
      'see whether the secure hash is at https://pastebin.example/\\u001b[2J',
    )
  })

  it('may hold files that are not known', async () => {
    const more = Array.from({ length: 50 }, (_, i) => ({ name: `other/${i}`, content: 'x' }))
    expect(await verify(await zipOf([...FILES, ...more]))).toBe(1)
    expect(stdout).toMatch(/\nunverifiable: /)
  })
})

describe('what is not right', () => {
  it.each<[string, ZippedFile[], RegExp]>([
    ['content', replaced('content', 'other'), /^content digest +WRONG .*\nsecure hash +WRONG /],
    [
      'digest',
      replaced('content.sha512', `${'0'.repeat(128)} *content\n`),
      /^content digest +WRONG +sha512:.*, recorded sha512:0{128}\nsecure hash +ok /,
    ],
    [
      'hash',
      replaced('secure_hash.txt', `sha512:${DIGEST}`),
      /\nsecure hash +WRONG .*\nraw meta +WRONG/,
    ],
    [
      'line break',
      replaced('secure_hash.txt', `${SECURE_HASH}\n`),
      /\nsecure hash +- .*\nraw meta +WRONG/,
    ],
    ['missing hash', without('secure_hash.txt'), /\nsecure hash +- .*\nraw meta +WRONG/],
    ['end time', replaced('ended_at.txt', '1767226200.50'), /\nraw meta +WRONG +the end time/],
    [
      'other end time',
      withMeta({ ...META, boefje_meta: { ended_at: '2026-01-01T00:10:00Z' } }),
      /\nsecure hash +WRONG .*\nraw meta +WRONG +the end time/,
    ],
    [
      'hash in the metadata',
      withMeta({ ...META, secure_hash: 'x' }),
      /\nraw meta +WRONG +its secure/,
    ],
    ['number as a hash', withMeta({ ...META, secure_hash: 7 }), /\nraw meta +WRONG +its secure/],
    [
      'link to a token that is not there',
      withMeta({ ...META, hash_retrieval_link: 'MAA=' }),
      /\nraw meta +WRONG +its retrieval link/,
    ],
    [
      'link to a record that is not there',
      withMeta({ ...META, hash_retrieval_link: `/bytes/evidence_records/${META.id}` }),
      /\nraw meta +WRONG +its retrieval link/,
    ],
    [
      'token that nothing links to',
      [...FILES, { name: 'timestamp_token.der', content: '0\0' }],
      /\nraw meta +WRONG +its retrieval link .*\ntimestamp format +WRONG/,
    ],
    [
      'record that nothing links to',
      [...FILES, { name: 'evidence_record.der', content: '0\0' }],
      /\nraw meta +WRONG +its retrieval link .*\nevidence record +WRONG/,
    ],
  ])('is told: %s', async (_, files, lines) => {
    expect(await verify(await zipOf(files))).toBe(1)
    expect(stdout).toMatch(lines)
    expect(stdout).toMatch(/\nfailed: something is wrong\n$/)
  })
})

describe('what is no bundle', () => {
  const archive = (): Promise<Buffer> => zipOf(FILES)

  it.each<[string, () => Promise<Uint8Array>, RegExp]>([
    ['nothing', async () => Buffer.of(), /it cannot be read: /],
    ['no zip', async () => randomBytes(5000), /it cannot be read: /],
    ['an empty zip', () => zipOf([]), /no evidence bundle: there is no content in it/],
    ...['content', 'content.sha512', 'raw_meta.json', 'ended_at.txt'].map(
      (name): [string, () => Promise<Uint8Array>, RegExp] => [
        `one without ${name}`,
        () => zipOf(without(name)),
        new RegExp(`there is no ${name.replace('.', '\\.')} in it`),
      ],
    ),
    ['a name twice', () => zipOf([...FILES, ...FILES.slice(1, 2)]), /it has content twice/],
    [
      'a hash twice',
      () =>
        zipOf([
          ...FILES,
          { name: 'hash_tree/1.bin', content: '' },
          { name: 'hash_tree/1.bin', content: '' },
        ]),
      /it has hash_tree\/1\.bin twice/,
    ],
    [
      'an encrypted content',
      async () => patched(await zipOf(FILES, true), 'content', 'flags', 1),
      /encrypted/,
    ],
    [
      'an encrypted hash',
      async () => patched(await zipOf(FILES, true), 'secure_hash.txt', 'flags', 1),
      /secure_hash\.txt in it is encrypted/,
    ],
    [
      'an unknown compression',
      async () => patched(await archive(), 'content', 'method', 99),
      /content in it is compressed in a way/,
    ],
    [
      'a wrong checksum of the content',
      async () => patched(await archive(), 'content', 'crc32', 7),
      /content in it is damaged/,
    ],
    [
      'a wrong checksum of a hash',
      async () => patched(await archive(), 'ended_at.txt', 'crc32', 7),
      /ended_at\.txt in it is damaged/,
    ],
    [
      'a small file that is large',
      () => zipOf(replaced('secure_hash.txt', Buffer.alloc(1025))),
      /secure_hash\.txt in it is longer than 1024 bytes/,
    ],
    [
      'a hash of the tree that is large',
      () => zipOf([...FILES, { name: 'hash_tree/1.bin', content: Buffer.alloc(65) }]),
      /hash_tree\/1\.bin in it is longer than 64 bytes/,
    ],
    [
      'a file that grows to more than it says',
      async () =>
        patched(
          await zipOf(replaced('secure_hash.txt', Buffer.alloc(50_000_000)), true),
          'secure_hash.txt',
          'size',
          100,
        ),
      /secure_hash\.txt in it is damaged: /,
    ],
    [
      'a content that grows to more than it says',
      async () =>
        patched(
          await zipOf(replaced('content', Buffer.alloc(5_000_000)), true),
          'content',
          'size',
          9,
        ),
      /content in it is damaged: /,
    ],
    [
      'a content that is less than it says',
      async () => patched(await zipOf(FILES, true), 'content', 'size', 1_000_000),
      /content in it is damaged: /,
    ],
    [
      'too many entries',
      () => zipOf(Array.from({ length: 1001 }, (_, i) => ({ name: `${i}`, content: '' }))),
      /it has 1001 entries/,
    ],
    ['metadata that is no JSON', () => zipOf(replaced('raw_meta.json', '{')), /is no JSON/],
    [
      'metadata that is deep',
      () => zipOf(replaced('raw_meta.json', '['.repeat(1_000_000))),
      /no JSON/,
    ],
    ['metadata of nothing', () => zipOf(replaced('raw_meta.json', 'null')), /tells no end time/],
    [
      'metadata without a job',
      () => zipOf(withMeta({ ...META, boefje_meta: [] })),
      /tells no end time/,
    ],
    [
      'a digest in another form',
      () => zipOf(replaced('content.sha512', DIGEST)),
      /not what sha512sum/,
    ],
    [
      'a digest of another file',
      () => zipOf(replaced('content.sha512', `${DIGEST}  /etc/passwd\n`)),
      /not what sha512sum/,
    ],
  ])('is told: %s', async (_, make, message) => {
    const bytes = await make()
    const failure = await verify(bytes).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(Error)
    expect(String(failure)).toMatch(message)
    expect(String(failure)).toContain(path)
    expect(stdout).toBe('')
  })

  it('is told of names that lead elsewhere', async () => {
    const bytes = Buffer.from(await zipOf([...FILES, { name: 'aa/content', content: 'x' }]))
    const evil = Buffer.from(
      bytes.toString('latin1').replaceAll('aa/content', '../content'),
      'latin1',
    )
    await expect(verify(evil)).rejects.toThrow(/\.\.\/content/)
  })

  it.each([
    './content',
    './/content',
    'content;1',
    'con\u0001tent',
    'content.',
    'CONTENT',
    'content/',
    './secure_hash.txt',
    'Hash_Tree/1.bin',
    'verify.MD',
    'VERIFY.md',
    'certificates/./anchors.pem',
    '\u017Fecure_hash.txt',
  ])('is told of a second file that would be unpacked in the place of one (%j)', async (name) => {
    const files = [...FILES, { name: 'certificates/anchors.pem', content: '' }]
    const placeholder = 'x'.repeat(Buffer.byteLength(name))
    const archive = await zipOf([...files, { name: placeholder, content: 'other' }])
    const bytes = Buffer.from(archive)
    for (let at = bytes.indexOf(placeholder); at >= 0; at = bytes.indexOf(placeholder)) {
      bytes.write(name, at)
    }
    expect(await complaint(bytes)).toMatch(/ is unpacked as |it has VERIFY.md twice/)
  })

  it('is told of a file with one name in the directory and another before its bytes', async () => {
    const bytes = Buffer.from(await zipOf([...FILES, { name: 'another', content: 'other' }]))
    bytes.write('content', bytes.indexOf('another'))
    expect(await complaint(bytes)).toMatch(/a file under two names/)
  })

  it('is told of a file that an extra field gives another name', async () => {
    expect(await verify(rawZip(FILES))).toBe(1)
    expect(stdout).toContain('content digest         ok')
    const others = without('content')
    const proved = {
      name: 'junk.dat',
      content: CONTENT,
      central: unicodePath('junk.dat', 'content'),
    }
    const unpacked = {
      name: 'content',
      content: 'forged',
      central: unicodePath('content', 'other'),
    }
    const { central: local, ...plain } = unpacked
    for (const entries of [
      [...others, proved, unpacked],
      [...FILES, unpacked],
      [...FILES, { ...plain, name: 'another', local }],
    ]) {
      expect(await complaint(rawZip(entries))).toMatch(/a file under two names/)
    }
    const cut = Buffer.of(0x75, 0x70, 0xff, 0xff)
    expect(await complaint(rawZip([...FILES, { ...plain, name: 'another', local: cut }]))).toMatch(
      /damaged/,
    )
  })

  it.each<[string, Buffer, RegExp]>([
    ['its end', rawZip(FILES, { zip64: { at: 2 ** 62 } }), /it cannot be read: /],
    ['its directory', rawZip(FILES, { zip64: { offset: 2 ** 62 } }), /it is damaged: /],
    [
      'a file',
      rawZip([...FILES, { name: 'a', content: '', at: 2 ** 32 - 1, central: zip64Extra(2 ** 62) }]),
      /it is damaged: /,
    ],
  ])('is told of a place that there cannot be for %s', async (_, archive, message) => {
    expect(await complaint(archive)).toMatch(message)
  })

  it('is told of links', async () => {
    const bytes = Buffer.from(await zipOf(FILES))
    const central = bytes.indexOf('PK\x01\x02', 0, 'latin1')
    bytes.writeUInt16LE(0o120777, central + 40)
    expect(await complaint(bytes)).toMatch(/it has a link/)
  })

  it('is told of files that are none', async () => {
    await mkdir(path)
    await expect(verifyBundle(path, undefined)).rejects.toThrow(/no regular file/)
    await expect(verifyBundle(join(folder, 'none'), undefined)).rejects.toThrow(/no such file/)
  })

  it('never crashes, and is never right, when it is cut or changed', async () => {
    const token = { name: 'timestamp_token.der', content: randomBytes(50) }
    const whole = await zipOf([...FILES, token], true)
    const outcome = async (bytes: Uint8Array): Promise<unknown> =>
      verify(bytes).catch((error: Error) => error.message.startsWith(`${path}: `) || error)
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), async (length) => {
        expect(await outcome(whole.subarray(0, length))).toBe(true)
      }),
      { numRuns: 60 },
    )
    await fc.assert(
      fc.asyncProperty(
        fc.nat(whole.length - 1),
        fc.integer({ min: 1, max: 255 }),
        async (at, by) => {
          const changed = Buffer.from(whole)
          changed[at] = (changed[at] ?? 0) ^ by
          expect([1, true]).toContain(await outcome(changed))
        },
      ),
      { numRuns: 150 },
    )
  })
})

describe('trust anchors', () => {
  it('are told of when they cannot be used', async () => {
    await writeFile(path, await zipOf(FILES))
    const pem = join(folder, 'anchors.pem')
    await expect(verifyBundle(path, pem)).rejects.toThrow(
      /--anchor: ".*anchors\.pem" cannot be read \(ENOENT\)/,
    )
    await writeFile(pem, 'nothing')
    await expect(verifyBundle(path, pem)).rejects.toThrow(
      /--anchor: ".*anchors\.pem" cannot be used: /,
    )
    vi.stubEnv('BYTES_RFC3161_CERT_FILE', pem)
    const failure = await verifyBundle(path, undefined).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(SettingsError)
    expect(String(failure)).toMatch(/BYTES_RFC3161_CERT_FILE: ".*anchors\.pem" cannot be used/)
  })
})

describe('the command', () => {
  it('takes a path where it takes no id, without any setting', async () => {
    await writeFile(path, await zipOf(FILES))
    // Settings of a service or a client that cannot be used.
    vi.stubEnv('BYTES_URL', 'nonsense')
    vi.stubEnv('BYTES_PASSWORD', 'without a name')
    vi.stubEnv('BYTES_DB_URI', 'nonsense')
    expect(await command.run([path])).toBe(1)
    expect(stdout).toMatch(/\nunverifiable: /)
  })

  it.each([
    [],
    ['a', 'b'],
    ['--all', 'a'],
    ['--all', '--anchor', 'x'],
    ['a', '--anchor', ''],
    ['a', '--nonsense'],
  ])('refuses %j', async (...args) => {
    await expect(command.run(args)).rejects.toThrow()
    expect(stdout).toBe('')
  })
})
