/** The flow of resumable uploads and the locks, with the real files. */

import { randomUUID } from 'node:crypto'
import {
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BytesError } from '../../src/domain/errors.js'
import type { UploadStore } from '../../src/domain/resumable-upload.js'
import { Exclusive } from '../../src/flows/exclusive.js'
import { createResumableUploads, type ResumablePorts } from '../../src/flows/resumable.js'
import { UploadCipher } from '../../src/raw/upload-cipher.js'
import { openUploadStore } from '../../src/raw/upload-store.js'
import { silentLog } from '../support/postgres.js'

const CIPHER = new UploadCipher('a secret of the tests')
const HOUR = 60 * 60 * 1000
const JOB = randomUUID()
const RAW = randomUUID()

let dataDir: string
let store: UploadStore

/** @param ciphered whether it writes new uploads with its cipher */
const openStore = (ciphered: boolean): Promise<UploadStore> =>
  openUploadStore({
    dataDir,
    folderPermission: 0o750,
    filePermission: 0o604,
    reserveBytes: 0,
    cipher: CIPHER,
    ciphered,
  })

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'bytes-test-uploads-'))
  store = await openStore(false)
})

afterEach(() => rm(dataDir, { recursive: true, force: true }))

const fileOf = (id: string, kind: string): string => join(dataDir, 'uploads', `${id}.${kind}`)

async function create(size: number): Promise<string> {
  const id = randomUUID()
  await store.create({
    id,
    size,
    boefjeMetaId: JOB,
    name: 'n',
    tags: ['a/b'],
    metadata: 'm',
    reprDigest: null,
  })
  return id
}

async function contentOf(id: string, size?: number): Promise<Buffer> {
  const found = await store.find(id)
  const upload = found && size !== undefined ? { ...found, size } : found
  const pieces: Uint8Array[] = []
  if (upload) for await (const piece of store.read(upload)) pieces.push(piece)
  return Buffer.concat(pieces)
}

const asIs = <T>(content: T): T => content

class Broken extends Error {}

/** Pieces, and then an error if it is to break. */
async function* chunk(pieces: readonly Uint8Array[], breaks = false): AsyncGenerator<Uint8Array> {
  yield* pieces
  if (breaks) throw new Broken()
}

describe('the store', () => {
  it('keeps what counts, whatever becomes of the chunks', async () => {
    const step = fc.record({
      pieces: fc.array(fc.uint8Array({ minLength: 1, maxLength: 20 }), { maxLength: 4 }),
      end: fc.constantFrom('whole', 'breaks', 'confirmed', 'refused', 'checked breaks'),
      reopened: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 6 }), async (steps) => {
        const id = await create(1000)
        let expected = Buffer.alloc(0)
        for (const { pieces, end, reopened } of steps) {
          const breaks = end.endsWith('breaks')
          const confirm = () => {
            if (end === 'refused') throw new Broken()
          }
          const given = ['whole', 'breaks'].includes(end) ? undefined : confirm
          const added = store.append(id, expected.length, chunk(pieces, breaks), given)
          const counts = end !== 'refused' && end !== 'checked breaks'
          if (counts) expected = Buffer.concat([expected, ...pieces])
          if (breaks || end === 'refused') await expect(added).rejects.toThrow(Broken)
          else expect(await added).toBe(expected.length)
          if (reopened) {
            store = await openStore(true)
          }
          expect((await store.find(id))?.offset).toBe(expected.length)
        }
        const stored = await readFile(fileOf(id, 'data'))
        // After it was reopened the store writes new uploads with its cipher.
        const { cipherId, streams } = JSON.parse(await readFile(fileOf(id, 'json'), 'utf8'))
        expect(cipherId === null ? stored : CIPHER.at(id, streams, 0)(stored)).toEqual(expected)
        expect(await contentOf(id, expected.length)).toEqual(expected)
      }),
      { numRuns: 50 },
    )
  })

  it('counts nothing of a chunk that a crash came before the confirmation of', async () => {
    const id = await create(6)
    await store.append(id, 0, chunk([Buffer.from('ab')]))
    const crashed = randomUUID()
    async function* crashing(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('XX')
      // What is on the disk now is what a crash would leave.
      for (const kind of ['data', 'json']) await copyFile(fileOf(id, kind), fileOf(crashed, kind))
      yield Buffer.from('XX')
    }
    await store.append(id, 2, crashing(), () => undefined)
    expect((await contentOf(id)).toString()).toBe('abXXXX')

    expect((await stat(fileOf(crashed, 'data'))).size).toBe(4)
    expect((await store.find(crashed))?.offset).toBe(2)
    await store.append(crashed, 2, chunk([Buffer.from('c')]))
    expect((await store.find(crashed))?.offset).toBe(3)
    await store.append(crashed, 3, chunk([Buffer.from('def')]), () => undefined)
    expect((await contentOf(crashed)).toString()).toBe('abcdef')
  })

  it.each([
    ['is refused', false],
    ['a crash leaves', true],
  ])('enciphers what takes the place of a chunk that %s by another key', async (_, crash) => {
    store = await openStore(true)
    const id = await create(90)
    await store.append(id, 0, chunk([Buffer.alloc(30)]))
    const seen: Buffer[] = []
    const crashed = randomUUID()
    async function* watched(): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(60)
      seen.push(await readFile(fileOf(id, 'data')))
      for (const kind of ['data', 'json']) await copyFile(fileOf(id, kind), fileOf(crashed, kind))
    }
    const refuse = () => {
      throw new Broken()
    }
    await expect(store.append(id, 30, watched(), refuse)).rejects.toThrow(Broken)
    if (crash) {
      for (const kind of ['data', 'json']) await copyFile(fileOf(crashed, kind), fileOf(id, kind))
    }
    await store.append(id, 30, chunk([Buffer.alloc(60)]))
    seen.push(await readFile(fileOf(id, 'data')))
    const [first, second] = seen.map((stored) => [
      stored.toString('hex', 0, 30),
      stored.toString('hex', 30),
    ])
    expect(second?.[0]).toBe(first?.[0])
    expect(second?.[1]).not.toBe(first?.[1])
    expect(await contentOf(id)).toEqual(Buffer.alloc(90))
  })

  it('reads large content whole, and tells when it is cut short', async () => {
    const content = Buffer.alloc(700_000, 'abcdefg')
    const id = await create(content.length)
    await store.append(id, 0, chunk([content]))
    expect((await contentOf(id)).equals(content)).toBe(true)
    await writeFile(fileOf(id, 'data'), 'short')
    await expect(contentOf(id)).rejects.toThrow('cut short')
  })

  it('gives files and folders their modes, and makes the folder again', async () => {
    const id = await create(1)
    for (const kind of ['data', 'json']) {
      expect((await stat(fileOf(id, kind))).mode & 0o777).toBe(0o604)
    }
    const folder = join(dataDir, 'uploads')
    expect((await stat(folder)).mode & 0o777).toBe(0o750)
    await rm(folder, { recursive: true })
    expect(await store.list()).toEqual([])
    expect(await store.find(id)).toBeUndefined()
    await create(1)
    expect((await store.list()).length).toBe(1)
  })

  it('leaves nothing of what is removed', async () => {
    const id = await create(3)
    await store.append(id, 0, chunk([Buffer.from('abc')]), () => undefined)
    expect(await store.remove(id)).toBe(true)
    expect(await store.remove(id)).toBe(false)
    expect(await readdir(join(dataDir, 'uploads'))).toEqual([])
  })
})

describe('the flow', () => {
  const flow = (ports: Partial<ResumablePorts> = {}, unfinished = 100) =>
    createResumableUploads(
      {
        store,
        jobExists: async () => true,
        ensureRoom: async () => undefined,
        ingestFile: async () => RAW,
        log: silentLog,
        ...ports,
      },
      { lifetimeMs: 24 * HOUR, unfinished },
    )

  it('creates nothing without a job or room', async () => {
    const upload = {
      id: randomUUID(),
      size: 5,
      boefjeMetaId: JOB,
      name: '',
      tags: [],
      metadata: '',
      reprDigest: null,
    }
    const jobless = flow({ jobExists: async () => false })
    await expect(jobless.create(upload)).rejects.toMatchObject({ code: 'boefje_meta_not_found' })
    const full = flow({
      ensureRoom: async (bytes) => {
        throw new BytesError('storage_full', `${bytes}`)
      },
    })
    await expect(full.create(upload)).rejects.toMatchObject({ code: 'storage_full', message: '10' })
    expect(await store.list()).toEqual([])
  })

  it('finishes once at a time, and again only after a failure', async () => {
    let calls = 0
    const uploads = flow({
      ingestFile: async (job, { name, tags, content }) => {
        calls++
        expect([job, name, tags]).toEqual([JOB, 'n', ['a/b']])
        if (calls === 1) throw new BytesError('database_unavailable', 'away')
        const pieces: Uint8Array[] = []
        for await (const piece of content) pieces.push(piece)
        expect(Buffer.concat(pieces).toString()).toBe('abc')
        return RAW
      },
    })
    const id = await create(3)
    await store.append(id, 0, chunk([Buffer.from('abc')]))
    const failed = await Promise.allSettled([uploads.finish(id, asIs), uploads.finish(id, asIs)])
    expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    expect(calls).toBe(1)
    expect(await Promise.all([uploads.finish(id, asIs), uploads.finish(id, asIs)])).toEqual([
      RAW,
      RAW,
    ])
    expect(calls).toBe(2)
    expect(await uploads.finish(id, asIs)).toBe(RAW)
    expect(calls).toBe(2)
    expect(await readdir(join(dataDir, 'uploads'))).toEqual([`${id}.json`])
    expect(await uploads.finish(randomUUID(), asIs)).toBeUndefined()
  })

  it('waits with a removal until an ingest under way has ended', async () => {
    let end: (id: string) => void = () => undefined
    const ended = new Promise<string>((resolve) => {
      end = resolve
    })
    let begun: () => void = () => undefined
    const beginning = new Promise<void>((resolve) => {
      begun = resolve
    })
    const uploads = flow({
      ingestFile: () => {
        begun()
        return ended
      },
    })
    const id = await create(0)
    const finished = uploads.finish(id, asIs)
    const removed = uploads.remove(id)
    await beginning
    expect(await store.find(id)).toBeDefined()
    end(RAW)
    expect([await finished, await removed]).toEqual([RAW, true])
    expect(await store.find(id)).toBeUndefined()
  })

  it('counts what is unfinished once for all that begin at one moment', async () => {
    let counts = 0
    const countUnfinished = async (): Promise<number> => {
      counts++
      return store.countUnfinished()
    }
    const uploads = flow({ store: { ...store, countUnfinished } }, 20)
    const rest = { boefjeMetaId: JOB, name: '', tags: [], metadata: '', reprDigest: null }
    const ids = Array.from({ length: 20 }, () => randomUUID())
    await Promise.all(ids.map((id) => uploads.create({ id, size: 0, ...rest })))
    expect((await store.list()).map(({ id }) => id).toSorted()).toEqual(ids.toSorted())
    expect(counts).toBe(1)
  })

  it('creates no more than there may be unfinished', async () => {
    const uploads = flow({}, 2)
    const start = async (): Promise<string> => {
      const id = randomUUID()
      const rest = { boefjeMetaId: JOB, name: '', tags: [], metadata: '', reprDigest: null }
      await uploads.create({ id, size: 0, ...rest })
      return id
    }
    const refused = expect.objectContaining({
      code: 'busy',
      message: expect.stringContaining('BYTES_MAX_RESUMABLE_UPLOADS'),
    })
    // One is there from before.
    await create(3)
    const first = await start()
    await expect(start()).rejects.toEqual(refused)
    expect(await store.countUnfinished()).toBe(2)
    // What is finished or gone makes room at once.
    expect(await uploads.finish(first, asIs)).toBe(RAW)
    const second = await start()
    await expect(start()).rejects.toEqual(refused)
    expect(await uploads.remove(second)).toBe(true)
    await start()
    await expect(start()).rejects.toEqual(refused)
  })

  it('sweeps what has expired, but nothing in use', async () => {
    const uploads = flow()
    const longAgo = new Date(Date.now() - 25 * HOUR)
    const old = async (): Promise<string> => {
      const id = await create(3)
      const record = JSON.parse(await readFile(fileOf(id, 'json'), 'utf8'))
      await writeFile(fileOf(id, 'json'), JSON.stringify({ ...record, createdAt: +longAgo }))
      for (const kind of ['data', 'json']) await utimes(fileOf(id, kind), longAgo, longAgo)
      return id
    }
    const [gone, held, busy] = [await old(), await old(), await old()]
    const young = await create(3)
    await utimes(fileOf(young, 'json'), longAgo, longAgo)
    await utimes(fileOf(young, 'data'), longAgo, longAgo)
    await store.append(busy, 0, chunk([Buffer.from('a')]))
    const release = uploads.locks.tryAcquire(held)

    expect(await uploads.sweep()).toBe(1)
    const left = (await store.list()).map(({ id }) => id)
    expect(left.sort()).toEqual([held, busy, young].sort())
    expect(left).not.toContain(gone)
    release?.()
    expect(await uploads.sweep()).toBe(1)
    expect(await store.find(held)).toBeUndefined()
  })

  it('sweeps the others if one cannot be looked at or removed', async () => {
    const told: unknown[] = []
    const log = { ...silentLog, error: (fields: object) => void told.push(fields) }
    const unreadable = await create(3)
    const stuck = await create(3)
    const gone = await create(3)
    const record = JSON.parse(await readFile(fileOf(gone, 'json'), 'utf8'))
    await writeFile(fileOf(gone, 'json'), JSON.stringify({ ...record, createdAt: 0 }))
    // Nor can it be removed like a file.
    await rm(fileOf(stuck, 'json'))
    await mkdir(fileOf(stuck, 'json'))
    for (const id of [unreadable, stuck, gone]) {
      const longAgo = new Date(Date.now() - 25 * HOUR)
      for (const kind of ['data', 'json']) await utimes(fileOf(id, kind), longAgo, longAgo)
    }
    const find: UploadStore['find'] = async (id) => {
      if (id !== gone) throw new BytesError('storage_unavailable', 'EIO')
      return store.find(id)
    }
    expect(await flow({ store: { ...store, find }, log }).sweep()).toBe(2)
    expect(told).toMatchObject([{ upload: stuck }])
    expect((await store.list()).map(({ id }) => id)).toEqual([stuck])
  })
})

describe('Exclusive', () => {
  it('has one holder, who is asked to leave', async () => {
    const locks = new Exclusive()
    const never = new AbortController().signal
    let asked = 0
    const first = locks.tryAcquire('a', () => asked++)
    expect(locks.tryAcquire('a')).toBeUndefined()
    expect(locks.tryAcquire('b')).toBeDefined()
    const order: number[] = []
    const waiting = [1, 2].map(async (n) => {
      const release = await locks.acquire('a', () => undefined, never)
      order.push(n)
      release?.()
    })
    expect([asked, order]).toEqual([2, []])
    first?.()
    await Promise.all(waiting)
    expect(order).toEqual([1, 2])
    expect(locks.tryAcquire('a')).toBeDefined()
  })

  it('is let go of by its holder only', () => {
    const locks = new Exclusive()
    const first = locks.tryAcquire('a')
    first?.()
    const second = locks.tryAcquire('a')
    first?.()
    expect(locks.tryAcquire('a')).toBeUndefined()
    second?.()
    expect(locks.tryAcquire('a')).toBeDefined()
  })

  it('waits no longer than it should', async () => {
    const locks = new Exclusive()
    const stop = new AbortController()
    locks.tryAcquire('a')
    const waiting = locks.acquire('a', () => undefined, stop.signal)
    stop.abort()
    expect(await waiting).toBeUndefined()
    expect(await locks.acquire('b', () => undefined, stop.signal)).toBeUndefined()
    expect(locks.tryAcquire('b')).toBeDefined()
  })
})
