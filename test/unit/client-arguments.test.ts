/** Whatever plain JavaScript gives to the client: nothing but a `BytesClientError` comes out. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { BytesClientError, type ClientOptions, createClient } from '../../src/client/client.js'
import { FAKE_USER, type FakeBytes, startFakeBytes } from '../support/fake-bytes.js'

const JOB = '00000000-0000-4000-8000-000000000000'
const A_JOB = { organization: 'o', started_at: 'x', ended_at: 'y', boefje: { id: 'b' } }

/** The client as plain JavaScript sees it. */
type Method = (...args: unknown[]) => Promise<unknown>
type Plain = Record<string, Method>

let fake: FakeBytes
let folder: string
let path: string
let client: Plain

beforeAll(async () => {
  fake = await startFakeBytes()
  folder = await mkdtemp(join(tmpdir(), 'bytes-test-client-'))
  path = join(folder, 'source')
  await writeFile(path, 'content')
  client = plain({})
})
afterAll(async () => {
  await fake?.close()
  await rm(folder, { recursive: true })
})
beforeEach(() => {
  fake.requests.length = 0
})

function plain(options: unknown): Plain {
  const given =
    typeof options === 'object' && options !== null
      ? { url: fake.url, ...FAKE_USER, pause: async () => undefined, ...options }
      : options
  const { listRawFiles, ...others } = createClient(given as ClientOptions)
  const list: Method = async (...args) => {
    const found = []
    const files = Reflect.apply(listRawFiles, undefined, args)
    for await (const file of files) found.push(file)
    return found
  }
  return { ...(others as unknown as Plain), listRawFiles: list }
}

/** The error of a call, which must be one of the client; undefined when it succeeds. */
async function failureOf(name: string, args: unknown[]): Promise<BytesClientError | undefined> {
  return outcomeOf(async () => client[name]?.(...args))
}
async function outcomeOf(call: () => Promise<unknown>): Promise<BytesClientError | undefined> {
  const error = await call().then(
    () => undefined,
    (found: unknown) => found,
  )
  if (error === undefined || error instanceof BytesClientError) return error
  throw new Error('no client error', { cause: error })
}

class Hostile {
  get any(): never {
    throw new Error('read')
  }
  toString(): never {
    throw new Error('text')
  }
}
const unreadable = (name: string): object =>
  Object.defineProperty({}, name, {
    enumerable: true,
    get: () => {
      throw new Error('read')
    },
  })
const BARE: unknown = Object.create(null)
/** Nothing of this is a text, a flag, a function, a signal, or an object with members of use. */
const WRONG: readonly unknown[] = [null, 5, Number.NaN, 1n, Symbol('s'), BARE, new Hostile()]
/** Nor is this, but it has a use at some places. */
const OFTEN_WRONG: readonly unknown[] = [...WRONG, undefined, true, '', 'x', {}, [], [5], () => 1]

describe('an argument that is wrong', () => {
  const ids: [method: string, ...more: unknown[]][] = [
    ['getJob'],
    ['stat'],
    ['rawFile'],
    ['verify'],
    ['download', 'target'],
    ['evidence', 'target'],
    ['evidenceRecord'],
    ['hasBlob', 'org'],
  ]
  it.each(ids)('as the id of %s is told before anything is sent', async (name, ...more) => {
    for (const id of [...WRONG, undefined, true, {}, [], [JOB], () => JOB]) {
      const error = await failureOf(name, [id, ...more])
      expect(error).toMatchObject({
        code: 'invalid_argument',
        message: expect.stringMatching(/^the (id|link|digest) must be a string$/),
      })
    }
    expect(fake.requests).toEqual([])
  })

  const options: [method: string, option: string, ...more: unknown[]][] = [
    ['createJob', 'signal', A_JOB],
    ['getJob', 'signal', JOB],
    ['stat', 'signal', JOB],
    ['rawFile', 'signal', JOB],
    ['evidenceRecord', 'signal', `/bytes/evidence_records/${JOB}`],
    ['hasBlob', 'signal', 'x', 'org'],
    ['listRawFiles', 'signal', {}],
    ...['organization', 'boefjeMetaId', 'normalized', 'mimeTypes', 'rawIds'].map(
      (name): [string, string] => ['listRawFiles', name],
    ),
    ...['signal', 'onProgress'].map((name): [string, string, string] => ['verify', name, JOB]),
    ...['download', 'evidence'].flatMap((method) =>
      ['signal', 'onProgress', 'overwrite'].map((name): [string, string, ...unknown[]] => [
        method,
        name,
        JOB,
        'target',
      ]),
    ),
  ]
  it.each(options)('of %s as %s is told before anything is sent', async (method, name, ...args) => {
    for (const value of WRONG) {
      const error = await failureOf(method, [...args, { [name]: value }])
      expect(error?.code).toBe('invalid_argument')
      expect(error?.message).toMatch(new RegExp(`^${name} must be `))
    }
    for (const all of [...WRONG.filter((v) => v !== BARE && !(v instanceof Hostile)), 'x']) {
      expect(await failureOf(method, [...args, all])).toMatchObject({
        code: 'invalid_argument',
        message: expect.stringMatching(/^the (options|filter) must be an object$/),
      })
    }
    expect(await failureOf(method, [...args, unreadable(name)])).toMatchObject({
      code: 'invalid_argument',
      message: `${name} cannot be read: read`,
    })
    expect(fake.requests).toEqual([])
  })

  const uploads = [
    ...['jobId', 'source', 'name', 'tags', 'size', 'resumable', 'onProgress', 'signal'].map(
      (name) => ['upload', name],
    ),
    ...'jobId path name tags chunkSize onProgress onUploadUrl resumeFrom keep signal'
      .split(' ')
      .map((name) => ['uploadResumable', name]),
  ]
  it.each(uploads)(
    'of %s as %s is told before anything is sent',
    async (method = '', name = '') => {
      const rest = { jobId: JOB, source: new Uint8Array(3), path }
      for (const value of [...WRONG, {}, -1, 1.5]) {
        // Good as a number.
        if (value === 5 && /size$/i.test(name)) continue
        const error = await failureOf(method, [{ ...rest, [name]: value }])
        expect(error?.code).toBe('invalid_argument')
      }
      for (const all of [undefined, ...WRONG]) {
        expect((await failureOf(method, [all]))?.code).toBe('invalid_argument')
      }
      expect(fake.requests).toEqual([])
    },
  )

  it.each(['organization', 'mimeTypes', 'rawIds'])('in a list of %s is told', async (name) => {
    for (const list of [...WRONG.map((value) => ['x', value]), new Array(2)]) {
      const error = await failureOf('listRawFiles', [{ [name]: list }])
      expect(error?.code).toBe('invalid_argument')
    }
    expect(fake.requests).toEqual([])
  })

  it('as the organization of a digest is told', async () => {
    for (const value of [undefined, ...WRONG]) {
      expect((await failureOf('hasBlob', ['x', value]))?.code).toBe('invalid_argument')
    }
    expect(fake.requests).toEqual([])
  })

  it('of a new client is told', async () => {
    const failed = async (options: unknown) => outcomeOf(async () => plain(options))
    for (const name of ['fetch', 'pause', 'onWait']) {
      for (const value of WRONG) {
        expect((await failed({ [name]: value }))?.code).toBe('invalid_argument')
      }
    }
    for (const url of [undefined, ...WRONG]) {
      expect((await failed({ url }))?.code).toBe('invalid_argument')
    }
    for (const all of [undefined, null, 5, 'x', Symbol('s'), () => 1]) {
      expect((await failed(all))?.code).toBe('invalid_argument')
    }
    const read = async () => createClient(unreadable('url') as ClientOptions)
    expect((await outcomeOf(read))?.message).toBe('url cannot be read: read')
  })

  it('is not an option that is undefined', async () => {
    expect((await failureOf('getJob', [JOB, { signal: undefined }]))?.code).toBeUndefined()
    expect(await failureOf('listRawFiles', [{ mimeTypes: undefined }, undefined])).toBeUndefined()
    const all = { jobId: JOB, source: path, name: undefined, tags: undefined, size: undefined }
    expect(await failureOf('upload', [{ ...all, resumable: undefined }])).toBeUndefined()
    const other = plain({ token: undefined, onWait: undefined, fetch: undefined })
    expect(await other.getJob?.(JOB)).toMatchObject({ id: JOB })
  })
})

describe('a job that cannot be written as JSON', () => {
  const circle: { self?: unknown } = {}
  circle.self = circle
  let deep: unknown = 1
  for (let i = 0; i < 100_000; i++) deep = [deep]
  const fails = (error: unknown) => ({
    toJSON: () => {
      throw error
    },
  })
  it.each([
    ['a BigInt', { n: 1n }, 'Do not know how to serialize a BigInt'],
    ['a circle', circle, 'Converting circular structure to JSON'],
    ['too much depth', deep, 'Maximum call stack size exceeded'],
    ['what throws', fails(new Error('mine')), 'mine'],
    ['what throws a text', fails('mine'), 'mine'],
    ['what throws nothing', fails(undefined), 'undefined'],
    ['what throws no text', fails(BARE), 'unknown reason'],
    ['what cannot be read', unreadable('n'), 'read'],
  ])('because of %s is refused', async (_, value, reason) => {
    expect(await failureOf('createJob', [{ ...A_JOB, arguments: value }])).toMatchObject({
      code: 'invalid_argument',
      message: `the job cannot be written as JSON: ${reason}`,
    })
    expect(fake.requests).toEqual([])
  })

  it('is refused when it is none, or has no text as its id', async () => {
    for (const job of [undefined, null, 5, 'x', Symbol('s'), () => 1, unreadable('id')]) {
      expect((await failureOf('createJob', [job]))?.code).toBe('invalid_argument')
    }
    for (const id of [5, 1n, Symbol('s'), {}, [], new Hostile(), true]) {
      expect(await failureOf('createJob', [{ ...A_JOB, id }])).toMatchObject({
        code: 'invalid_argument',
        message: 'the id of the job must be a string',
      })
    }
    const nothing = { ...A_JOB, toJSON: () => undefined }
    expect((await failureOf('createJob', [nothing]))?.code).toBe('invalid_argument')
    expect(fake.requests).toEqual([])
  })

  it('is not one with members that are not known', async () => {
    expect(await client.createJob?.({ ...A_JOB, id: 'more', more: 1 })).toEqual({ id: 'more' })
    expect(fake.jobs.get('more')).toMatchObject({ ...A_JOB, more: 1 })
  })
})

describe('a source or target', () => {
  const urls = ['file://host/x', 'file:///a%2Fb', 'http://host/x', 'data:,x']
  it.each(urls)('of the URL %s is refused', async (text) => {
    const url = new URL(text)
    for (const [name, ...args] of [
      ['upload', { jobId: JOB, source: url }],
      ['uploadResumable', { jobId: JOB, path: url }],
      ['download', JOB, url],
      ['evidence', JOB, url],
    ] as const) {
      expect((await failureOf(name, [...args]))?.code).toBe('invalid_argument')
    }
    expect(fake.requests).toEqual([])
  })

  it('that has a reader or writer already is told as one that failed', async () => {
    const target = new WritableStream()
    target.getWriter()
    expect((await failureOf('download', [JOB, target]))?.code).toBe('target_failed')
    expect((await failureOf('evidence', [JOB, target]))?.code).toBe('target_failed')
    const source = new Blob(['x']).stream()
    source.getReader()
    expect((await failureOf('upload', [{ jobId: JOB, source }]))?.code).toBe('source_failed')
  })

  const circle = new Error('round')
  circle.cause = circle
  const odd = Object.assign(new Error('odd'), { message: 5 })
  it.each([BARE, Symbol('s'), undefined, circle, odd, new Hostile()])(
    'that throws anything is told as one that failed (%#)',
    async (thrown) => {
      const source = {
        [Symbol.asyncIterator]: () => ({ next: async () => Promise.reject(thrown) }),
      }
      expect((await failureOf('upload', [{ jobId: JOB, source }]))?.code).toBe('source_failed')
    },
  )
})

it.each([undefined, null, 5, 'x', {}])('a fetch that answers %j gave no answer', async (answer) => {
  const other = plain({ fetch: async () => answer })
  expect((await outcomeOf(async () => other.getJob?.(JOB)))?.code).toBe('network')
})

it('what a callback throws comes out as it is', async () => {
  const mine = new Error('mine')
  const onProgress = () => {
    throw mine
  }
  const { id } = fake.store('content')
  const target = new PassThrough()
  await expect(client.download?.(id, target, { onProgress })).rejects.toBe(mine)
  const upload = client.upload?.({ jobId: JOB, source: path, onProgress })
  await expect(upload).rejects.toBe(mine)
})

it('nothing but a client error comes out, whatever is given', async () => {
  const value = fc.oneof(
    fc.constantFrom(...OFTEN_WRONG),
    fc.anything({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true }),
    fc.dictionary(
      fc.constantFrom(
        ...'jobId source path name tags size resumable onProgress onUploadUrl resumeFrom keep'.split(
          ' ',
        ),
        ...'signal overwrite organization mimeTypes rawIds normalized id arguments'.split(' '),
      ),
      fc.oneof(fc.constantFrom(...OFTEN_WRONG), fc.anything(), fc.constant(JOB)),
    ),
  )
  const names = fc.constantFrom(...Object.keys(client))
  await fc.assert(
    fc.asyncProperty(names, fc.array(value, { maxLength: 4 }), async (name, args) => {
      // Texts are names of files here, which must not be made.
      const isTarget = (arg: unknown, at: number) => at === 1 && typeof arg === 'string'
      const apart = args.map((arg, at) => (isTarget(arg, at) ? join(folder, 'none', '\0') : arg))
      await failureOf(name, apart)
    }),
    { numRuns: 2000 },
  )
})
