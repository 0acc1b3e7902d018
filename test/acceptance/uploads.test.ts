/** What uploads leave on the disk and in the database, alone and all at once. */
import { createHash, randomUUID } from 'node:crypto'
import {
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, exampleJob, login } from '../support/client.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import {
  base64,
  errorsLogged,
  eventually,
  filesBelow,
  openWire,
  query,
  rowCounts,
  sample,
  send,
  stateOf,
} from './helpers.js'

let store: TestStore
let service: TestService
let client: Client
/** Deep enough that a way out of it would be seen. */
let dataDir: string

beforeAll(async () => {
  store = await testStore()
  dataDir = join(store.dataDir, 'some', 'where', 'data')
  service = await store.start({ BYTES_DATA_DIR: dataDir })
  client = await login(service.url)
})

afterAll(async () => {
  await store?.remove()
})

const sha512 = (content: string | Uint8Array): string =>
  createHash('sha512').update(content).digest('hex')
const blobs = () => filesBelow(join(dataDir, 'blobs'))
/** The blobs with this content. */
const filesOf = async (content: string | Uint8Array): Promise<string[]> =>
  (await blobs()).filter((path) => basename(path) === sha512(content))
const pathOf = async (content: string | Uint8Array): Promise<string> => {
  const [found, ...more] = await filesOf(content)
  expect([typeof found, more]).toEqual(['string', []])
  return join(dataDir, 'blobs', found ?? '')
}

async function uploadOne(
  content: Uint8Array | string,
  { job = '', organization = 'org', tags = ['a/b'] as readonly string[] } = {},
): Promise<string> {
  const id = job === '' ? await client.job(organization) : job
  return (await client.upload(id, [{ name: 'n', content, tags }])).n ?? ''
}

const postFiles = (
  job: string,
  files: readonly { name?: string; content: string; tags: readonly string[] }[],
) =>
  client.postJson(`/bytes/raw?boefje_meta_id=${job}`, {
    files: files.map((file) => ({ name: 'n', ...file, content: base64(file.content) })),
  })

const download = async (id: string): Promise<Buffer> => {
  const answer = await client.request(`/bytes/raw/${id}`)
  expect(answer.status).toBe(200)
  return Buffer.from(await answer.arrayBuffer())
}

describe('equal content', () => {
  it('of one organization is one file', async () => {
    const first = await uploadOne('shared', { organization: 'one' })
    const second = await uploadOne('shared', { organization: 'one' })
    expect(second).not.toBe(first)
    expect((await filesOf('shared')).length).toBe(1)
    expect([await download(first), await download(second)].map(String)).toEqual([
      'shared',
      'shared',
    ])
  })

  it('of another organization is another file', async () => {
    await uploadOne('shared', { organization: 'two' })
    expect((await filesOf('shared')).length).toBe(2)
  })

  it('within one upload is one file', async () => {
    const job = await client.job()
    const ids = await client.upload(job, [
      { name: 'a', content: 'twice in one', tags: ['a'] },
      { name: 'b', content: 'twice in one', tags: ['b'] },
    ])
    expect(new Set(Object.values(ids)).size).toBe(2)
    expect((await filesOf('twice in one')).length).toBe(1)
  })
})

describe('the same job and MIME types', () => {
  it('are the same raw file in any order, which keeps its first content', async () => {
    const job = await client.job()
    const first = await uploadOne('first', { job, tags: ['b', 'a', 'c'] })
    const before = await stateOf(store, client)
    expect(await uploadOne('second', { job, tags: ['c', 'b', 'a', 'b'] })).toBe(first)
    expect(await stateOf(store, client)).toEqual(before)
    expect(String(await download(first))).toBe('first')
  })

  it('but others, or another job, are another', async () => {
    const job = await client.job()
    const first = await uploadOne('x', { job, tags: ['a', 'b'] })
    expect(await uploadOne('x', { job, tags: ['a'] })).not.toBe(first)
    expect(await uploadOne('x', { job, tags: ['A', 'b'] })).not.toBe(first)
    expect(await uploadOne('x', { tags: ['a', 'b'] })).not.toBe(first)
  })
})

describe('uploads at once', () => {
  it('of the same have one id, one row and one event', async () => {
    for (let round = 0; round < 5; round++) {
      const job = await client.job('race')
      const before = await rowCounts(store.databaseUri)
      const ids = await Promise.all(
        Array.from({ length: 20 }, () => uploadOne(`race ${round}`, { job })),
      )
      expect(new Set(ids).size).toBe(1)
      expect(ids[0]).toMatch(/^[0-9a-f-]{36}$/)
      expect(await rowCounts(store.databaseUri)).toEqual({
        ...before,
        raw_file: (before.raw_file ?? 0) + 1,
        outbox: (before.outbox ?? 0) + 1,
        blob: (before.blob ?? 0) + 1,
      })
      expect((await filesOf(`race ${round}`)).length).toBe(1)
    }
  })

  it('of one set with different contents keep one of them whole', async () => {
    const job = await client.job('race')
    const contents = Array.from({ length: 20 }, (_, i) => `different ${i}`)
    const ids = await Promise.all(contents.map((content) => uploadOne(content, { job })))
    expect(new Set(ids).size).toBe(1)
    expect(contents).toContain(String(await download(ids[0] ?? '')))
  })

  it('of equal contents for different jobs share a file', async () => {
    const ids = await Promise.all(
      Array.from({ length: 20 }, () => uploadOne('shared by many', { organization: 'many' })),
    )
    expect(new Set(ids).size).toBe(20)
    expect((await filesOf('shared by many')).length).toBe(1)
    const rows = await query(store.databaseUri, 'SELECT 1 FROM blob WHERE content_digest = $1', [
      `sha512:${sha512('shared by many')}`,
    ])
    expect(rows.length).toBe(1)
  })

  it('with overlapping sets and contents in opposite orders end well', async () => {
    for (let round = 0; round < 3; round++) {
      const job = await client.job('overlap')
      const files = Array.from({ length: 8 }, (_, i) => ({
        name: `file ${i}`,
        content: `overlap ${round} ${i}`,
        tags: [`type/${i}`],
      }))
      const before = await rowCounts(store.databaseUri)
      const answers = await Promise.all(
        Array.from({ length: 24 }, (_, i) => {
          const turned = [...files.slice(i % 8), ...files.slice(0, i % 8)]
          return postFiles(job, i % 2 ? turned : turned.reverse())
        }),
      )
      expect(answers.map((answer) => answer.status)).toEqual(answers.map(() => 200))
      const bodies = (await Promise.all(answers.map((answer) => answer.json()))) as Ids[]
      for (const body of bodies) expect(body).toEqual(bodies[0])
      expect(await rowCounts(store.databaseUri)).toEqual({
        ...before,
        raw_file: (before.raw_file ?? 0) + 8,
        outbox: (before.outbox ?? 0) + 8,
        blob: (before.blob ?? 0) + 8,
      })
      for (const { name, content } of files) {
        expect(String(await download(bodies[0]?.[name] ?? ''))).toBe(content)
      }
    }
  })

  it('that create the same job store it once', async () => {
    const job = exampleJob()
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => client.postJson('/bytes/boefje_meta', job)),
    )
    const statuses = answers.map((answer) => answer.status).sort()
    expect(statuses).toEqual([201, ...Array.from({ length: 19 }, () => 400)])
  })
})

type Ids = Record<string, string>

describe('all files of an upload or none', () => {
  const good = { name: 'good', content: 'good', tags: ['good'] }

  it.each<[string, object, number]>([
    ['invalid base64', { name: 'bad', content: '*', tags: ['bad'] }, 422],
    ['a long tag', { name: 'bad', content: '', tags: ['x'.repeat(65)] }, 422],
    ['a missing content', { name: 'bad', tags: ['bad'] }, 422],
    ['the same set', { name: 'bad', content: '', tags: ['good'] }, 400],
  ])('%s in the last', async (_what, bad, status) => {
    const job = await client.job('whole')
    const before = await stateOf(store, client)
    const files = [{ ...good, content: base64('good') }, bad]
    const answer = await client.postJson(`/bytes/raw?boefje_meta_id=${job}`, { files })
    expect(answer.status).toBe(status)
    expect(await stateOf(store, client)).toEqual(before)
  })

  it('a disk that fails at the last', async () => {
    const job = await client.job('whole')
    const obstacle = join(dataDir, 'blobs', 'v1', 'whole', sha512('bad').slice(0, 2))
    await mkdir(dirname(obstacle), { recursive: true })
    await writeFile(obstacle, '')
    const before = await rowCounts(store.databaseUri)
    const files = [good, { name: 'bad', content: 'bad', tags: ['bad'] }]
    expect((await postFiles(job, files)).status).toBe(503)
    expect(await rowCounts(store.databaseUri)).toEqual(before)
    expect(await readdir(join(dataDir, 'tmp'))).toEqual([])
    expect(await client.getJson(`/bytes/raw?boefje_meta_id=${job}`)).toEqual([])

    await rm(obstacle)
    const answer = await postFiles(job, files)
    expect(answer.status).toBe(200)
    const ids = (await answer.json()) as Ids
    expect([await download(ids.good ?? ''), await download(ids.bad ?? '')].map(String)).toEqual([
      'good',
      'bad',
    ])
  })
})

describe('content comes back byte for byte', () => {
  const random = (size: number, seed: number): Buffer => {
    const bytes = Buffer.alloc(size)
    let state = seed
    for (let i = 0; i < size; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      bytes[i] = state >>> 24
    }
    return bytes
  }
  const comesBack = async (content: Uint8Array): Promise<void> => {
    const id = await uploadOne(content)
    const answer = await client.request(`/bytes/raw/${id}`)
    expect(answer.headers.get('content-type')).toBe('application/octet-stream')
    expect(answer.headers.get('content-length')).toBe(String(content.length))
    const bytes = Buffer.from(await answer.arrayBuffer())
    expect(bytes.equals(content)).toBe(true)
    const raws = await client.getJson(`/bytes/raws?raw_ids=${id}`)
    const { files } = raws as { files: { name: string; content: string }[] }
    expect([files.length, files[0]?.name]).toEqual([1, id])
    expect(files[0]?.content === base64(content)).toBe(true)
    const stored = await stat(await pathOf(content))
    expect(stored.size).toBe(content.length)
  }

  it.each([0, 1, 64 * 1024, 64 * 1024 + 1, 1024 * 1024, 5 * 1024 * 1024])(
    'of %i bytes',
    async (size) => {
      await comesBack(random(size, size))
    },
  )

  it('whatever the bytes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 2000 }), async (content) => {
        await comesBack(content)
      }),
      { numRuns: 30 },
    )
  })

  it('leaves no file open, also when a client asks for the head or goes away', async (ctx) => {
    if (process.platform !== 'linux') ctx.skip()
    const id = await uploadOne(random(5 * 1024 * 1024, 7))
    const open = async (): Promise<string[]> => {
      const folder = `/proc/${service.process.pid}/fd`
      const names = await readdir(folder)
      const targets = await Promise.all(
        names.map((name) => readlink(join(folder, name)).catch(() => '')),
      )
      return targets.filter((target) => target.startsWith(dataDir))
    }
    const headers = { authorization: `Bearer ${client.token}` }
    for (let i = 0; i < 20; i++) {
      const head = await send(service.url, { method: 'HEAD', path: `/bytes/raw/${id}`, headers })
      expect([head.status, head.headers['content-length']]).toEqual([200, String(5 * 1024 * 1024)])
    }
    for (let i = 0; i < 5; i++) {
      const wire = await openWire(service.url)
      wire.write(
        `GET /bytes/raw/${id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${client.token}\r\n\r\n`,
      )
      await wire.received(/\r\n\r\n/)
      wire.socket.destroy()
    }
    await eventually(async () => (await open()).length === 0, 'all files are closed')
  })
})

describe('names', () => {
  it('may be anything, and keep their order', async () => {
    const job = await client.job()
    const names = ['b', '10', '__proto__', '1', 'constructor', '', 'é"\\\n', '-1', 'toString']
    const files = names.map((name) => ({ name, content: name, tags: [`name/${name}`] }))
    const text = await (await postFiles(job, files)).text()
    const found = [...text.matchAll(/("(?:[^"\\]|\\.)*"):"([0-9a-f-]{36})"/g)]
    expect(found.map((match) => JSON.parse(match[1] ?? ''))).toEqual(names)
    for (const [i, match] of found.entries()) {
      expect(String(await download(match[2] ?? ''))).toBe(names[i])
    }
    expect(text).toBe(`{${found.map((match) => match[0]).join(',')}}`)
  })

  it('of MIME types as well', async () => {
    const tags = ['__proto__', '10', 'b', '2', 'toString', 'é', '𝒳', '\uffff']
    await uploadOne('x', { organization: 'mime', tags })
    const text = await (await client.request('/bytes/mime_types?organization=mime')).text()
    const keys = [...text.matchAll(/("[^"]*"):1/g)].map((match) => JSON.parse(match[1] ?? ''))
    expect(keys.sort()).toEqual([...tags].sort())
  })

  it('of organizations never lead out of the data directory', async () => {
    const before = (await filesBelow(store.dataDir)).length
    const names = [
      '...',
      '%2e%2e',
      '..\\..',
      '~',
      'CON',
      'Case',
      'case',
      'é',
      '👩‍🚀',
      ' ',
      '-rf',
      'a:b',
    ]
    for (const organization of names) {
      const id = await uploadOne('inside', { organization })
      expect(String(await download(id))).toBe('inside')
    }
    const files = await filesBelow(store.dataDir)
    expect(files.length).toBe(before + names.length)
    expect(files.filter((path) => !path.startsWith('some/where/data/blobs/v1/'))).toEqual([])
  })
})

describe.each([
  [0o077, '640', '750'],
  [0o000, '640', '750'],
  [0o022, '604', '701'],
])('under a umask of 0o%o', (umask, filePermission, folderPermission) => {
  it(`files have ${filePermission} and folders ${folderPermission}`, async () => {
    const own = join(store.dataDir, `umask-${umask}`)
    const before = process.umask(umask)
    let other: TestService
    try {
      other = await store.start({
        BYTES_DATA_DIR: own,
        BYTES_FILE_PERMISSION: filePermission,
        BYTES_FOLDER_PERMISSION: folderPermission,
      })
    } finally {
      process.umask(before)
    }
    const there = await login(other.url)
    await there.upload(await there.job('modes'), [{ name: 'n', content: `${umask}` }])
    const entries = await readdir(own, { recursive: true, withFileTypes: true })
    const modes = await Promise.all(
      [
        { path: own, directory: true },
        ...entries.map((entry) => ({
          path: join(entry.parentPath, entry.name),
          directory: entry.isDirectory(),
        })),
      ].map(async ({ path, directory }) => ({
        path,
        directory,
        mode: ((await stat(path)).mode & 0o777).toString(8),
      })),
    )
    expect(modes.filter((each) => !each.directory).map((each) => each.mode)).toEqual([
      filePermission,
    ])
    // The data directory, blobs, v1, the organization, two digits, tmp, uploads.
    expect(modes.filter((each) => each.directory).length).toBe(7)
    expect(modes.filter((each) => each.directory && each.mode !== folderPermission)).toEqual([])
    expect(await other.stop()).toBe(0)
    await rm(own, { recursive: true })
  })
})

describe('content that is', () => {
  const unreadable = async (id: string, code: string, what: RegExp): Promise<void> => {
    const metric = `bytes_blob_errors_total{code="${code}"}`
    const count = async () => sample(await (await client.request('/metrics')).text(), metric) ?? 0
    const before = await count()
    for (const path of [`/bytes/raw/${id}`, `/bytes/raws?raw_ids=${id}`]) {
      const answer = await client.request(path)
      expect(answer.status).toBe(500)
      expect(answer.headers.get('content-type')).toBe('application/json')
      const { detail } = (await answer.json()) as { detail: string }
      expect(detail).toContain(id)
      expect(detail).toMatch(what)
      expect(detail).not.toContain(dataDir)
    }
    expect(await count()).toBe(before + 2)
    expect((await client.request(`/bytes/raw/${id}/meta`)).status).toBe(200)
  }

  it.each([
    ['small', 'a small content'],
    ['large', 'a large content '.repeat(20_000)],
  ])('gone (%s) is told with its id, and healed by another upload', async (_size, text) => {
    const content = `gone ${text}`
    const id = await uploadOne(content)
    const path = await pathOf(content)
    await rename(path, `${path}.away`)
    await unreadable(id, 'blob_missing', /missing/)
    await rm(`${path}.away`)
    await uploadOne(content)
    expect((await download(id)).equals(Buffer.from(content))).toBe(true)
  })

  it.each([
    ['small', 'a small content'],
    ['large', 'a large content '.repeat(20_000)],
  ])('cut (%s) is told with its id, and healed by another upload', async (_size, text) => {
    const content = `cut ${text}`
    const id = await uploadOne(content)
    await truncate(await pathOf(content), content.length - 1)
    await unreadable(id, 'blob_damaged', /long/)
    await uploadOne(content)
    expect((await download(id)).equals(Buffer.from(content))).toBe(true)
  })
})

describe('content that is damaged', () => {
  it('by one bit is never given as if it were whole', async () => {
    const content = 'a content with a bit to flip'
    const id = await uploadOne(content)
    const path = await pathOf(content)
    const stored = await readFile(path)
    stored[3] = (stored[3] ?? 0) ^ 1
    await writeFile(path, stored)
    for (const target of [`/bytes/raw/${id}`, `/bytes/raws?raw_ids=${id}`]) {
      const answer = await client.request(target)
      expect([answer.status, answer.headers.get('content-type')]).toEqual([500, 'application/json'])
      expect(await answer.json()).toEqual({
        detail: `Raw file ${id} cannot be read: its stored content does not have the digest it is stored under`,
      })
    }
    await uploadOne(content)
    expect((await download(id)).toString()).toBe(content)
  })

  /** Starts to download, and reads no further than the head and what comes with it. */
  const begin = async (path: string) => {
    const wire = await openWire(service.url)
    const requestId = randomUUID()
    wire.write(
      `GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${client.token}\r\n` +
        `X-Request-Id: ${requestId}\r\n\r\n`,
    )
    await wire.received(/200 OK[\s\S]*\r\n\r\n/)
    wire.socket.pause()
    return { wire, requestId }
  }
  const isCut = async ({ wire, requestId }: Awaited<ReturnType<typeof begin>>, id: string) => {
    const line = await eventually(
      () =>
        errorsLogged(service.log()).find(
          (found) => found.includes(requestId) && found.endsWith('}'),
        ),
      'the failure is logged',
    )
    expect(line).toContain('an answer was cut off')
    expect(line).toContain(`Raw file ${id} cannot be read`)
    wire.socket.resume()
    return wire.ended
  }
  const errors = async () =>
    sample(
      await (await client.request('/metrics')).text(),
      'bytes_blob_errors_total{code="blob_damaged"}',
    ) ?? 0

  it('while it is sent breaks the transfer off', async () => {
    const size = 30_000_000
    const content = Buffer.alloc(size, 'cut while sent')
    const id = await uploadOne(content)
    const before = await errors()
    const begun = await begin(`/bytes/raw/${id}`)
    await truncate(await pathOf(content), size / 2)
    begun.wire.socket.resume()
    const received = await isCut(begun, id)
    expect(received).toContain(`content-length: ${size}`)
    expect(received.length).toBeLessThan(size)
    expect(await errors()).toBe(before + 1)
  })

  it('while many are sent breaks the transfer off, before that it is an error', async () => {
    const job = await client.job('many')
    const contents = ['a', 'b', 'c'].map((text) => Buffer.alloc(12_000_000, `many ${text}`))
    const ids = []
    for (const [i, content] of contents.entries()) {
      ids.push(await uploadOne(content, { job, tags: [`many/${i}`] }))
    }
    const [, , last = Buffer.alloc(0)] = contents
    const id = ids[2] ?? ''
    const path = `/bytes/raws?boefje_meta_id=${job}&limit=10`
    const whole = await (await client.request(path)).json()
    expect(whole).toMatchObject({ files: ids.map((name) => ({ name })) })

    const begun = await begin(path)
    await truncate(await pathOf(last), 5)
    begun.wire.socket.resume()
    const received = await isCut(begun, id)
    expect(received).not.toMatch(/\r\n0\r\n\r\n$/)
    expect(received).not.toContain(id)

    const answer = await client.request(path)
    expect([answer.status, answer.headers.get('content-type')]).toEqual([500, 'application/json'])
    expect(((await answer.json()) as { detail: string }).detail).toContain(id)
    await uploadOne(last, { job: await client.job('many') })
  })
})

it('after all that nothing is left over', async () => {
  expect(await readdir(join(dataDir, 'tmp'))).toEqual([])
  const files = await filesBelow(store.dataDir)
  expect(files.filter((path) => !path.startsWith('some/where/data/blobs/v1/'))).toEqual([])
  const blobRows = await query<{ address: string; size: string }>(
    store.databaseUri,
    'SELECT address, stored_size AS size FROM blob',
  )
  const known = new Set(blobRows.map((row) => row.address))
  // The contents that lost a race have a file, which some cleaning may remove.
  const orphans = files.filter((path) => !known.has(basename(path)))
  const losers = Array.from({ length: 20 }, (_, i) => sha512(`different ${i}`))
  expect(orphans.filter((path) => !losers.includes(basename(path)))).toEqual([])
  const counts = await rowCounts(store.databaseUri)
  expect(counts.outbox).toBe(counts.raw_file)
  const unexpected = errorsLogged(service.log()).filter(
    (line) => !/storage failed|cannot be read/.test(line),
  )
  expect(unexpected).toEqual([])
})

describe('what would make events too long for a broker', () => {
  const told = async (answer: Response) => [answer.status, await answer.text()] as const

  it.each(['arguments', 'environment'])('%s over 1 MiB are refused', async (field) => {
    const before = await rowCounts(store.databaseUri)
    const long = exampleJob({ [field]: { x: 'é'.repeat(512 * 1024) } })
    const [status, text] = await told(await client.postJson('/bytes/boefje_meta', long))
    expect([status, text]).toEqual([422, expect.stringContaining(`body.${field}: longer than`)])
    expect(await rowCounts(store.databaseUri)).toEqual(before)
    const fits = exampleJob({ [field]: { x: 'e'.repeat(1024 * 1024 - 8) } })
    expect((await client.postJson('/bytes/boefje_meta', fits)).status).toBe(201)
  })

  it('more than 1000 tags are refused', async () => {
    const path = `/bytes/raw?boefje_meta_id=${await client.job()}`
    const tags = Array.from({ length: 1001 }, (_, i) => `tag/${i}`)
    const body = (of: string[]) => ({ files: [{ name: 'a', content: '', tags: of }] })
    const [status, text] = await told(await client.postJson(path, body(tags)))
    expect([status, text]).toEqual([422, expect.stringContaining('at most 1000 tags')])
    expect((await client.postJson(path, body(tags.slice(1)))).status).toBe(200)
  })
})
