import { execFileSync, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { readdirSync, readlinkSync } from 'node:fs'
import {
  chmod,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  realpath,
  rm,
  stat,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type {
  BlobLocation,
  ByteSource,
  FileMiddleware,
  RawRepository,
} from '../../src/domain/ports.js'
import { blobFolder, organizationFolder } from '../../src/raw/blob-path.js'
import { openDiskRepository } from '../../src/raw/disk-repository.js'
import { identity } from '../../src/raw/middleware/identity.js'
import { createKeyRing, generateKeyPair } from '../../src/raw/middleware/sealed-box/keys.js'
import { createSealedBox } from '../../src/raw/middleware/sealed-box/sealed-box.js'
import {
  collect,
  digestOf,
  put,
  type RawRepositorySetup,
  rawRepositoryContract,
} from '../contracts/raw-repository.contract.js'
import { PATIENCE } from '../support/patience.js'

const root = process.geteuid?.() === 0
const linux = process.platform === 'linux'
const MODULES = fileURLToPath(new URL('../../build/raw', import.meta.url))

let scratch: string
let dataDir: string
let umask: number

beforeEach(async () => {
  scratch = await realpath(await mkdtemp(join(tmpdir(), 'bytes-test-disk-')))
  dataDir = join(scratch, 'data')
  umask = process.umask()
})

afterEach(async () => {
  process.umask(umask)
  await chmod(scratch, 0o700)
  await rm(scratch, { recursive: true, force: true })
})

function openRepository(middleware: FileMiddleware = identity): Promise<RawRepository> {
  return openDiskRepository({
    dataDir,
    folderPermission: 0o740,
    filePermission: 0o640,
    reserveBytes: 0,
    middleware,
    readers: [middleware],
  })
}

const pathOf = (blob: BlobLocation): string =>
  join(dataDir, blobFolder(blob.organization, blob.address), blob.address)

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort()
}

const modeOf = async (path: string): Promise<string> =>
  ((await stat(path)).mode & 0o7777).toString(8)

/** A repository on disk, for the contract. */
async function setUp(middleware: FileMiddleware, repeatable: boolean): Promise<RawRepositorySetup> {
  return {
    repository: await openRepository(middleware),
    middleware,
    repeatable,
    read: (blob) => readFile(pathOf(blob)),
    overwrite: (blob, stored) => writeFile(pathOf(blob), stored),
    remove: (blob) => rm(pathOf(blob)),
    count: async () => (await filesBelow(dataDir)).length,
    dispose: async () => {},
  }
}

rawRepositoryContract('disk', () => setUp(identity, true))

async function* turned(plain: ByteSource): AsyncGenerator<Uint8Array> {
  for await (const piece of plain) yield piece.map((byte) => byte ^ 0xff)
  yield Buffer.from('end')
}

/** Not transparent: the stored bytes are the content with every bit turned. */
const inverted: FileMiddleware = {
  name: 'IDENTITY',
  transparent: false,
  authenticated: false,
  presumesKey: () => false,
  encode: (plain) => ({ stored: turned(plain), sealedKey: null }),
  async *decode(stored, { start, end }) {
    for await (const piece of stored.read(start, end)) yield piece.map((byte) => byte ^ 0xff)
  },
}

rawRepositoryContract('disk with another middleware', () => setUp(inverted, true))

rawRepositoryContract('disk with sealed boxes', () =>
  setUp(createSealedBox(createKeyRing(generateKeyPair())), false),
)

it.each([
  ['shorter', 3_000_000],
  ['longer', 5_000_000],
])('a blob that becomes %s while it is read is damaged', async (_, size) => {
  const repository = await openRepository()
  const blob = await put(repository, 'org', Buffer.alloc(4_000_000, 'x'))
  const pieces = (await repository.get(blob))[Symbol.asyncIterator]()
  await pieces.next()
  await truncate(pathOf(blob), size)
  const rest = (async () => {
    while (!(await pieces.next()).done);
  })()
  await expect(rest).rejects.toMatchObject({ code: 'blob_damaged' })
})

describe('folders of organizations', () => {
  // Whole code points, as the protocol lets no halves of surrogate pairs in.
  const organization = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.string({ unit: 'binary-ascii', maxLength: 6 }),
    fc.string({ unit: fc.constantFrom('%', '2', 'E', 'e', '.', '/', 'a', 'A'), maxLength: 5 }),
  )

  it('are different for different names, whatever the case', () => {
    fc.assert(
      fc.property(organization, organization, (a, b) => {
        const same = organizationFolder(a).toLowerCase() === organizationFolder(b).toLowerCase()
        expect(same).toBe(a === b)
      }),
      { numRuns: 5_000 },
    )
  })

  it('are one plain name each', () => {
    fc.assert(
      fc.property(organization, (name) => {
        const folder = organizationFolder(name)
        expect(folder).toMatch(/^[a-zA-Z0-9_%-]{1,200}$/)
        expect(basename(join('/x', folder))).toBe(folder)
      }),
      { numRuns: 2_000 },
    )
  })

  it.each([
    ['', '%'],
    ['..', '%2E%2E'],
    ['../x', '%2E%2E%2Fx'],
    ['Org', '%4Frg'],
    ['org_1-2', 'org_1-2'],
    ['%', '%25'],
    ['é', '%C3%A9'],
    ['💾'.repeat(16), '%F0%9F%92%BE'.repeat(16)],
  ])('%j is %s', (name, folder) => {
    expect(organizationFolder(name)).toBe(folder)
  })

  it('stay inside the data directory', async () => {
    const repository = await openRepository()
    for (const name of [
      '../x',
      '..',
      '',
      '../../../x',
      '/etc',
      '💾'.repeat(32),
      '.',
      'a/../../b',
    ]) {
      await put(repository, name, 'content')
    }
    expect(await readdir(scratch)).toEqual(['data'])
    expect((await readdir(dataDir)).sort()).toEqual(['blobs', 'tmp'])
    expect(await readdir(join(dataDir, 'blobs'))).toEqual(['v1'])
    expect((await readdir(join(dataDir, 'blobs', 'v1'))).length).toBe(8)
  })

  it('and files are where a checker finds them: blobs/v1/<organization>/<2>/<sha512>', async () => {
    const repository = await openRepository()
    const blob = await put(repository, 'org', 'content')
    const digest = digestOf(Buffer.from('content')).slice('sha512:'.length)
    const path = `blobs/v1/org/${digest.slice(0, 2)}/${digest}`
    expect(await filesBelow(dataDir)).toEqual([path])
    expect(blob.address).toBe(digest)
  })
})

describe('permissions', () => {
  it.each([0o000, 0o022, 0o077, 0o777])('are as set under umask %o', async (mask) => {
    process.umask(mask)
    const repository = await openRepository()
    const blob = await put(repository, 'org', 'content')
    process.umask(umask)
    expect(await modeOf(pathOf(blob))).toBe('640')
    for (let folder = dirname(pathOf(blob)); folder !== scratch; folder = dirname(folder)) {
      expect(await modeOf(folder), folder).toBe('740')
    }
    expect(await modeOf(join(dataDir, 'tmp'))).toBe('740')
  })

  it('of the directories above the data directory are as set', async () => {
    dataDir = join(scratch, 'deep', 'down', 'data')
    process.umask(0o777)
    await openRepository()
    process.umask(umask)
    expect(await modeOf(join(scratch, 'deep'))).toBe('740')
    expect(await modeOf(join(scratch, 'deep', 'down'))).toBe('740')
  })

  it('of what was there already stay as they are', async () => {
    await mkdir(dataDir, { mode: 0o700 })
    await chmod(dataDir, 0o705)
    await openRepository()
    expect(await modeOf(dataDir)).toBe('705')
  })
})

describe('temporary files', () => {
  it('that are abandoned go, and a folder among them stays', async () => {
    const old = new Date(Date.now() - 2 * 60 * 60 * 1000)
    const temporary = join(dataDir, 'tmp')
    await mkdir(join(temporary, 'folder'), { recursive: true })
    for (const name of ['abandoned', 'folder/file', 'zz'])
      await writeFile(join(temporary, name), 'x')
    for (const name of ['abandoned', 'folder/file', 'zz', 'folder'])
      await utimes(join(temporary, name), old, old)
    await openRepository()
    expect(await filesBelow(temporary)).toEqual(['folder/file'])
  })

  it('that are abandoned go when the repository is opened, the others stay', async () => {
    const temporary = join(dataDir, 'tmp')
    await mkdir(temporary, { recursive: true })
    const old = new Date(Date.now() - 61 * 60 * 1000)
    await writeFile(join(temporary, 'abandoned'), 'x')
    await utimes(join(temporary, 'abandoned'), old, old)
    await writeFile(join(temporary, 'fresh'), 'x')
    await openRepository()
    expect(await readdir(temporary)).toEqual(['fresh'])
  })

  it('are gone after uploads that succeed and uploads that fail', async () => {
    const repository = await openRepository()
    async function* failing() {
      yield Buffer.from('x')
      expect(await readdir(join(dataDir, 'tmp'))).toHaveLength(1)
      throw new Error('over')
    }
    await put(repository, 'org', 'content')
    await expect(put(repository, 'org', '', failing())).rejects.toThrow('over')
    await repository.check()
    expect(await readdir(join(dataDir, 'tmp'))).toEqual([])
  })

  it('are gone when the file cannot get its name', async () => {
    const repository = await openRepository()
    const blob = await put(repository, 'org', 'content')
    await rm(dirname(pathOf(blob)), { recursive: true })
    await writeFile(dirname(pathOf(blob)), 'a file in the place of the folder')
    await expect(put(repository, 'org', 'content')).rejects.toMatchObject({
      code: 'storage_unavailable',
    })
    expect(await readdir(join(dataDir, 'tmp'))).toEqual([])
  })
})

describe('folders that somebody removed', () => {
  it.each(['blobs/v1/org', 'blobs', 'tmp', 'tmp and blobs'])('heal: %s', async (what) => {
    const repository = await openRepository()
    const blob = await put(repository, 'org', 'content')
    for (const folder of what.split(' and ')) await rm(join(dataDir, folder), { recursive: true })
    const again = await Promise.all(
      Array.from({ length: 10 }, () => put(repository, 'org', 'content')),
    )
    expect(new Set(again.map((each) => each.address))).toEqual(new Set([blob.address]))
    expect((await collect(await repository.get(blob))).toString()).toBe('content')
    await repository.check()
  })

  it('do not when it is the data directory: a volume may have been unmounted', async () => {
    const repository = await openRepository()
    await rm(dataDir, { recursive: true })
    const unavailable = { code: 'storage_unavailable' }
    await expect(put(repository, 'org', 'content')).rejects.toMatchObject(unavailable)
    await expect(repository.check()).rejects.toMatchObject(unavailable)
    expect(await readdir(scratch)).toEqual([])
  })
})

describe('opening', () => {
  it('fails when the data directory is a file', async () => {
    await writeFile(dataDir, '')
    await expect(openRepository()).rejects.toMatchObject({ code: 'storage_unavailable' })
  })

  it.skipIf(root)('fails when it cannot be made', async () => {
    await chmod(scratch, 0o500)
    await expect(openRepository()).rejects.toMatchObject({ code: 'storage_unavailable' })
  })
})

describe('check', () => {
  it('tells the free bytes of the file system', async () => {
    const repository = await openRepository()
    const told = (await repository.check()).freeBytes
    const kilobytes = execFileSync('df', ['-Pk', dataDir], { encoding: 'utf8' })
    const found = Number(kilobytes.split('\n')[1]?.split(/\s+/)[3]) * 1024
    expect(Math.abs(told - found)).toBeLessThan(2 ** 30)
  })

  it('fails when no file can be written', async () => {
    const repository = await openRepository()
    // A file in the place of the folder stops root too, unlike permissions.
    await rm(join(dataDir, 'tmp'), { recursive: true })
    await writeFile(join(dataDir, 'tmp'), '')
    await expect(repository.check()).rejects.toMatchObject({ code: 'storage_unavailable' })
  })
})

describe.runIf(linux)('open files', () => {
  const openFiles = (): string[] =>
    readdirSync('/proc/self/fd').flatMap((fd) => {
      try {
        const path = readlinkSync(`/proc/self/fd/${fd}`)
        return path.startsWith(dataDir) ? [path] : []
      } catch {
        return []
      }
    })
  const content = Buffer.alloc(1_000_000, 'x')

  it('are closed when a reader stops before the first piece, in the middle or at the end', async () => {
    const repository = await openRepository()
    const blob = await put(repository, 'org', content)
    const unread = (await repository.get(blob))[Symbol.asyncIterator]()
    expect(openFiles()).toHaveLength(1)
    await unread.return?.()
    expect(openFiles()).toEqual([])

    for await (const piece of await repository.get(blob)) {
      expect(piece.length).toBeGreaterThan(0)
      break
    }
    expect(openFiles()).toEqual([])

    await collect(await repository.get(blob))
    await vi.waitFor(() => expect(openFiles()).toEqual([]), PATIENCE)

    await ReadableStream.from(await repository.get(blob)).cancel()
    expect(openFiles()).toEqual([])
  })

  it('are closed when an upload or a read fails', async () => {
    const repository = await openRepository()
    async function* failing() {
      yield content
      throw new Error('over')
    }
    await expect(put(repository, 'org', '', failing())).rejects.toThrow('over')
    const blob = await put(repository, 'org', content)
    await writeFile(pathOf(blob), 'short')
    await expect(repository.get(blob)).rejects.toMatchObject({ code: 'blob_damaged' })
    expect(openFiles()).toEqual([])
    await writeFile(pathOf(blob), Buffer.alloc(content.length, 'y'))
    await expect(collect(await repository.get(blob))).rejects.toMatchObject({
      code: 'blob_damaged',
    })
    expect(openFiles()).toEqual([])
  })

  it('are closed when a reader stops while a piece is on its way', async () => {
    const repository = await openRepository()
    const blob = await put(repository, 'org', Buffer.alloc(4_000_000, 'x'))
    const pieces = (await repository.get(blob))[Symbol.asyncIterator]()
    await pieces.next()
    const [next] = await Promise.all([pieces.next(), pieces.return?.()])
    expect(next.done).toBe(false)
    expect(openFiles()).toEqual([])
    expect(await pieces.next()).toMatchObject({ done: true })
  })

  it('are closed when the disk fails before the first piece', async () => {
    const repository = await openRepository()
    const blob = await put(repository, 'org', content)
    const handle = await open(pathOf(blob))
    await handle.close()
    const failure = Object.assign(new Error('EIO'), { code: 'EIO', syscall: 'fstat' })
    vi.spyOn(Object.getPrototypeOf(handle), 'stat').mockRejectedValueOnce(failure)
    await expect(repository.get(blob)).rejects.toMatchObject({ code: 'storage_unavailable' })
    expect(openFiles()).toEqual([])
  })
})

/** A program that opens a repository and does something with it. */
const program = (action: string): string => `
  import { openDiskRepository } from ${JSON.stringify(join(MODULES, 'disk-repository.js'))}
  import { identity } from ${JSON.stringify(join(MODULES, 'middleware/identity.js'))}
  const repository = await openDiskRepository({
    dataDir: ${JSON.stringify(dataDir)}, folderPermission: 0o740, filePermission: 0o640,
    reserveBytes: 0, middleware: identity, readers: [identity],
  })
  ${action}
`
/** A program that puts one content of `size` bytes. */
const putting = (size: number): string =>
  program(`
  const put = async () => {
    const staged = await repository.stage([Buffer.alloc(${size})], () => 'sha512:ab' + '0'.repeat(126))
    return repository.publish('org', [staged])
  }
  await put().then(() => console.log('stored'), (error) => console.log(error.code))`)

describe.runIf(linux)('a full disk', () => {
  it('is told as such, and leaves no file', () => {
    const run = (size: number) =>
      // A limit on the size of files: the kernel answers EFBIG where a full disk gives ENOSPC.
      spawnSync(
        'prlimit',
        ['--fsize=65536', process.execPath, '--input-type=module', '-e', putting(size)],
        { encoding: 'utf8' },
      ).stdout.trim()
    expect(run(1_000)).toBe('stored')
    expect(run(1_000_000)).toBe('storage_full')
    expect(readdirSync(join(dataDir, 'tmp'))).toEqual([])
  })

  it('is not waited for: a reserve stays free', async () => {
    const probe = await openRepository()
    const { freeBytes } = await probe.check()
    const repository = await openDiskRepository({
      dataDir,
      folderPermission: 0o740,
      filePermission: 0o640,
      reserveBytes: freeBytes * 2,
      middleware: identity,
      readers: [identity],
    })
    const full = { code: 'storage_full', message: expect.stringContaining('are kept free') }
    await expect(put(repository, 'org', 'content')).rejects.toMatchObject(full)
    await expect(repository.ensureRoom(1)).rejects.toMatchObject(full)
    await expect(repository.check()).rejects.toMatchObject(full)
    expect(await filesBelow(dataDir)).toEqual([])
  })

  it('fails the check, though an empty file could still be made', async () => {
    const check = program(
      `await repository.check().then(() => console.log('fine'), (error) => console.log(error.code))`,
    )
    const run = (limit: number) =>
      spawnSync(
        'prlimit',
        [`--fsize=${limit}`, process.execPath, '--input-type=module', '-e', check],
        { encoding: 'utf8' },
      ).stdout.trim()
    expect([run(1_000), run(0)]).toEqual(['fine', 'storage_full'])
    expect(readdirSync(join(dataDir, 'tmp'))).toEqual([])
  })

  it('of a few kilobytes', async ({ skip }) => {
    await mkdir(dataDir)
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'none', dataDir])
    if (mounted.status !== 0) skip('no file system may be mounted here')
    try {
      const repository = await openRepository()
      const blob = await put(repository, 'org', Buffer.alloc(50_000, 'a'))
      await expect(put(repository, 'org', Buffer.alloc(200_000, 'b'))).rejects.toMatchObject({
        code: 'storage_full',
        message: expect.stringContaining('there is no space left in storage'),
      })
      expect(await readdir(join(dataDir, 'tmp'))).toEqual([])
      expect(await collect(await repository.get(blob))).toHaveLength(50_000)
      await put(repository, 'org', 'a little')
      await repository.check()
      await writeFile(join(dataDir, 'filler'), Buffer.alloc(200_000)).catch(() => undefined)
      await expect(repository.check()).rejects.toMatchObject({ code: 'storage_full' })
    } finally {
      spawnSync('umount', ['-l', dataDir])
    }
  })
})

const strace = linux && spawnSync('strace', ['-f', '-o', '/dev/null', 'true']).status === 0
if (linux && !strace) console.warn('strace is missing: the order of fsync calls is not tested')

describe.runIf(strace)('the system calls of an upload', () => {
  interface Call {
    readonly name: string
    readonly paths: readonly string[]
    /** Lines at which it began and had ended. */
    readonly began: number
    ended: number
  }

  /** What `strace` has seen, in order; calls that failed are left out. */
  async function trace(): Promise<Call[]> {
    const log = join(scratch, 'trace')
    const names =
      'trace=fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,write,writev,pwrite64'
    const args = ['-f', '-y', '-s', '0', '-e', names, '-o', log, process.execPath]
    const result = spawnSync('strace', [...args, '--input-type=module', '-e', putting(300_000)], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, UV_USE_IO_URING: '0' },
    })
    expect(result.stdout.trim()).toBe('stored')
    const calls: Call[] = []
    const unfinished = new Map<string, Call>()
    for (const [at, line] of (await readFile(log, 'utf8')).split('\n').entries()) {
      const [, pid = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
      const resumed = /^<\.\.\. \w+ resumed>/.test(rest)
      const call = resumed ? unfinished.get(pid) : toCall(rest, at)
      if (!call) continue
      if (/<unfinished \.\.\.>$/.test(rest)) {
        unfinished.set(pid, call)
        calls.push(call)
        continue
      }
      const failed = / = -1 /.test(rest)
      call.ended = failed ? Number.NaN : at
      if (!resumed) calls.push(call)
    }
    return calls.filter((call) => !Number.isNaN(call.ended))
  }

  function toCall(text: string, at: number): Call | undefined {
    const name = /^(\w+)\(/.exec(text)?.[1]
    if (name === undefined) return undefined
    const paths = [...text.matchAll(/<(\/[^>]*)>|"([^"]+)"/g)].map((m) => m[1] ?? m[2] ?? '')
    const ours = paths.filter((path) => resolve(path).startsWith(scratch))
    return ours.length === 0 ? undefined : { name, paths: ours, began: at, ended: Number.NaN }
  }

  it('write, fsync and rename the file, and fsync every new name, in this order', async () => {
    dataDir = join(scratch, 'new', 'data')
    const calls = await trace()
    const syncs = calls.filter((call) => /^f(data)?sync$/.test(call.name))
    const renames = calls.filter((call) => call.name.startsWith('rename'))
    expect(renames).toHaveLength(1)
    const [rename] = renames
    const [from = '', to = ''] = rename?.paths ?? []
    expect(dirname(from)).toBe(join(dataDir, 'tmp'))
    expect(to.startsWith(join(dataDir, 'blobs'))).toBe(true)

    const writes = calls.filter((call) => call.name.includes('write') && call.paths[0] === from)
    const fileSync = syncs.find((call) => call.paths[0] === from)
    expect(writes.length).toBeGreaterThan(0)
    for (const write of writes) expect(write.ended).toBeLessThan(fileSync?.began ?? 0)
    expect(fileSync?.ended).toBeLessThan(rename?.began ?? 0)
    const nameSync = syncs.find(
      (call) => call.paths[0] === dirname(to) && call.began > (rename?.ended ?? 0),
    )
    expect(nameSync, 'the folder is fsynced after the rename').toBeDefined()

    const made = calls.filter((call) => call.name.startsWith('mkdir'))
    const folders = made.map((call) => relative(scratch, call.paths.at(-1) ?? ''))
    expect(folders.sort()).toEqual(
      ['new', 'new/data', 'tmp', 'blobs', 'blobs/v1', 'blobs/v1/org', 'blobs/v1/org/ab']
        .map((path) => (path.startsWith('new') ? path : `new/data/${path}`))
        .sort(),
    )
    for (const call of made) {
      const parent = dirname(call.paths.at(-1) ?? '')
      const synced = syncs.some((sync) => sync.paths[0] === parent && sync.began > call.ended)
      expect(synced, `${parent} is fsynced after the new folder in it`).toBe(true)
    }
  })
})

it('does not read a blob from where another put is writing', async () => {
  const repository = await openRepository()
  const id = randomUUID()
  const address = digestOf(Buffer.from(id)).slice('sha512:'.length)
  const blob = {
    organization: 'org',
    address,
    size: id.length,
    storedSize: id.length,
    middleware: 'IDENTITY',
    sealedKey: null,
  } as const
  async function* slow() {
    yield Buffer.from(id)
    await expect(repository.get(blob)).rejects.toMatchObject({ code: 'blob_missing' })
  }
  await put(repository, 'org', id, slow())
  expect((await collect(await repository.get(blob))).toString()).toBe(id)
})
