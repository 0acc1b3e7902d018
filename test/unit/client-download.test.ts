import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, writeFileSync } from 'node:fs'
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  BytesClientError,
  createClient,
  type DownloadOptions,
  type DownloadTarget,
} from '../../src/client/client.js'
import { FAKE_USER, type FakeBytes, refuse, sha512, startFakeBytes } from '../support/fake-bytes.js'

const CONTENT = Buffer.from(Array.from({ length: 100_000 }, (_, i) => `${i}`).join(' '))

let fake: FakeBytes
let folder: string
let client: ReturnType<typeof createClient>

beforeEach(async () => {
  fake = await startFakeBytes()
  folder = await mkdtemp(join(tmpdir(), 'bytes-test-client-'))
  client = createClient({ url: fake.url, ...FAKE_USER, pause: async () => undefined })
})

afterEach(async () => {
  await fake.close()
  await rm(folder, { recursive: true, force: true })
})

const failureOf = async (
  id: string,
  target: DownloadTarget = join(folder, 'out'),
  options: DownloadOptions = {},
): Promise<BytesClientError> => {
  const error = await client.download(id, target, options).catch((found: unknown) => found)
  if (error instanceof BytesClientError) return error
  throw new Error(`no client error: ${error}`)
}
const contents = () =>
  fake.requests.filter(({ method, path }) => method === 'GET' && /\/raw\//.test(path))
/** Changes the headers of content, or what follows them. */
const alter = (change: (headers: Record<string, string>) => void): void => {
  fake.interceptors.add((request, response) => {
    if (!request.url?.startsWith('/bytes/raw/')) return false
    const write = response.writeHead.bind(response) as (
      code: number,
      headers: object,
    ) => typeof response
    response.writeHead = ((code: number, headers: Record<string, string>) => {
      change(headers)
      return write(code, headers)
    }) as typeof response.writeHead
    return false
  })
}
const collector = () => {
  const chunks: Buffer[] = []
  const stream = new Writable({
    write(chunk, _encoding, done) {
      chunks.push(chunk)
      setImmediate(done)
    },
  })
  return { stream, content: () => Buffer.concat(chunks) }
}

describe('a download', () => {
  it.each([0, 1, CONTENT.length])('writes %i bytes to every kind of target', async (size) => {
    const content = CONTENT.subarray(0, size)
    const { id } = fake.store(content, 'a.txt')
    const info = { size, digest: `sha512:${sha512(content).toString('hex')}`, fileName: 'a.txt' }
    const path = join(folder, 'out')
    expect(await client.download(id, path)).toEqual(info)
    expect((await readFile(path)).equals(content)).toBe(true)
    await client.download(id, pathToFileURL(join(folder, 'two')))
    expect((await readFile(join(folder, 'two'))).equals(content)).toBe(true)

    const node = collector()
    expect(await client.download(id, node.stream)).toEqual(info)
    expect([node.content().equals(content), node.stream.writable]).toEqual([true, true])

    const parts: Uint8Array[] = []
    const web = new WritableStream<Uint8Array>({ write: (chunk) => void parts.push(chunk) })
    await client.download(id, web)
    expect([Buffer.concat(parts).equals(content), web.locked]).toEqual([true, false])
    expect(await client.stat(id)).toEqual(info)
    expect((await readdir(folder)).sort()).toEqual(['out', 'two'])
  })

  it('tells how far it is', async () => {
    const { id } = fake.store(CONTENT)
    const seen: number[] = []
    await client.download(id, join(folder, 'out'), {
      onProgress: ({ received, total }) => {
        expect(total).toBe(CONTENT.length)
        seen.push(received)
      },
    })
    expect(seen.at(-1)).toBe(CONTENT.length)
    expect([...seen].sort((a, b) => a - b)).toEqual(seen)
  })

  it('goes on where it broke, into any target', async () => {
    const { id } = fake.store(CONTENT)
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: CONTENT.length - 1 }), { maxLength: 4 }),
        fc.boolean(),
        async (cuts, toFile) => {
          fake.cuts.splice(0, fake.cuts.length, ...cuts)
          const { stream, content } = collector()
          const path = join(folder, 'out')
          await client.download(id, toFile ? path : stream)
          expect((toFile ? await readFile(path) : content()).equals(CONTENT)).toBe(true)
        },
      ),
      { numRuns: 40 },
    )
    const ranges = contents().map(({ headers }) => headers.range)
    expect(ranges.filter((range) => range !== undefined).length).toBeGreaterThan(20)
  })

  it('begins anew where the service cannot go on, if the target can', async () => {
    const { id } = fake.store(CONTENT)
    for (const change of [
      (headers: Record<string, string>) => delete headers.etag,
      (headers: Record<string, string>) => {
        headers.etag = `W/${headers.etag}`
      },
    ]) {
      fake.interceptors.clear()
      alter(change)
      fake.cuts.push(300_000)
      await client.download(id, join(folder, 'out'))
      expect((await readFile(join(folder, 'out'))).equals(CONTENT)).toBe(true)
      fake.cuts.push(300_000)
      const error = await failureOf(id, collector().stream)
      expect([error.code, error.message]).toEqual(['incomplete', expect.stringMatching(/taken up/)])
    }
  })

  it('gives up after five minutes of breaks that bring nothing', async () => {
    const { id } = fake.store(CONTENT)
    fake.cuts.push(...Array(500).fill(0))
    expect((await failureOf(id)).code).toBe('incomplete')
    // Five minutes, in steps of at most ten seconds.
    expect(contents().length).toBeGreaterThan(30)
    expect(fake.cuts.length).toBeGreaterThan(300)
    expect(await readdir(folder)).toEqual([])
  })

  it('tells of a wrong digest, and leaves no file', async () => {
    const { id } = fake.store(CONTENT)
    await writeFile(join(folder, 'out'), 'before')
    alter((headers) => {
      headers['repr-digest'] = `sha-512=:${sha512(Buffer.from('x')).toString('base64')}:`
    })
    const error = await failureOf(id)
    expect(error.code).toBe('digest_mismatch')
    expect(await readdir(folder)).toEqual(['out'])
    expect(await readFile(join(folder, 'out'), 'utf8')).toBe('before')
    expect((await failureOf(id, collector().stream)).code).toBe('digest_mismatch')
  })

  it('takes no other part than it asked for', async () => {
    const { id } = fake.store(CONTENT)
    fake.cuts.push(300_000)
    alter((headers) => {
      if (headers['content-range']) headers['content-range'] = `bytes 0-9/${CONTENT.length}`
    })
    expect((await failureOf(id)).code).toBe('unexpected_answer')
  })

  it('needs the size and the digest', async () => {
    const { id } = fake.store(CONTENT)
    for (const name of ['repr-digest', 'content-length']) {
      fake.interceptors.clear()
      alter((headers) => delete headers[name])
      expect((await failureOf(id)).code).toBe('unexpected_answer')
    }
    expect(await readdir(folder)).toEqual([])
  })

  it('is of a raw file that is there', async () => {
    expect((await failureOf('none')).code).toBe('not_found')
    fake.interceptors.add((request, response) =>
      request.url?.startsWith('/bytes/raw/') ? refuse(response, 500, 'blob damaged') : false,
    )
    expect(await failureOf('x')).toMatchObject({ code: 'server_error', serverText: 'blob damaged' })
    expect(await readdir(folder)).toEqual([])
  })

  it('leaves a file that is there as it is, when it must', async () => {
    const { id } = fake.store(CONTENT)
    const path = join(folder, 'out')
    await writeFile(path, 'before')
    const error = await failureOf(id, path, { overwrite: false })
    expect([error.code, error.message]).toEqual(['target_exists', `${path} is there already`])
    expect(contents()).toEqual([])
    // It appears while the content comes.
    await rm(path)
    const late = await failureOf(id, path, {
      overwrite: false,
      onProgress: () => writeFileSync(path, 'meanwhile'),
    })
    expect(late.code).toBe('target_exists')
    expect(await readFile(path, 'utf8')).toBe('meanwhile')
    expect(await readdir(folder)).toEqual(['out'])
    await rm(path)
    await client.download(id, path, { overwrite: false })
    expect((await readFile(path)).equals(CONTENT)).toBe(true)
    expect(await readdir(folder)).toEqual(['out'])
  })

  it('tells what is wrong with the target', async () => {
    const { id } = fake.store(CONTENT)
    const path = join(folder, 'no', 'where')
    expect(await failureOf(id, path)).toMatchObject({
      code: 'target_failed',
      // Of the part that is written nobody knows.
      message: `${path} cannot be written: no such file or directory (ENOENT)`,
    })
    for (const target of [null, '', 5, new URL('http://host/')] as unknown as string[]) {
      expect((await failureOf(id, target)).code).toBe('invalid_argument')
    }
    const broken = new Writable({ write: (_c, _e, done) => done(new Error('the disk broke')) })
    expect(await failureOf(id, broken)).toMatchObject({
      message: 'the target cannot be written: the disk broke',
    })
    const destroyed = new PassThrough()
    destroyed.destroy()
    expect((await failureOf(id, destroyed)).code).toBe('target_failed')
    const web = new WritableStream({
      write: () => {
        throw new Error('the web broke')
      },
    })
    expect((await failureOf(id, web)).code).toBe('target_failed')
  })

  it('ends when its signal aborts, and leaves no file', async () => {
    const { id } = fake.store(CONTENT)
    const controller = new AbortController()
    const error = await failureOf(id, join(folder, 'out'), {
      signal: controller.signal,
      onProgress: () => controller.abort(),
    })
    expect(error.code).toBe('aborted')
    expect(await readdir(folder)).toEqual([])
  })
})

describe('a stream', () => {
  it('never gets a complete content that is wrong', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: CONTENT.length }),
        fc.boolean(),
        async (size, isCut) => {
          const raw = fake.store(CONTENT.subarray(0, size))
          fake.interceptors.clear()
          alter((headers) => {
            const digest = sha512(Buffer.from('x'))
            headers['repr-digest'] = `sha-512=:${digest.toString('base64')}:`
          })
          // As the service cuts a damaged blob before its last piece.
          if (isCut) fake.cuts.push(Math.floor(size / 2))
          const { stream, content } = collector()
          expect((await failureOf(raw.id, stream)).code).toBe('digest_mismatch')
          expect(content().length).toBeLessThanOrEqual(Math.max(0, size - 64 * 1024))
          expect(content().equals(CONTENT.subarray(0, content().length))).toBe(true)
        },
      ),
      { numRuns: 30 },
    )
  })

  it('that nobody reads is not waited for when the signal aborts', async () => {
    const { id } = fake.store(CONTENT)
    const stuck = new Writable({ write: () => undefined })
    const controller = new AbortController()
    const error = failureOf(id, stuck, { signal: controller.signal })
    setTimeout(() => controller.abort(), 50)
    expect((await error).code).toBe('aborted')
  })
})

describe('a path', () => {
  const run = promisify(execFile)

  it.runIf(process.getuid?.() === 0)('of a device is written into', async () => {
    const { id } = fake.store(CONTENT)
    const path = join(folder, 'null')
    // As /dev/null is one.
    await run('mknod', [path, 'c', '1', '3'])
    await client.download(id, path, { overwrite: true })
    expect((await lstat(path)).isCharacterDevice()).toBe(true)
    expect(await readdir(folder)).toEqual(['null'])
  })

  it('behind a link is replaced where it is, and keeps its mode', async () => {
    const { id } = fake.store(CONTENT)
    await mkdir(join(folder, 'else'))
    const [file, path] = [join(folder, 'else', 'file'), join(folder, 'link')]
    await writeFile(file, 'before')
    await chmod(file, 0o604)
    await symlink(join('else', 'file'), path)
    expect((await failureOf(id, path, { overwrite: false })).code).toBe('target_exists')
    await client.download(id, path)
    expect(await readlink(path)).toBe(join('else', 'file'))
    expect((await readFile(file)).equals(CONTENT)).toBe(true)
    expect((await stat(file)).mode & 0o777).toBe(0o604)
    expect(await readdir(join(folder, 'else'))).toEqual(['file'])
    await rm(file)
    expect((await failureOf(id, path)).message).toMatch(/link to something that is not there/)
  })

  it('of a new file gets what the umask leaves', async () => {
    const { id } = fake.store(CONTENT)
    const path = join(folder, 'out')
    await client.download(id, path)
    // In a worker it can be read only by making a file.
    await writeFile(join(folder, 'other'), '')
    expect((await stat(path)).mode).toBe((await stat(join(folder, 'other'))).mode)
  })

  it('of a folder is refused before anything is asked for', async () => {
    const error = await failureOf('x', folder)
    expect([error.code, error.message]).toEqual(['target_failed', `${folder} is a directory`])
    expect(fake.requests).toEqual([])
  })

  it('loses what a killed download to it left more than a day ago', async () => {
    const { id } = fake.store(CONTENT)
    const parts = async () => (await readdir(folder)).filter((name) => name.endsWith('.part'))
    const names: string[] = []
    for (const name of ['out', 'other', `${'long '.repeat(20)}1`, `${'long '.repeat(20)}2`]) {
      const onProgress = () => {
        names.push(...readdirSync(folder).filter((found) => found.endsWith('.part')))
      }
      await client.download(id, join(folder, name), { onProgress })
    }
    expect(new Set(names).size).toBe(4)
    for (const name of new Set(names)) {
      await writeFile(join(folder, name), 'left')
      await utimes(join(folder, name), 0, Date.now() / 1000 - 25 * 60 * 60)
    }
    const fresh = [...names][0]?.replace(/[0-9a-f]{12}(?=\.part$)/, '0123456789ab') ?? ''
    await writeFile(join(folder, fresh), 'under way')
    expect((await parts()).length).toBe(5)
    await client.download(id, join(folder, 'out'))
    expect((await parts()).length).toBe(4)
    expect(await parts()).toContain(fresh)
    await client.download(id, join(folder, `${'long '.repeat(20)}2`))
    expect((await parts()).length).toBe(3)
  })
})

describe('a verification', () => {
  it('passes for what was stored, also after a break', async () => {
    const { id } = fake.store(CONTENT)
    fake.cuts.push(1000, 300_000)
    const secure = createHash('sha512').update(CONTENT).update('1767225601.5').digest('hex')
    const digest = `sha512:${sha512(CONTENT).toString('hex')}`
    expect(await client.verify(id)).toEqual({
      contentDigest: { expected: digest, found: digest, passed: true },
      secureHash: { expected: `sha512:${secure}`, found: `sha512:${secure}`, passed: true },
      passed: true,
      rawFile: await client.rawFile(id),
    })
  })

  /** Changes the metadata of raw files. */
  const claim = (change: (meta: Record<string, unknown>) => void): void => {
    fake.interceptors.add((request, response) => {
      if (!request.url?.endsWith('/meta')) return false
      const end = response.end.bind(response) as (text: string) => typeof response
      response.end = ((text: string) => {
        const meta = JSON.parse(text) as Record<string, unknown>
        change(meta)
        return end(JSON.stringify(meta))
      }) as typeof response.end
      return false
    })
  }

  it('computes SHA-224', async () => {
    const secure = createHash('sha224').update(CONTENT).update('1767225601.5').digest('hex')
    claim((meta) => {
      meta.secure_hash = `sha224:${secure}`
    })
    expect(await client.verify(fake.store(CONTENT).id)).toMatchObject({ passed: true })
  })

  it('fails for another time, or other content', async () => {
    const { id } = fake.store(CONTENT)
    claim((meta) => Object.assign(meta.boefje_meta as object, { ended_at: '2026-01-01T00:00:01Z' }))
    expect(await client.verify(id)).toMatchObject({
      contentDigest: { passed: true },
      secureHash: { passed: false },
      passed: false,
    })
    fake.interceptors.clear()
    alter((headers) => {
      headers['repr-digest'] = `sha-512=:${Buffer.alloc(64).toString('base64')}:`
    })
    expect(await client.verify(id)).toMatchObject({
      contentDigest: { passed: false, expected: `sha512:${'0'.repeat(128)}` },
      secureHash: { passed: true },
      passed: false,
    })
  })

  it.each([
    [{ secure_hash: null }],
    [{ secure_hash: 'md5:00' }],
    [{ boefje_meta: null }],
    [{ boefje_meta: { ended_at: 'soon' } }],
  ])('is not possible with %j', async (fields) => {
    const { id } = fake.store(CONTENT)
    claim((meta) => Object.assign(meta, fields))
    await expect(client.verify(id)).rejects.toMatchObject({ code: 'unexpected_answer' })
  })
})

describe('what is stored', () => {
  it('is listed page by page', async () => {
    const ids = Array.from({ length: 5 }, (_, i) => fake.store(`${i}`).id)
    const found: string[] = []
    const filter = {
      organization: ['a', 'b'],
      normalized: false,
      mimeTypes: ['t/t'],
      rawIds: ['r'],
    }
    for await (const raw of client.listRawFiles({ ...filter, boefjeMetaId: 'j' }))
      found.push(raw.id)
    expect(found).toEqual(ids)
    expect(fake.sent('GET /bytes/raw?').map(({ path }) => path)).toEqual([
      '/bytes/raw?limit=100&organization=a&organization=b&boefje_meta_id=j&normalized=false&mime_types=t%2Ft&raw_ids=r',
      '/bytes/raw?limit=2&after=2',
      '/bytes/raw?limit=2&after=4',
    ])
  })

  it('is listed only as far as it is read, and from one server only', async () => {
    for (let i = 0; i < 5; i++) fake.store(`${i}`)
    for await (const _raw of client.listRawFiles()) break
    expect(fake.sent('GET /bytes/raw?').length).toBe(1)
    fake.interceptors.add((_request, response) => {
      response.setHeader('link', '<http://127.0.0.1:1/>; rel=next')
      return false
    })
    const read = async () => {
      for await (const _raw of client.listRawFiles({ organization: 'x' }));
    }
    fake.raws.clear()
    await expect(read()).rejects.toMatchObject({ code: 'unexpected_answer' })
  })

  it('is told of by digest', async () => {
    fake.store('x')
    const hex = sha512(Buffer.from('x')).toString('hex')
    expect(await client.hasBlob(`sha512:${hex}`, 'org')).toBe(true)
    expect(await client.hasBlob(hex, 'org')).toBe(true)
    expect(await client.hasBlob(hex, 'other')).toBe(false)
    expect(await client.hasBlob(hex.replace(/^./, 'z'), 'org')).toBe(false)
  })

  it('are jobs', async () => {
    const times = { started_at: '2026-01-01T00:00:00Z', ended_at: '2026-01-01T00:00:00Z' }
    const job = { organization: 'org', ...times, boefje: { id: 'b', version: '1' } }
    const { id } = await client.createJob(job)
    expect(await client.getJob(id)).toMatchObject({ ...job, id, arguments: {}, input_ooi: null })
    const named = { ...job, id: '11111111-0000-4000-8000-000000000000', arguments: { a: 1 } }
    expect(await client.createJob(named)).toEqual({ id: named.id })
    expect(await client.getJob(named.id)).toMatchObject(named)
  })
})
