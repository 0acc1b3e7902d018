/** The commands put, get, evidence and verify, inside this process. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Command } from '../../src/cli/command.js'
import { UsageError } from '../../src/cli/command.js'
import { command as evidence } from '../../src/cli/evidence.js'
import { command as get } from '../../src/cli/get.js'
import { command as put } from '../../src/cli/put.js'
import { command as verify } from '../../src/cli/verify.js'
import { SettingsError } from '../../src/environment.js'
import { FAKE_USER, type FakeBytes, refuse, sha512, startFakeBytes } from '../support/fake-bytes.js'

const JOB = '00000000-0000-4000-8000-000000000000'

let fake: FakeBytes
let folder: string
let before: string
let stdout: string
let stderr: string
const isTTY = process.stdout.isTTY

beforeEach(async () => {
  fake = await startFakeBytes()
  folder = await mkdtemp(join(tmpdir(), 'bytes-test-cli-'))
  before = process.cwd()
  process.chdir(folder)
  stdout = ''
  vi.spyOn(process.stdout, 'write').mockImplementation(((
    chunk: string | Uint8Array,
    done: unknown,
  ) => {
    stdout += Buffer.from(chunk as Uint8Array).toString('latin1')
    if (typeof done === 'function') done()
    return true
  }) as typeof process.stdout.write)
  stderr = ''
  vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => {
    stderr += String(chunk)
    return true
  })
  process.stdout.isTTY = false
  vi.stubEnv('BYTES_URL', fake.url)
  vi.stubEnv('BYTES_USERNAME', FAKE_USER.username)
  vi.stubEnv('BYTES_PASSWORD', FAKE_USER.password)
  vi.stubEnv('BYTES_DATA_DIR', undefined)
})

afterEach(async () => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
  process.stdout.isTTY = isTTY
  process.chdir(before)
  await fake.close()
  await rm(folder, { recursive: true, force: true })
})

const usage = async (command: Command, ...args: string[]): Promise<string> => {
  const error = await command.run(args).catch((found: unknown) => found)
  if (error instanceof UsageError) return error.message
  throw new Error(`no usage error: ${error}`)
}

describe('put', () => {
  it('tells at once that it waits, and why, when the service asks for time', async () => {
    await writeFile('a.txt', 'one')
    let asked = 0
    fake.interceptors.add((request, response) => {
      if (!request.url?.startsWith('/bytes/raw?') || asked++ > 0) return false
      expect(stderr).toBe('')
      return refuse(response, 503, 'Too many uploads', { 'retry-after': '2' })
    })
    expect(await put.run(['a.txt', '--organization', 'acme'])).toBe(0)
    expect(stderr).toMatch(
      /^bytes: waiting for the service: Too many uploads \(HTTP 503, [^\n]*\); it asks for 2 s\n$/,
    )
  })

  it('tells of no time when the service asks for none', async () => {
    await writeFile('a.txt', 'one')
    let asked = 0
    fake.interceptors.add((request, response) => {
      if (!request.url?.startsWith('/bytes/raw?') || asked++ > 2) return false
      return refuse(response, 503, 'Too many uploads', { 'retry-after': '0' })
    })
    expect(await put.run(['a.txt', '--organization', 'acme'])).toBe(0)
    expect(stderr).toMatch(
      /^bytes: waiting for the service: Too many uploads \(HTTP 503, [^)]*\)\n$/,
    )
  })

  it('stores each file for a job of its own', async () => {
    await writeFile('a.txt', 'one')
    await writeFile('b.txt', 'two')
    const started = Date.now()
    expect(
      await put.run(['a.txt', 'b.txt', '--organization', 'acme', '--tag', 'x/y', '--tag', 'z']),
    ).toBe(0)
    const [a, b] = fake.raws.values()
    expect(stdout).toBe(`${a?.id}  a.txt\n${b?.id}  b.txt\n`)
    expect(a).toMatchObject({ name: 'a.txt', tags: '["x/y","z"]', content: Buffer.from('one') })
    expect(a?.job).not.toBe(b?.job)
    const job = fake.jobs.get(a?.job ?? '')
    expect(job).toMatchObject({ organization: 'acme', boefje: { id: 'manual' }, input_ooi: null })
    expect(job?.started_at).toBe(job?.ended_at)
    expect(Math.abs(Date.parse(String(job?.ended_at)) - started)).toBeLessThan(60_000)
  })

  it('stores a file for a job that is there, under a name', async () => {
    await writeFile('a', 'one')
    const name = 'n\u001bm\u202e\u009b'
    expect(await put.run(['a', '--job', JOB, '--name', name, '--json'])).toBe(0)
    const [a] = fake.raws.values()
    expect(a).toMatchObject({ job: JOB, name })
    expect(stdout.trim()).not.toMatch(/[\p{Cc}\p{Cf}]/u)
    expect(JSON.parse(stdout)).toEqual({
      id: a?.id,
      name,
      job: JOB,
      size: 3,
      digest: `sha512:${sha512(Buffer.from('one')).toString('hex')}`,
    })
    expect(fake.sent('POST /bytes/boefje_meta')).toEqual([])
  })

  it('tells all files that cannot be read, and then stores nothing', async () => {
    await writeFile('a', 'one')
    await mkdir('folder')
    expect(await put.run(['a', 'no\u001bne', 'folder', '--organization', 'acme'])).toBe(1)
    expect(stderr).toBe(
      'bytes: no\\u001bne cannot be read: no such file or directory (ENOENT)\n' +
        'bytes: folder cannot be read: it is a directory\n',
    )
    expect([stdout, fake.requests]).toEqual(['', []])
  })

  it('goes on after a file that fails on the way', async () => {
    for (const name of ['a', 'b', 'c']) await writeFile(name, name)
    fake.interceptors.add((request, response) =>
      request.url?.includes('name=b') ? refuse(response, 413, 'too long') : false,
    )
    expect(await put.run(['a', 'b', 'c', '--organization', 'acme'])).toBe(1)
    expect(stdout).toMatch(/^\S+ {2}a\n\S+ {2}c\n$/)
    expect(stderr).toMatch(/^bytes: b: too long \(HTTP 413, request \S+\)\n$/)
  })

  it('ends at a failure that the next file would meet as well', async () => {
    for (const name of ['a', 'b']) await writeFile(name, name)
    fake.interceptors.add((request, response) =>
      request.url?.includes('name=a') ? refuse(response, 507, 'full') : false,
    )
    await expect(put.run(['a', 'b', '--organization', 'acme'])).rejects.toThrow(/^a: full/)
    expect(fake.jobs.size).toBe(2)
  })

  it('looks for the job before it sends a file', async () => {
    await writeFile('a', 'one')
    const job = '00000000-0000-4000-8000-000000000009'
    await expect(put.run(['a', '--job', job])).rejects.toThrow(/Boefje meta not found/)
    expect(fake.sent('POST /bytes')).toEqual([])
  })

  it('makes no job for what the service would refuse', async () => {
    await writeFile('a', 'one')
    const long = '\u{1f600}'.repeat(65)
    const wrong: [string[], RegExp][] = [
      [['--organization', long.slice(0, 66)], /--organization is longer than 32 characters/],
      [['--organization', 'a/b'], /must not contain "\/"/],
      [['--organization', '..'], /not be "\." or "\.\."/],
      [['--organization', ''], /--organization is empty/],
      [['--organization', 'o', '--tag', long], /--tag is longer than 64 characters/],
      [['--organization', 'o', '--name', ''], /--name is empty/],
      [['--job', 'x'], /--job must be the id of a job/],
      [['-', '-', '--organization', 'o'], /standard input can be stored once/],
    ]
    for (const [args, text] of wrong) expect(await usage(put, 'a', ...args)).toMatch(text)
    expect(fake.requests).toEqual([])
    const most = ['--organization', '\u{1f600}'.repeat(32), '--tag', '\u{1f600}'.repeat(64)]
    expect(await put.run(['a', ...most])).toBe(0)
  })

  it('has files, and either an organization or a job', async () => {
    expect(await usage(put, '--organization', 'o')).toMatch(/files/)
    expect(await usage(put, 'a')).toMatch(/--organization or --job/)
    expect(await usage(put, 'a', '--organization', 'o', '--job', JOB)).toMatch(/either/)
    expect(await usage(put, 'a', 'b', '--job', JOB)).toMatch(/--job is for one file/)
    expect(await usage(put, 'a', 'b', '--organization', 'o', '--name', 'n')).toMatch(/--name/)
    await expect(put.run(['a', '--nonsense'])).rejects.toThrow(/nonsense/)
    expect(fake.requests).toEqual([])
  })
})

describe('get', () => {
  it('writes to the standard output, and to a file', async () => {
    const { id } = fake.store('content')
    expect(await get.run([id])).toBe(0)
    expect(stdout).toBe('content')
    expect(await get.run([id, '-o', '-'])).toBe(0)
    expect(stdout).toBe('contentcontent')
    expect(await get.run([id, '-o', 'out'])).toBe(0)
    expect(await readFile('out', 'utf8')).toBe('content')
    await expect(get.run([id, '-o', 'out'])).rejects.toThrow(
      /^out is there already: use --force to replace it, or -o for another name$/,
    )
    await writeFile('out', 'changed')
    expect(await get.run([id, '-o', 'out', '--force'])).toBe(0)
    expect(await readFile('out', 'utf8')).toBe('content')
  })

  it('writes no content to a terminal, but to a file of its name in the current folder', async () => {
    process.stdout.isTTY = true
    const { id } = fake.store('content', '../../.evil')
    expect(await get.run([id])).toBe(0)
    expect(stdout).toBe('evil\n')
    expect(await readdir('.')).toEqual(['evil'])
    await expect(get.run([id])).rejects.toThrow(/evil is there already/)
    const unnamed = fake.store('content', '..')
    expect(await get.run([unnamed.id])).toBe(0)
    expect((await readdir('.')).sort()).toEqual([unnamed.id, 'evil'].sort())
  })

  it('writes no content to a terminal though the raw file is named like it', async () => {
    process.stdout.isTTY = true
    const { id } = fake.store('\u001b[2Jcontent', '-')
    expect(await get.run([id])).toBe(0)
    expect(stdout).toBe('-\n')
    expect(await readFile('./-', 'utf8')).toBe('\u001b[2Jcontent')
    // Whoever asks for it has it.
    expect(await get.run([id, '-o', '-'])).toBe(0)
    expect(stdout).toBe('-\n\u001b[2Jcontent')
  })

  it('takes one id', async () => {
    expect(await usage(get)).toMatch(/one raw file/)
    expect(await usage(get, 'a', 'b')).toMatch(/one raw file/)
    await expect(get.run(['none'])).rejects.toThrow(/Raw file not found \(HTTP 404, request .*\)$/)
    await expect(get.run(['a/b'])).rejects.toThrow(/HTTP 404/)
  })
})

describe('verify', () => {
  it('tells both digests', async () => {
    const raw = fake.store('content')
    expect(await verify.run([raw.id])).toBe(0)
    expect(stdout).toMatch(
      /^content digest {9}ok {5}sha512:[0-9a-f]{128}\nsecure hash {12}ok {5}sha512:[0-9a-f]{128}\ntimestamp {14}- {6}none yet: .*\npending: .*\n$/,
    )
    expect(stderr).toBe('')
  })

  it('tells what is wrong, and with what', async () => {
    const raw = fake.store('content')
    const job = fake.jobs.get(JOB)
    if (job) job.ended_at = '2026-01-01T00:00:02Z'
    expect(await verify.run([raw.id])).toBe(1)
    expect(stdout).toMatch(/\nsecure hash {12}WRONG {2}sha512:[0-9a-f]{128}, recorded sha512:/)
    expect(stdout).toMatch(/\nfailed: something is wrong\n$/)
    expect(stderr).toBe(`bytes: raw file ${raw.id} is not what was stored\n`)
    expect(await usage(verify)).toMatch(/one raw file/)
  })
})

describe('verify with a retrieval link', () => {
  const RECORD = `/bytes/evidence_records/${JOB}`
  /** What the service says of the link, and of the record that it may name. */
  const claim = (link: string, record?: Buffer | number): void => {
    fake.interceptors.add((request, response) => {
      if (request.url === RECORD && typeof record === 'number') {
        return refuse(response, record, 'There is no such evidence record')
      }
      if (request.url === RECORD) {
        response.end(record)
        return true
      }
      if (!request.url?.endsWith('/meta')) return false
      const end = response.end.bind(response) as (text: string) => typeof response
      response.end = ((text: string) =>
        end(
          JSON.stringify({ ...JSON.parse(text), hash_retrieval_link: link }),
        )) as typeof response.end
      return false
    })
  }

  it.each<[string, string, Buffer | number | undefined, RegExp]>([
    ['a token that is none', 'MAA=', undefined, /\ntimestamp format +WRONG /],
    [
      'a record that is none',
      RECORD,
      Buffer.from('x'),
      /\nevidence record +WRONG +not an evidence/,
    ],
    [
      'a record that is not there',
      RECORD,
      404,
      /\nevidence record +WRONG +no such evidence record/,
    ],
  ])('finds out %s', async (_, link, record, line) => {
    claim(link, record)
    const raw = fake.store('content')
    expect(await verify.run([raw.id])).toBe(1)
    expect(stdout).toMatch(/^content digest +ok .*\nsecure hash +ok /)
    expect(stdout).toMatch(line)
    expect(stdout).toMatch(/\nfailed: something is wrong\n$/)
    expect(stderr).toBe(`bytes: the timestamp of raw file ${raw.id} is not good\n`)
  })

  it.each([
    ['https://pastebin.example/\u001babc', /\ntimestamp +- +none: see .* https:.*\\u001babc\n/],
    [JOB, /\ntimestamp +- +none: the service has kept the secure hash to itself\n/],
  ])('says what %j is worth', async (link, line) => {
    claim(link)
    expect(await verify.run([fake.store('content').id])).toBe(0)
    expect(stdout).toMatch(line)
    expect(stdout).toMatch(/\nunverifiable: /)
  })

  it('does not take an endless answer for a record', async () => {
    claim(RECORD, Buffer.alloc(4 * 1024 * 1024 + 1))
    await expect(verify.run([fake.store('content').id])).rejects.toThrow(/too long/)
  })

  it('is told of anchors that cannot be used before anything is asked', async () => {
    const { id } = fake.store('content')
    await expect(verify.run([id, '--anchor', 'none.pem'])).rejects.toThrow(/none\.pem/)
    expect(fake.requests).toEqual([])
  })
})

describe('the credentials', () => {
  const keep = (text: string) => writeFile('credentials.json', text)
  const KEPT = JSON.stringify({ ...FAKE_USER, secret: 's' })

  beforeEach(() => {
    vi.stubEnv('BYTES_PASSWORD', undefined)
    vi.stubEnv('BYTES_DATA_DIR', folder)
  })

  it('are those of the data directory', async () => {
    await keep(KEPT)
    const { id } = fake.store('content')
    await get.run([id])
    vi.stubEnv('BYTES_USERNAME', undefined)
    await get.run([id])
    expect(stdout).toBe('contentcontent')
  })

  it('are not told to another machine, nor taken for another user', async () => {
    await keep(KEPT)
    vi.stubEnv('BYTES_USERNAME', 'other')
    await expect(get.run(['x'])).rejects.toThrow(SettingsError)
    vi.stubEnv('BYTES_USERNAME', undefined)
    vi.stubEnv('BYTES_URL', 'http://bytes.invalid')
    await expect(get.run(['x'])).rejects.toThrow(/BYTES_USERNAME and BYTES_PASSWORD: not set/)
    expect(fake.requests).toEqual([])
  })

  it('are told of where they come from when the service has others', async () => {
    await keep(JSON.stringify({ ...FAKE_USER, password: 'another', secret: 's' }))
    const failure = await get.run(['x']).catch(String)
    expect(failure).toContain(
      `the credentials are those of ${join(folder, 'credentials.json')}: set`,
    )
    expect(failure).not.toContain('another')
  })

  it('are missing, or damaged', async () => {
    await expect(get.run(['x'])).rejects.toThrow(/BYTES_PASSWORD: not set; give the password of/)
    await keep('{"username": "fake", "password": "hidden"')
    await expect(get.run(['x'])).rejects.toThrow(/credentials\.json is damaged/)
    await expect(get.run(['x'])).rejects.not.toThrow(/hidden/)
  })
})

describe('a connection that fails', () => {
  it('to nobody says what to check', async () => {
    vi.stubEnv('BYTES_URL', 'http://127.0.0.1:1')
    await expect(get.run(['x'])).rejects.toThrow(
      /^no answer from http:\/\/127\.0\.0\.1:1: .*; is the service running\? BYTES_URL=http:\/\/127\.0\.0\.1:1$/,
    )
  })

  it('with wrong credentials says what to check', async () => {
    vi.stubEnv('BYTES_PASSWORD', 'wrong')
    await expect(get.run(['x'])).rejects.toThrow(/check BYTES_USERNAME and BYTES_PASSWORD$/)
  })

  it.each(['/docs', '/some/where/'])('to the path %s is one of the settings', async (path) => {
    vi.stubEnv('BYTES_URL', `${fake.url}${path}`)
    fake.interceptors.add((_, response) => refuse(response, 404, 'Not Found'))
    const error = await get.run(['x']).catch((found: unknown) => found)
    expect(error).toBeInstanceOf(SettingsError)
    expect(String(error)).toMatch(/does not look like a Bytes service .*check BYTES_URL/)
  })

  it.each(['http://u:s3cr3t@127.0.0.1:1', 'http://127.0.0.1:1/?s3cr3t'])(
    'to %s is one of the settings',
    async (url) => {
      vi.stubEnv('BYTES_URL', url)
      const error = await get.run(['x']).catch((found: unknown) => found)
      expect(error).toBeInstanceOf(SettingsError)
      expect(String(error)).toMatch(/BYTES_URL: .*no credentials or query/)
      expect(String(error)).not.toMatch(/s3cr3t/)
    },
  )
})

describe('evidence', () => {
  it('says how to find the reason when a bundle breaks off and the service tells none', async () => {
    const { id } = fake.store('content')
    fake.interceptors.add((request, response) => {
      if (!request.url?.endsWith('/evidence')) return false
      response.writeHead(200, { 'content-length': 1000 })
      response.write('PK', () => response.destroy())
      return true
    })
    await expect(evidence.run([id])).rejects.toThrow(
      new RegExp(
        `^the evidence bundle of raw file ${id} did not come whole: .*; bytes verify ${id} tells whether its content is damaged$`,
      ),
    )
    expect(await readdir('.')).toEqual([])
  })
})
