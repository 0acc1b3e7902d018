import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type {
  BlobLocation,
  ByteSource,
  FileMiddleware,
  RawRepository,
} from '../../src/domain/ports.js'

export interface RawRepositorySetup {
  readonly repository: RawRepository
  /** That of the repository. */
  readonly middleware: FileMiddleware
  /** Whether the middleware stores equal content as equal bytes, and so under one address. */
  readonly repeatable: boolean
  /** The stored bytes of a blob, read behind the repository's back. */
  read(blob: BlobLocation): Promise<Buffer>
  /** Puts other bytes in the place of a blob's stored bytes. */
  overwrite(blob: BlobLocation, stored: Uint8Array): Promise<void>
  remove(blob: BlobLocation): Promise<void>
  /** Everything that is stored: whole blobs, and what failed uploads may have left behind. */
  count(): Promise<number>
  /** Removes what the set-up made. */
  dispose(): Promise<void>
}

export const digestOf = (content: Uint8Array): string =>
  `sha512:${createHash('sha512').update(content).digest('hex')}`

/** Stores content that is all there, in one piece or in several. */
export async function put(
  repository: RawRepository,
  organization: string,
  content: Uint8Array | string,
  source?: ByteSource,
): Promise<BlobLocation> {
  const bytes = Buffer.from(content)
  const staged = await repository.stage(source ?? [bytes], () => digestOf(bytes))
  try {
    const [blob] = await repository.publish(organization, [staged])
    if (!blob) throw new Error('nothing was published')
    return blob
  } finally {
    await staged.discard()
  }
}

export async function collect(source: ByteSource): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of source) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** What every raw repository must do, whatever it stores blobs in. */
export function rawRepositoryContract(
  name: string,
  setup: () => Promise<RawRepositorySetup>,
): void {
  describe(`${name}: contract of raw repositories`, () => {
    let subject: RawRepositorySetup
    let repository: RawRepository

    beforeEach(async () => {
      subject = await setup()
      repository = subject.repository
    })

    afterEach(() => subject.dispose())

    const get = async (blob: BlobLocation): Promise<Buffer> => collect(await repository.get(blob))

    it('gives back what was put, in whatever pieces it came', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }),
          fc.boolean(),
          async (pieces, asynchronous) => {
            const content = Buffer.concat(pieces)
            const source = asynchronous ? slowly(pieces) : pieces
            const blob = await put(repository, 'org', content, source)
            expect(blob.size).toBe(content.length)
            expect(await get(blob)).toEqual(content)
          },
        ),
        { numRuns: 40 },
      )
    })

    it('renews the time of what is there, and says when nothing is', async () => {
      const blob = await put(repository, 'org', 'renewed')
      expect(await repository.touch(blob)).toBe(true)
      expect(await repository.touch({ ...blob, organization: 'other' })).toBe(false)
      await subject.remove(blob)
      expect(await repository.touch(blob)).toBe(false)
    })

    it('keeps megabytes, in pieces that are not its own', async () => {
      const piece = Buffer.alloc(700_001, 'ab')
      const content = Buffer.concat([piece, piece, piece, piece])
      const blob = await put(repository, 'org', content, [piece, piece, piece, piece])
      expect(blob).toMatchObject({ size: content.length })
      expect((await get(blob)).equals(content)).toBe(true)
    })

    it('names a blob by the SHA-512 of the bytes as stored', async () => {
      for (const content of ['', 'x', 'a\u0000b', 'y'.repeat(100_000)]) {
        const blob = await put(repository, 'org', content)
        const stored = await subject.read(blob)
        expect(blob.address).toBe(createHash('sha512').update(stored).digest('hex'))
        expect(blob.storedSize).toBe(stored.length)
        expect(blob.organization).toBe('org')
      }
    })

    it('asks for the content digest once, after the last byte', async () => {
      const events: string[] = []
      async function* source() {
        yield Buffer.from('a')
        events.push('half')
        yield Buffer.from('b')
        events.push('end')
      }
      await repository.stage(source(), () => {
        events.push('digest')
        return digestOf(Buffer.from('ab'))
      })
      expect(events).toEqual(['half', 'end', 'digest'])
    })

    it('keeps equal content of one organization once, if it is stored as equal bytes', async () => {
      const first = await put(repository, 'org', 'same')
      const count = await subject.count()
      const second = await put(repository, 'org', 'same')
      if (subject.repeatable) expect(second).toEqual(first)
      else expect(second.address).not.toBe(first.address)
      expect(await subject.count()).toBe(subject.repeatable ? count : count + 1)
    })

    it('keeps equal content of two organizations apart', async () => {
      const a = await put(repository, 'a', 'same')
      const b = await put(repository, 'b', 'same')
      await subject.remove(a)
      await expect(get(a)).rejects.toMatchObject({ code: 'blob_missing' })
      expect(await get(b)).toEqual(Buffer.from('same'))
    })

    it('takes any name of an organization', async () => {
      const names = ['../x', '..', '.', '', '/', 'a/b', 'a\\b', 'C:', '%', '%2E', '%2e', 'con']
      names.push('A', 'a', '💾'.repeat(32), `${'💾'.repeat(31)}x`, ' ', '-', 'é', 'e\u0301', '\n')
      const blobs = await Promise.all(names.map((each) => put(repository, each, 'same')))
      await Promise.all(
        blobs.map((blob, i) => subject.overwrite(blob, Buffer.from(String(1000 + i)))),
      )
      const seen = await Promise.all(blobs.map(subject.read))
      expect(new Set(seen.map((stored) => stored.toString('hex'))).size).toBe(names.length)
    })

    it('passes on an error of the source, whatever it is, and keeps nothing', async () => {
      const errors: unknown[] = [
        new Error('the client went away'),
        Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET', syscall: 'read' }),
        Object.assign(new Error('open'), { code: 'ENOSPC', syscall: 'write' }),
        'no error at all',
      ]
      const before = await subject.count()
      for (const error of errors) {
        async function* source() {
          yield Buffer.from('half of the')
          throw error
        }
        const failure = await put(repository, 'org', '', source()).then(
          () => 'it was stored',
          (thrown: unknown) => thrown,
        )
        expect(failure).toBe(error)
      }
      const broken = repository.stage([Buffer.from('x')], () => {
        throw errors[0]
      })
      await expect(broken).rejects.toBe(errors[0])
      expect(await subject.count()).toBe(before)
    })

    it('keeps nothing of what is discarded, and keeps what is published', async () => {
      const stage = (content: string) =>
        repository.stage([Buffer.from(content)], () => digestOf(Buffer.from(content)))
      const [first, second, third] = [await stage('a'), await stage('b'), await stage('a')]
      await second.discard()
      await second.discard()
      const blobs = await repository.publish('org', [first, third])
      expect(blobs.map(({ size, address }) => [size, address])).toEqual([
        [1, first.address],
        [1, third.address],
      ])
      expect(first.address === third.address).toBe(subject.repeatable)
      await first.discard()
      await third.discard()
      expect(await subject.count()).toBe(subject.repeatable ? 1 : 2)
      expect(await Promise.all(blobs.map(get))).toEqual([Buffer.from('a'), Buffer.from('a')])
    })

    it('does not read content faster than it is stored', async () => {
      const piece = Buffer.alloc(64 * 1024, 'x')
      let read = 0
      async function* source() {
        for (; read < 200; read++) yield piece
      }
      const pieces = source()
      // The first read comes after the caller was given the promise: nothing is read ahead of it.
      const staged = repository.stage(pieces, () => digestOf(Buffer.alloc(200 * piece.length, 'x')))
      expect(read).toBeLessThan(10)
      await (await staged).discard()
      expect(read).toBe(200)
      expect(await subject.count()).toBe(0)
    })

    it('tells whether there is room', async () => {
      await repository.ensureRoom(1)
      await expect(repository.ensureRoom(Number.MAX_SAFE_INTEGER)).rejects.toMatchObject({
        code: 'storage_full',
      })
    })

    it('tells that a blob is missing', async () => {
      const blob = await put(repository, 'org', 'content')
      await subject.remove(blob)
      await expect(repository.get(blob)).rejects.toMatchObject({ code: 'blob_missing' })
      const other = { ...blob, organization: 'never seen' }
      await expect(repository.get(other)).rejects.toMatchObject({ code: 'blob_missing' })
    })

    it.each([
      ['truncated', (stored: Buffer) => stored.subarray(0, -1)],
      ['longer', (stored: Buffer) => Buffer.concat([stored, Buffer.from('s')])],
      ['empty', () => Buffer.alloc(0)],
    ])('tells that a blob is %s', async (_, change) => {
      const blob = await put(repository, 'org', 'content')
      await subject.overwrite(blob, change(await subject.read(blob)))
      await expect(repository.get(blob)).rejects.toMatchObject({ code: 'blob_damaged' })
    })

    it('never gives all of a blob that has other bytes of the same number', async () => {
      const { authenticated } = subject.middleware
      const message = 'its stored content does not have the digest it is stored under'
      const wrong = { code: 'blob_damaged', ...(authenticated ? {} : { message }) }
      for (const size of [1, 7, 300_000, 3_000_000]) {
        const content = Buffer.alloc(size, 'content')
        const blob = await put(repository, 'org', content)
        const stored = await subject.read(blob)
        for (const at of new Set([0, stored.length >> 1, stored.length - 1])) {
          const damaged = Buffer.from(stored)
          damaged[at] = (damaged[at] ?? 0) ^ 1
          await subject.overwrite(blob, damaged)
          const given: Uint8Array[] = []
          const reading = (async () => {
            for await (const piece of await repository.get(blob)) given.push(piece)
          })()
          await expect(reading).rejects.toMatchObject(wrong)
          const all = Buffer.concat(given)
          expect(all.length).toBeLessThan(size)
          if (authenticated) expect(all.equals(content.subarray(0, all.length))).toBe(true)
        }
      }
    })

    it('gives any range of a blob', async () => {
      const content = Buffer.alloc(1_200_000)
      for (let i = 0; i < content.length; i++) content[i] = (i * 31 + (i >> 8)) & 0xff
      const blob = await put(repository, 'org', content)
      const edges = [0, 1, 262_143, 262_144, 262_145, 524_288, 1_199_999, 1_200_000]
      const bound = fc.oneof(fc.constantFrom(...edges), fc.nat({ max: content.length }))
      await fc.assert(
        fc.asyncProperty(bound, bound, async (a, b) => {
          const range = { start: Math.min(a, b), end: Math.max(a, b) }
          const part = await collect(await repository.get(blob, range))
          expect(part.equals(content.subarray(range.start, range.end))).toBe(true)
        }),
        { numRuns: 60 },
      )
    })

    it('gives nothing of an empty blob', async () => {
      const blob = await put(repository, 'org', '')
      expect(await get(blob)).toHaveLength(0)
      expect(await collect(await repository.get(blob, { start: 0, end: 0 }))).toHaveLength(0)
    })

    it('tells for a range as well that a blob is missing or has another size', async () => {
      const blob = await put(repository, 'org', 'content')
      const range = { start: 1, end: 3 }
      await subject.overwrite(blob, (await subject.read(blob)).subarray(0, -1))
      await expect(repository.get(blob, range)).rejects.toMatchObject({ code: 'blob_damaged' })
      await subject.remove(blob)
      await expect(repository.get(blob, range)).rejects.toMatchObject({ code: 'blob_missing' })
    })

    it('gives many at once', async () => {
      const contents = Array.from({ length: 12 }, (_, i) => Buffer.alloc(1_500_000, `many ${i}`))
      const blobs = await Promise.all(contents.map((content) => put(repository, 'org', content)))
      const seen = await Promise.all(blobs.map(get))
      expect(seen.map((content, i) => content.equals(contents[i] ?? content))).toEqual(
        contents.map(() => true),
      )
    })

    it('does not tell where it keeps things', async () => {
      const blob = await put(repository, 'org', 'content')
      await subject.remove(blob)
      const error = await repository.get(blob).catch((failure: unknown) => failure)
      expect(error).toMatchObject({ message: 'its content is missing from storage' })
    })

    it('refuses a blob of an unknown middleware', async () => {
      const blob = await put(repository, 'org', 'content')
      const foreign = { ...blob, middleware: 'ROT13' } as unknown as BlobLocation
      await expect(repository.get(foreign)).rejects.toMatchObject({
        code: 'blob_damaged',
        message: expect.stringContaining('ROT13'),
      })
    })

    it('heals a blob that is damaged or gone by an upload of equal stored bytes', async () => {
      const blob = await put(repository, 'org', 'content')
      await subject.overwrite(blob, (await subject.read(blob)).reverse())
      const again = await put(repository, 'org', 'content')
      expect((await get(again)).toString()).toBe('content')
      if (!subject.repeatable) {
        await expect(get(blob).then(String)).rejects.toMatchObject({ code: 'blob_damaged' })
        return
      }
      expect((await get(blob)).toString()).toBe('content')
      await subject.remove(blob)
      await put(repository, 'org', 'content')
      expect((await get(blob)).toString()).toBe('content')
    })

    it('stores the same content many times at once', async () => {
      const puts = Array.from({ length: 60 }, () => put(repository, 'org', 'same'))
      const blobs = await Promise.all(puts)
      const files = subject.repeatable ? 1 : puts.length
      expect(new Set(blobs.map((blob) => blob.address)).size).toBe(files)
      expect(await subject.count()).toBe(files)
      expect((await get(await put(repository, 'org', 'same'))).toString()).toBe('same')
    })

    it('stores many contents of many organizations at once', async () => {
      const contents = Array.from({ length: 150 }, (_, i) => `content ${i}`)
      const blobs = await Promise.all(
        contents.map((content, i) => put(repository, `org-${i % 30}`, content)),
      )
      expect(await subject.count()).toBe(150)
      const seen = await Promise.all(blobs.map(get))
      expect(seen.map(String)).toEqual(contents)
    })

    it('reads a blob while it is put again and again', async () => {
      const content = Buffer.alloc(600_000, 'z')
      const blob = await put(repository, 'org', content)
      const writing = Promise.all(Array.from({ length: 10 }, () => put(repository, 'org', content)))
      for (let i = 0; i < 10; i++) expect((await get(blob)).equals(content)).toBe(true)
      await writing
    })

    it('tells how many bytes are free', async () => {
      const { freeBytes } = await repository.check()
      expect(freeBytes).toBeGreaterThan(0)
      expect(await subject.count()).toBe(0)
    })
  })
}

async function* slowly(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) {
    await new Promise((resolve) => setImmediate(resolve))
    yield piece
  }
}
