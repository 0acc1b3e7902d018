/** Archives that some programs unpack otherwise than others, and good ones of every make. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ZipFile } from 'yazl'
import { BundleError, openBundle } from '../../src/cli/bundle.js'
import { zipStream } from '../../src/flows/zip-stream.js'
import {
  filesIn,
  type RawEntry,
  type RawLayout,
  rawZip,
  type ZippedFile,
  zip64Extra,
  zipOf,
} from '../support/zip.js'

const run = promisify(execFile)
const has = (program: string, ...args: readonly string[]): Promise<boolean> =>
  run(program, [...args]).then(
    () => true,
    () => false,
  )
const [hasUnzip, hasZip, hasPython] = await Promise.all([
  has('unzip', '-v'),
  has('zip', '-v'),
  has('python3', '-c', 'import zipfile'),
])

const CONTENT = Buffer.from('what was found')
const FORGED = Buffer.from('what was not found, and this clause')
const REST: readonly ZippedFile[] = [
  { name: 'content.sha512', content: 'a digest' },
  { name: 'raw_meta.json', content: '{}' },
  { name: 'ended_at.txt', content: '0.0' },
  { name: 'hash_tree/1.bin', content: 'a hash' },
]
const FILES: readonly ZippedFile[] = [{ name: 'content', content: CONTENT }, ...REST]

const DESCRIBED = 0x808
const ALL_ONES = 0xffffffff

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bytes-test-layout-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** Reads an archive as `bytes verify` does. @returns the digest of each file */
async function taken(archive: Uint8Array): Promise<Map<string, string>> {
  const path = join(folder, 'taken.zip')
  await writeFile(path, archive)
  const bundle = await openBundle(path)
  try {
    const digests = new Map([...bundle.files].map(([name, bytes]) => [name, digestOf(bytes)]))
    const { signal } = new AbortController()
    const { contentDigest } = await bundle.hashContent('sha512', () => undefined, signal)
    return digests.set('content', contentDigest)
  } finally {
    bundle.close()
  }
}

const digestOf = (bytes: Uint8Array | string): string =>
  `sha512:${createHash('sha512').update(bytes).digest('hex')}`
const RIGHT = new Map(FILES.map(({ name, content }) => [name, digestOf(content)]))

/** The content first, with what is said of it, and another file behind. */
const withContent = (
  entry: Partial<RawEntry>,
  more: readonly RawEntry[] = [],
  layout?: RawLayout,
): Buffer => rawZip([{ name: 'content', content: CONTENT, ...entry }, ...REST, ...more], layout)

/** A file as it stands in an archive, without a record in a directory. */
const alone = (file: ZippedFile): Buffer =>
  rawZip([file]).subarray(0, 30 + Buffer.byteLength(file.name) + file.content.length)
const HIDDEN = alone({ name: 'content', content: FORGED })
const FORGED_SIZES = { crc32: crc32(FORGED), compressed: FORGED.length, size: FORGED.length }

/** @param wide whether sizes have eight bytes */
function descriptor(content: Uint8Array, wide: boolean, signature: boolean): Buffer {
  const sizes = Buffer.alloc(wide ? 16 : 8)
  for (const at of [0, sizes.length / 2]) sizes.writeUInt32LE(content.length, at)
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32LE(crc32(content))
  return Buffer.concat([Buffer.from(signature ? 'PK\x07\x08' : '', 'latin1'), checksum, sizes])
}

const HEADER = /the header before content does not say what the directory says of it/
const DIRECTORY = /its directory is not where its end says, or not as long/
const ENDS = /the records at its end contradict each other/
const NOBODYS = /it has bytes that belong to no file/
const DIRECTORY_SIZE = rawZip(FILES).length - 22 - rawZip(FILES).indexOf('PK\x01\x02')

const TRICKS: readonly (readonly [string, Buffer, RegExp])[] = [
  ['a longer file in its own header', withContent({ own: FORGED_SIZES }), HEADER],
  [
    'a longer file in its own header, and the bytes of it',
    withContent({ own: { size: CONTENT.length + 9, compressed: CONTENT.length + 9 } }),
    HEADER,
  ],
  ['another checksum', withContent({ own: { crc32: 7 } }), HEADER],
  ['another packed size', withContent({ own: { compressed: 3 } }), HEADER],
  ['another size', withContent({ own: { size: 3 } }), HEADER],
  ['no size, and no descriptor', withContent({ own: { size: 0 } }), HEADER],
  [
    'another size, with a descriptor',
    withContent({ told: { flags: DESCRIBED }, own: { flags: DESCRIBED, size: 3 } }),
    HEADER,
  ],
  ['another packing', withContent({ own: { method: 8 } }), HEADER],
  ['a descriptor in the directory only', withContent({ told: { flags: DESCRIBED } }), HEADER],
  ['encryption in its own header only', withContent({ own: { flags: 0x801 } }), HEADER],
  [
    'a size elsewhere that is not there',
    withContent({ own: { size: ALL_ONES, compressed: ALL_ONES } }),
    HEADER,
  ],
  [
    'another size elsewhere',
    withContent({
      own: { size: ALL_ONES, compressed: ALL_ONES },
      local: zip64Extra(CONTENT.length + 9, CONTENT.length + 9),
    }),
    HEADER,
  ],
  [
    'two sizes elsewhere',
    withContent({
      own: { size: ALL_ONES, compressed: ALL_ONES },
      local: Buffer.concat([zip64Extra(CONTENT.length, CONTENT.length), zip64Extra(3, 3)]),
    }),
    HEADER,
  ],
  [
    'two sizes elsewhere in the directory',
    withContent({
      told: { size: ALL_ONES, compressed: ALL_ONES },
      central: Buffer.concat([zip64Extra(CONTENT.length, CONTENT.length), zip64Extra(3, 3)]),
    }),
    HEADER,
  ],

  [
    'surplus records in the directory',
    rawZip([...FILES, { name: 'content', content: FORGED }], {
      end: { count: FILES.length, countHere: FILES.length },
    }),
    DIRECTORY,
  ],
  [
    'a second directory, of the size that its end says',
    rawZip([...FILES, { name: 'content', content: FORGED }, ...REST], {
      end: { count: FILES.length, countHere: FILES.length, size: DIRECTORY_SIZE },
    }),
    DIRECTORY,
  ],
  [
    'fewer records on this disk',
    rawZip(FILES, { end: { countHere: FILES.length - 1 } }),
    DIRECTORY,
  ],
  ['another size of the directory', rawZip(FILES, { end: { size: 46 } }), DIRECTORY],
  ['bytes behind the directory', rawZip(FILES, { gap: Buffer.alloc(1) }), DIRECTORY],
  ['another disk', rawZip(FILES, { end: { disk: 1 } }), ENDS],
  [
    'an end in the comment',
    rawZip(FILES, { comment: Buffer.from('a PK\x05\x06 and more', 'latin1') }),
    ENDS,
  ],

  ['another number in zip64', rawZip(FILES, { zip64: {}, end: { count: 1 } }), ENDS],
  ['another size in zip64', rawZip(FILES, { zip64: {}, end: { size: 46 } }), ENDS],
  ['another place in zip64', rawZip(FILES, { zip64: {}, end: { offset: 1 } }), ENDS],
  [
    'a size that is wrong in zip64',
    rawZip(FILES, { zip64: { size: 46 }, end: { size: ALL_ONES } }),
    DIRECTORY,
  ],
  [
    'fewer records on this disk in zip64',
    rawZip(FILES, { zip64: { countHere: 1 }, end: { countHere: 0xffff } }),
    DIRECTORY,
  ],
  ['bytes behind the record of zip64', rawZip(FILES, { zip64: { gap: Buffer.alloc(9) } }), ENDS],
  [
    'a longer record of zip64',
    rawZip(FILES, { zip64: { length: 44 + 56, gap: Buffer.alloc(56) } }),
    ENDS,
  ],
  [
    'bytes before the record of zip64',
    rawZip(FILES, { zip64: {}, gap: Buffer.alloc(9) }),
    DIRECTORY,
  ],

  ['bytes in front', rawZip(FILES, { front: Buffer.alloc(1) }), NOBODYS],
  ['a file in front', rawZip(FILES, { front: HIDDEN }), NOBODYS],
  ['a file between two others', withContent({ after: HIDDEN }), NOBODYS],
  [
    'a file before the directory',
    rawZip([...FILES, { name: 'other', content: '', after: HIDDEN }]),
    NOBODYS,
  ],
  ['more than a descriptor', withContent({ after: Buffer.alloc(25) }), NOBODYS],
  [
    'a file inside of another',
    withContent({}, [
      { name: 'junk', content: alone({ name: 'inner', content: 'x' }) },
      {
        name: 'inner',
        content: 'x',
        at: withContent({}, [{ name: 'junk', content: '' }]).indexOf('PK\x01\x02'),
      },
    ]),
    /two files in it overlap/,
  ],
  [
    'a file twice',
    rawZip([
      ...FILES,
      { name: 'a', content: '' },
      { name: 'a', content: '', at: rawZip(FILES).indexOf('PK\x01\x02') },
    ]),
    /two files in it overlap/,
  ],
]

describe('a bundle is refused for', () => {
  it.each(TRICKS)('%s', async (_, archive, message) => {
    const failure = await taken(archive).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(BundleError)
    expect(String(failure)).toMatch(message)
    expect(String(failure)).toMatch(/other programs may unpack it otherwise: /)
  })

  it('bytes behind its end', async () => {
    const archive = Buffer.concat([rawZip(FILES), Buffer.alloc(1)])
    await expect(taken(archive)).rejects.toThrow(/it cannot be read: /)
  })
})

/** As programs write it that do not know a file before they have written it. */
async function streamed(compress: boolean, forceZip64Format: boolean): Promise<Buffer> {
  const zip = new ZipFile()
  for (const { name, content } of FILES) {
    zip.addReadStream(Readable.from([Buffer.from(content)]), name, { compress, forceZip64Format })
  }
  zip.end({ forceZip64Format, comment: 'a comment' })
  return buffer(zip.outputStream)
}

const GOOD: Readonly<Record<string, () => Buffer | Promise<Buffer>>> = {
  'in plain form': () => rawZip(FILES),
  'with folders, compressed': () => zipOf(FILES, true),
  'as they are written here': () => {
    const lazy = (content: Buffer) => ({
      size: content.length,
      open: () => Readable.from([content]),
    })
    const entries = FILES.map(({ name, content }, i) => {
      const bytes = Buffer.from(content)
      return { name, content: i === 0 ? lazy(bytes) : bytes }
    })
    return buffer(Readable.from(zipStream(entries, new Date()).pieces))
  },
  streamed: () => streamed(false, false),
  'streamed, compressed': () => streamed(true, false),
  'streamed, of zip64': () => streamed(false, true),
  'streamed, of zip64, compressed': () => streamed(true, true),
  'with a comment': () => rawZip(FILES, { comment: Buffer.alloc(0xffff, 'PK') }),
  'with zip64 at the end': () => rawZip(FILES, { zip64: {} }),
  'with nothing but zip64 at the end': () => {
    const end = { count: 0xffff, countHere: 0xffff, size: ALL_ONES, offset: ALL_ONES }
    return rawZip(FILES, { zip64: {}, end })
  },
  'with zip64 sizes': () =>
    withContent({
      told: { size: ALL_ONES, compressed: ALL_ONES },
      central: zip64Extra(CONTENT.length, CONTENT.length),
      own: { size: ALL_ONES, compressed: ALL_ONES },
      local: zip64Extra(CONTENT.length, CONTENT.length),
    }),
  'with zip64 sizes that are still unknown': () =>
    withContent({
      told: { flags: DESCRIBED },
      own: { flags: DESCRIBED, crc32: 0, size: ALL_ONES, compressed: ALL_ONES },
      local: zip64Extra(0, 0),
      after: descriptor(CONTENT, true, true),
    }),
  'with a size that is known, and a descriptor': () =>
    withContent({
      told: { flags: DESCRIBED },
      own: { flags: DESCRIBED, crc32: 0, compressed: 0 },
      after: descriptor(CONTENT, false, true),
    }),
  'with a descriptor that has no signature': () =>
    withContent({
      told: { flags: DESCRIBED },
      own: { flags: DESCRIBED, crc32: 0, compressed: 0, size: 0 },
      after: descriptor(CONTENT, false, false),
    }),
  'with files in another order than their records': () => {
    const first = alone({ name: 'content', content: CONTENT })
    return rawZip([...REST, { name: 'content', content: CONTENT, at: 0 }], { front: first })
  },
}

describe('bundles are taken', () => {
  it.each(Object.keys(GOOD))('%s', async (name) => {
    const archive = await GOOD[name]?.()
    expect(await taken(archive ?? Buffer.of())).toEqual(RIGHT)
  })

  /** Writes the files to a folder, and runs a program there that makes `bundle.zip` of them. */
  async function packed(program: string, args: readonly string[]): Promise<Buffer> {
    const source = join(folder, 'source')
    for (const { name, content } of FILES) {
      await mkdir(dirname(join(source, name)), { recursive: true })
      await writeFile(join(source, name), content)
    }
    await run(program, [...args], { cwd: source })
    return readFile(join(folder, 'bundle.zip'))
  }

  it
    .skipIf(!hasZip)
    .each([
      'zip -q -r ../bundle.zip .',
      'zip -q -0 -X -D -r ../bundle.zip .',
      'zip -q -9 -r - . | cat > ../bundle.zip',
      'zip -q -fz -r ../bundle.zip .',
      'zip -q -r ../bundle.zip . && zip -q -d ../bundle.zip raw_meta.json && zip -q ../bundle.zip raw_meta.json',
      'zip -q -9 -r - . | cat > ../bundle.zip && echo note | zip -q -z ../bundle.zip',
    ])('of `%s`', async (commands) => {
    expect(await taken(await packed('sh', ['-e', '-c', commands]))).toEqual(RIGHT)
  })

  it
    .skipIf(!hasPython)
    .each([
      'z.write(n)',
      'z.write(n, compress_type=zipfile.ZIP_DEFLATED)',
      "z.open(n, 'w', force_zip64=True).write(open(n, 'rb').read())",
    ])('of Python: %s', async (line) => {
    for (const output of ["'../bundle.zip'", 'Pipe()']) {
      const script = `
import io, os, zipfile
class Pipe(io.RawIOBase):
    def __init__(self): self.to = open('../bundle.zip', 'wb')
    def writable(self): return True
    def write(self, data): return self.to.write(data)
    def flush(self): self.to.flush()
with zipfile.ZipFile(${output}, 'w') as z:
    for n in ${JSON.stringify(FILES.map(({ name }) => name))}:
        ${line}
`
      expect(await taken(await packed('python3', ['-c', script]))).toEqual(RIGHT)
    }
  })
})

/** What Python's zipfile has in each archive of a folder: digests by name, or null for an error. */
const PYTHON = `
import hashlib, json, os, sys, zipfile
found = {}
for file in os.listdir(sys.argv[1]):
    try:
        with zipfile.ZipFile(os.path.join(sys.argv[1], file)) as z:
            found[file] = {n: 'sha512:' + hashlib.sha512(z.read(n)).hexdigest() for n in z.namelist()}
    except Exception:
        found[file] = None
print(json.dumps(found))
`

/** What `unzip` makes of an archive: digests by name; undefined when it complains. */
async function unzipped(archive: string): Promise<Map<string, string> | undefined> {
  const to = join(folder, 'unzipped')
  try {
    await run('unzip', ['-q', '-o', archive, '-d', to])
    return new Map((await filesIn(to)).map(({ name, content }) => [name, digestOf(content)]))
  } catch {
    return undefined
  } finally {
    await rm(to, { recursive: true, force: true })
  }
}

describe('whatever is taken', () => {
  const NUMBERS = [0, 1, 7, 8, 9, 14, 22, 46, 0x800, 0x808, 0xffff, ALL_ONES]
  const edits = fc.array(
    fc.record({
      at: fc.nat(),
      width: fc.constantFrom(1, 2, 4),
      value: fc.oneof(fc.constantFrom(...NUMBERS), fc.nat(1000)),
    }),
    { minLength: 1, maxLength: 2 },
  )

  it.skipIf(!hasUnzip && !hasPython)('has the same bytes for other programs', async () => {
    const short = ({ length }: Buffer): boolean => length < 5000
    const good = (await Promise.all(Object.values(GOOD).map((make) => make()))).filter(short)
    const bases = fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(...good) },
      { weight: 1, arbitrary: fc.constantFrom(...TRICKS.map(([, bad]) => bad).filter(short)) },
    )
    const archives = join(folder, 'archives')
    await mkdir(archives)
    const ours = new Map<string, ReadonlyMap<string, string>>()
    const look = async (bytes: Buffer): Promise<void> => {
      const found = await taken(bytes).catch((error: unknown) => {
        if (!(error instanceof BundleError)) throw error
      })
      if (found === undefined) return
      const name = `${ours.size}.zip`
      ours.set(name, found)
      await writeFile(join(archives, name), bytes)
    }
    for (const bytes of good) await look(bytes)
    await fc.assert(
      fc.asyncProperty(bases, edits, async (base, list) => {
        const bytes = Buffer.from(base)
        for (const { at, width, value } of list) {
          bytes.writeUIntLE(value % 256 ** width, at % (bytes.length - width), width)
        }
        await look(bytes)
      }),
      { numRuns: 600 },
    )

    let compared = 0
    const compare = (archive: string, theirs: ReadonlyMap<string, string> | undefined): void => {
      const mine = ours.get(archive)
      // They may leave out a file, such as one that is the label of a disk, but not have another.
      for (const [name, digest] of theirs ?? []) {
        if (!RIGHT.has(name)) continue
        expect([archive, name, digest]).toEqual([archive, name, mine?.get(name)])
        compared += 1
      }
    }
    if (hasPython) {
      const { stdout } = await run('python3', ['-c', PYTHON, archives])
      const found: Readonly<Record<string, Record<string, string> | null>> = JSON.parse(stdout)
      for (const [archive, files] of Object.entries(found)) {
        compare(archive, new Map(Object.entries(files ?? {})))
      }
    }
    if (hasUnzip) {
      for (const archive of ours.keys()) compare(archive, await unzipped(join(archives, archive)))
    }
    expect(compared).toBeGreaterThan(good.length * FILES.length)
  })
})
