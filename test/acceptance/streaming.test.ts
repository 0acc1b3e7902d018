import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, login } from '../support/client.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { base64, errorsLogged, eventually, openWire, stateOf } from './helpers.js'
import { BOUNDARY, contentOf, formBody, jsonBody, sendBody, sha512 } from './streaming-helpers.js'

const MAX_BODY = 40 * 1024 * 1024
const MAX_FILES = 50
const FORM = `multipart/form-data; boundary=${BOUNDARY}`
const OCTETS = 'application/octet-stream'

let store: TestStore
let service: TestService
let client: Client

beforeAll(async () => {
  store = await testStore()
  service = await store.start({
    BYTES_MAX_BODY_BYTES: String(MAX_BODY),
    BYTES_MAX_FILES_PER_UPLOAD: String(MAX_FILES),
  })
  client = await login(service.url)
})

afterAll(async () => {
  expect(errorsLogged(service.log())).toEqual([])
  await store.remove()
})

type Body = Iterable<Uint8Array> | AsyncIterable<Uint8Array>

function post(
  job: string,
  type: string,
  body: Body,
  more: Record<string, string> = {},
  query = '',
) {
  const headers = { authorization: `Bearer ${client.token}`, 'content-type': type, ...more }
  return sendBody(service.url, `/bytes/raw?boefje_meta_id=${job}${query}`, headers, body)
}

async function download(id: string): Promise<Buffer> {
  const answer = await client.request(`/bytes/raw/${id}`)
  expect(answer.status).toBe(200)
  return Buffer.from(await answer.arrayBuffer())
}

const idsOf = (text: string): Record<string, string> => JSON.parse(text)
const tagsOf = async (id: string): Promise<string[]> => {
  const meta = (await client.getJson(`/bytes/raw/${id}/meta`)) as {
    mime_types: { value: string }[]
  }
  return meta.mime_types.map(({ value }) => value)
}
const bytes = (text: string): Buffer[] => [Buffer.from(text)]

/** Nothing of a refused upload is there any more, neither row nor file. */
async function refused(
  attempt: (job: string) => Promise<{ status: number; text: string }>,
  status: number,
  why: RegExp,
): Promise<void> {
  const job = await client.job('refusals')
  const before = await stateOf(store, client)
  const answer = await attempt(job)
  expect([answer.status, answer.text]).toEqual([status, expect.stringMatching(why)])
  expect(await stateOf(store, client)).toEqual(before)
}

const SIZE = 9_000_000

describe('one file of some megabytes', () => {
  const digest = sha512(contentOf(SIZE))
  const ways: Record<string, () => [type: string, body: Body, query: string]> = {
    octets: () => [OCTETS, contentOf(SIZE), '&name=file&tag=a/b&tag=c/d'],
    'a body of any type': () => [
      'application/vnd.tcpdump.pcap',
      contentOf(SIZE),
      '&tag=a/b&tag=c/d',
    ],
    'what curl --data-binary sends': () => [
      'application/x-www-form-urlencoded',
      contentOf(SIZE),
      '&tag=a/b&tag=c/d',
    ],
    'a form': () => [
      FORM,
      formBody([
        { name: 'tag', content: 'c/d' },
        { name: 'file', fileName: 'x', type: 'A/B; charset=utf-8', content: contentOf(SIZE) },
      ]),
      '',
    ],
    'JSON with the content at the end': () => ['application/json', jsonBody(SIZE, 'a/b","c/d'), ''],
    'JSON with the content at the beginning': () => [
      'application/json',
      bytes(
        `\n{ "files": [ { "content": "${Buffer.concat([...contentOf(SIZE)]).toString('base64')}",
          "tags" : ["a/b", "c/d"], "name":"f\\u0069le"}] , "status":"COMPLETED"}`,
      ),
      '',
    ],
    'JSON with escapes and white space in the content': () => [
      'application/merge-patch+json',
      bytes(
        `{"files":[{"name":"file","tags":["a/b","c/d"],"content":"${Buffer.concat([
          ...contentOf(SIZE),
        ])
          .toString('base64')
          .replaceAll('/', '\\/')
          .replaceAll('AB', '\\u0041\\n B')}"}]}`,
      ),
      '',
    ],
  }

  it.each(Object.keys(ways))('is stored as it is: %s', async (way) => {
    const [type, body, query] = ways[way]?.() ?? ['', [], '']
    const job = await client.job('ways')
    const answer = await post(job, type, body, {}, query)
    expect(answer.status, answer.text).toBe(200)
    const { file = '' } = idsOf(answer.text)
    expect(sha512([await download(file)])).toBe(digest)
    expect(await tagsOf(file)).toEqual(['a/b', 'c/d'])
  })

  it('is one blob, whichever way it came', async () => {
    const files = await readdir(join(store.dataDir, 'blobs/v1/ways'), { recursive: true })
    expect(files.filter((name) => name.endsWith(digest))).toHaveLength(1)
    expect(files.filter((name) => name.length > 128)).toHaveLength(1)
  })

  it('is announced, and counted with its own size', async () => {
    const rows = await client.getJson('/bytes/raw?organization=ways&limit=100')
    expect(rows).toHaveLength(Object.keys(ways).length)
    const page = await (await client.request('/metrics')).text()
    expect(page).toContain(`bytes_stored_bytes{organization_id="ways"} ${SIZE}\n`)
  })
})

describe('a body that is one file', () => {
  it('may be empty, and need not have a name', async () => {
    const job = await client.job()
    const answer = await post(job, OCTETS, [], { 'content-length': '0' })
    expect(answer.status, answer.text).toBe(200)
    const { file = '' } = idsOf(answer.text)
    expect(await download(file)).toHaveLength(0)
    expect(await tagsOf(file)).toEqual([])
  })

  it('gets its name from the query, whatever that is', async () => {
    const job = await client.job()
    const name = '"__proto__" é/\n'
    const answer = await post(
      job,
      OCTETS,
      bytes('x'),
      {},
      `&name=${encodeURIComponent(name)}&tag=n`,
    )
    expect(JSON.parse(answer.text, (_, value) => value)).toEqual({ [name]: expect.any(String) })
  })

  it.each(['application/json', 'application/geo+json', 'text/plain'])(
    'may be JSON of type %s when a name or a tag tells that it is meant so',
    async (type) => {
      const job = await client.job()
      const json = '{"type":"FeatureCollection","features":[]}'
      const answer = await post(job, type, bytes(json), {}, '&name=map.geojson&tag=geo')
      expect(String(await download(idsOf(answer.text)['map.geojson'] ?? ''))).toBe(json)
    },
  )

  it('is not taken for an upload without files', async () => {
    const json = '{"type":"FeatureCollection"}'
    const post1 = (job: string) => post(job, 'application/geo+json', bytes(json))
    await refused(post1, 422, /body\.files: Field required: .* name or tag/)
  })

  it('is told from JSON however it arrives', async () => {
    const job = await client.job('refusals')
    const before = await stateOf(store, client)
    const wire = await openWire(service.url)
    wire.write(
      `POST /bytes/raw?boefje_meta_id=${job} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n` +
        `Authorization: Bearer ${client.token}\r\nContent-Length: 12\r\n\r\n{"fi`,
    )
    await new Promise((resolve) => setTimeout(resolve, 50))
    wire.write('les":[]}')
    expect(await wire.received(/\r\n\r\n.*\}/)).toMatch(/^HTTP\/1.1 422/)
    wire.socket.destroy()
    expect(await stateOf(store, client)).toEqual(before)
  })

  it('may be the JSON of an upload when a name tells that it is meant so', async () => {
    const job = await client.job()
    const json = '{"files":[]}'
    await refused(
      (own) => post(own, 'text/plain', bytes(json)),
      422,
      /send it as application\/json/,
    )
    const answer = await post(job, 'text/plain', bytes(json), {}, '&name=x')
    expect(String(await download(idsOf(answer.text).x ?? ''))).toBe(json)
  })

  it('keeps the first content when it is sent again', async () => {
    const job = await client.job()
    const first = await post(job, OCTETS, contentOf(300_000), {}, '&tag=same')
    const second = await post(job, OCTETS, contentOf(300_000, 2), {}, '&tag=same')
    expect([second.status, second.text]).toEqual([200, first.text])
    expect(await readdir(join(store.dataDir, 'tmp'))).toEqual([])
  })

  it.each([
    ['a tag that is too long', `&tag=${'x'.repeat(65)}`, /query\.tag\.0: .* 64 characters/],
    ['a tag with NUL', '&tag=a%00', /NUL/],
    ['too many tags', '&tag=x'.repeat(1001), /at most 1000 tags/],
  ])('is refused for %s', async (_, query, why) => {
    await refused((job) => post(job, OCTETS, bytes('x'), {}, query), 422, why)
  })
})

describe('a form', () => {
  it('has many files, each with its own tags and those of all', async () => {
    const job = await client.job()
    const answer = await post(
      job,
      FORM,
      formBody([
        { name: 'tag', content: 'all' },
        { name: 'first', fileName: 'é "x".txt', type: 'text/plain', content: contentOf(200_000) },
        { name: 'tag', content: 'one' },
        { name: 'tag', content: 'two' },
        { name: 'second', fileName: '', content: 'second' },
        { name: 'tag', content: 'three' },
        { name: 'third', type: OCTETS, content: '' },
      ]),
    )
    expect(answer.status, answer.text).toBe(200)
    const ids = idsOf(answer.text)
    expect(Object.keys(ids)).toEqual(['first', 'second', 'third'])
    const tags = await Promise.all(Object.values(ids).map(tagsOf))
    expect(tags).toEqual([
      ['all', 'one', 'text/plain', 'two'],
      ['all', 'three'],
      ['all', OCTETS],
    ])
    expect(sha512([await download(ids.first ?? '')])).toBe(sha512(contentOf(200_000)))
    expect(String(await download(ids.second ?? ''))).toBe('second')
  })

  it('is what fetch makes of FormData', async () => {
    const form = new FormData()
    form.append('tag', 'fetch')
    form.append('a "quoted" näme', new Blob(['content'], { type: 'text/csv' }), 'a.csv')
    const job = await client.job()
    const answer = await client.request(`/bytes/raw?boefje_meta_id=${job}`, {
      method: 'POST',
      body: form,
    })
    const ids = (await answer.json()) as Record<string, string>
    expect(Object.keys(ids)).toEqual(['a "quoted" näme'])
    expect(await tagsOf(Object.values(ids)[0] ?? '')).toEqual(['fetch', 'text/csv'])
  })

  it('takes a form inside a form as a file', async () => {
    const job = await client.job()
    const inner = '--inner\r\nContent-Disposition: file; filename="x"\r\n\r\nx\r\n--inner--'
    const type = 'multipart/mixed; boundary=inner'
    const answer = await post(
      job,
      FORM,
      formBody([{ name: 'f', fileName: 'f', type, content: inner }]),
    )
    const { f = '' } = idsOf(answer.text)
    expect(String(await download(f))).toBe(inner)
    expect(await tagsOf(f)).toEqual(['multipart/mixed'])
  })

  it('may have a preamble and an epilogue', async () => {
    const job = await client.job()
    const form = Buffer.concat([...formBody([{ name: 'f', fileName: 'f', content: 'x' }])])
    const body = [Buffer.from('preamble\r\n'), form, Buffer.from('epilogue'), ...contentOf(200_000)]
    expect((await post(job, FORM, body)).status).toBe(200)
  })

  const file = { name: 'f', fileName: 'f', content: 'x' }
  const form = (...parts: Parameters<typeof formBody>[0]): Body => formBody(parts)
  it.each<[string, () => Body, RegExp, string?]>([
    ['no boundary', () => form(file), /boundary/, 'multipart/form-data'],
    ['an empty boundary', () => form(file), /boundary/, 'multipart/form-data; boundary=""'],
    [
      'another boundary',
      () => form(file),
      /ends before its last/,
      'multipart/form-data; boundary=x',
    ],
    ['an empty body', () => [], /ends before its last/],
    ['no part', () => bytes(`--${BOUNDARY}--\r\n`), /no file/],
    ['no file', () => form({ name: 'tag', content: 'x' }), /no file/],
    [
      'a field that is none',
      () => form(file, { name: 'tags', content: 'x' }),
      /tags.{2} is not known/,
    ],
    ['a part without a name', () => form({ ...file, name: '"; x="' }, file), /f/],
    [
      'a tag that is too long',
      () => form(file, { name: 'tag', content: 'x'.repeat(65) }),
      /64 char/,
    ],
    [
      'a very long tag',
      () => form(file, { name: 'tag', content: contentOf(MAX_BODY / 2) }),
      /64 char/,
    ],
    [
      'a tag that is not UTF-8',
      () => form(file, { name: 'tag', content: [Buffer.of(0xff)] }),
      /UTF-8/,
    ],
    [
      'a media type that is too long',
      () => form({ ...file, type: `a/${'b'.repeat(63)}` }),
      /64 char/,
    ],
    [
      'base64 in a part',
      () => form({ ...file, headers: 'Content-Transfer-Encoding: base64\r\n' }),
      /Content-Transfer-Encoding/,
    ],
    [
      'a bad file after a large one',
      () => form({ ...file, content: contentOf(SIZE) }, { ...file, type: `a/${'b'.repeat(63)}` }),
      /64 char/,
    ],
    [
      'two files of the same types',
      () => form({ ...file, content: contentOf(SIZE) }, file),
      /unique sets/,
    ],
    ['a very long name', () => form({ ...file, name: 'n'.repeat(5000) }), /longer than 4096/],
    ['a very long name', () => form({ ...file, name: 'n'.repeat(5000) }), /longer than 4096/],
    [
      'too many files',
      () => form(...Array.from({ length: MAX_FILES + 1 }, () => file)),
      /more than 50/,
    ],
  ])('is refused for %s', async (what, body, why, type = FORM) => {
    const status = what === 'two files of the same types' ? 400 : 422
    if (what === 'a part without a name') {
      const unnamed = `--${BOUNDARY}\r\nContent-Disposition: form-data; filename="x"\r\n\r\nx\r\n--${BOUNDARY}--`
      await refused((job) => post(job, type, bytes(unnamed)), status, /name=/)
      return
    }
    await refused((job) => post(job, type, body()), status, why)
  })

  it('takes tags for all its files from the query as well', async () => {
    const job = await client.job()
    const answer = await post(job, FORM, form({ ...file, type: 'a/b' }), {}, '&tag=query')
    expect(await tagsOf(idsOf(answer.text).f ?? '')).toEqual(['a/b', 'query'])
  })

  it('is refused wherever it is cut off', async () => {
    const whole = Buffer.concat([
      ...formBody([
        { name: 'a', fileName: 'a', type: 'a/a', content: 'x'.repeat(100) },
        { name: 'b', fileName: 'b', content: contentOf(300_000) },
        { name: 'tag', content: 'b' },
      ]),
    ])
    const end = whole.length - 4
    for (const length of [
      1,
      30,
      90,
      130,
      180,
      250,
      300,
      100_000,
      end - 100,
      end - 40,
      end - 10,
      end,
    ]) {
      await refused((job) => post(job, FORM, [whole.subarray(0, length)]), 422, /not a valid multi/)
    }
  })
})

it('a long body for an unknown job is answered, and the connection goes on', async () => {
  const wire = await openWire(service.url)
  const unknown = '00000000-0000-4000-8000-000000000000'
  const length = 3_000_000
  wire.write(
    `POST /bytes/raw?boefje_meta_id=${unknown} HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n` +
      `Authorization: Bearer ${client.token}\r\nContent-Type: application/json\r\n\r\n` +
      `{"files":[${' '.repeat(1_000_000 - 10)}`,
  )
  expect(await wire.received(/not found/)).toMatch(/^HTTP\/1\.1 404 /)
  wire.write(' '.repeat(length - 1_000_000))
  wire.write('GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n')
  expect(await wire.received(/"service":"bytes"/)).toContain('HTTP/1.1 200')
  wire.socket.destroy()
})

describe('long JSON', () => {
  const filler = 'A'.repeat(400_000)
  const upload = (files: string): Body => bytes(`{"status":"COMPLETED","files":${files}}`)

  it('has many files in any form, and the last of several members counts', async () => {
    const job = await client.job()
    const body =
      `{"files":[{"content":"${filler}","name":"dropped","tags":["0"]}],` +
      `"other":{"files":[{"content":"!"}]},"files":[` +
      `{"content":"${base64('replaced')}","name":"first","content":"${base64('first')}","tags":["1"]},` +
      `{"tags":["2"],"name":"second","content":""},` +
      `{"content":"${filler}","tags":["3"],"name":"third","content2":7}]}`
    const answer = await post(job, 'application/json', bytes(body))
    expect(answer.status, answer.text).toBe(200)
    const ids = idsOf(answer.text)
    expect(Object.keys(ids)).toEqual(['first', 'second', 'third'])
    expect(String(await download(ids.first ?? ''))).toBe('first')
    expect(await download(ids.second ?? '')).toHaveLength(0)
    expect(await download(ids.third ?? '')).toEqual(Buffer.alloc(300_000))
    expect(await readdir(join(store.dataDir, 'tmp'))).toEqual([])
  })

  it('is taken without a content type and without a length', async () => {
    const job = await client.job()
    const { hostname, port } = new URL(service.url)
    const body = Buffer.concat([...jsonBody(900_000, 't')])
    const wire = await openWire(`http://${hostname}:${port}`)
    wire.write(
      `POST /bytes/raw?boefje_meta_id=${job} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n` +
        `Authorization: Bearer ${client.token}\r\n\r\n`,
    )
    for (let at = 0; at < body.length; at += 100_000) {
      const piece = body.subarray(at, at + 100_000)
      wire.write(`${piece.length.toString(16)}\r\n${piece.toString('latin1')}\r\n`)
    }
    wire.write('0\r\n\r\n')
    expect(await wire.received(/\r\n\r\n.*\}/)).toMatch(/^HTTP\/1.1 200(.|\r\n)*"file":/)
    wire.socket.destroy()
  })

  it.each<[string, () => Body, RegExp]>([
    ['no base64', () => upload(`[{"name":"a","content":"${filler}!"}]`), /files\.0\.content: Not/],
    [
      'no base64 in a later file',
      () => upload(`[{"name":"a","content":"${filler}"},{"name":"b","content":"AAA"}]`),
      /body\.files\.1\.content: Not valid base64/,
    ],
    ['no name', () => upload(`[{"content":"${filler}"}]`), /files\.0\.name: Field required/],
    ['a content that is a number', () => upload(`[{"name":"${filler}","content":1}]`), /content: /],
    [
      'a tag that is too long',
      () => upload(`[{"name":"a","content":"${filler}","tags":["${'x'.repeat(65)}"]}]`),
      /64/,
    ],
    ['no JSON', () => upload(`[{"name":"a","content":"${filler}"}`), /not valid JSON/],
    [
      'rubbish at the end',
      () => bytes(`{"files":[{"name":"a","content":"${filler}"}]}}`),
      /not valid JSON/,
    ],
    ['no UTF-8', () => [Buffer.from(`{"a":"${filler}\u00ff"}`, 'latin1')], /UTF-8/],
    [
      'a control character',
      () => upload(`[{"name":"a","content":"${filler}\n"}]`),
      /not valid JSON/,
    ],
    [
      'a deep nesting',
      () => upload(`${'['.repeat(200_000)}${']'.repeat(200_000)}`),
      /deeper than 500/,
    ],
    ['half a character', () => upload(`[{"name":"\\ud800","content":"${filler}"}]`), /surrogate/],
    [
      'too much beside the contents',
      () => upload(`[{"name":"${'x'.repeat(9_000_000)}"}]`),
      /8388608 bytes/,
    ],
    [
      'too many files',
      () =>
        upload(
          `[${Array.from({ length: 5001 }, () => `{"name":"${'n'.repeat(60)}","content":""}`)}]`,
        ),
      /more than 50 files/,
    ],
    [
      'too many files, though it is short',
      () => upload(`[${Array.from({ length: 51 }, () => '{"name":"a","content":""}')}]`),
      /more than 50 files/,
    ],
    [
      '100,000 files',
      () => upload(`[${Array.from({ length: 100_000 }, () => '{"name":"a","content":"AAAA"}')}]`),
      /more than 50 files/,
    ],
  ])('is refused for %s', async (_, body, why) => {
    await refused((job) => post(job, 'application/json', body()), 422, why)
  })

  it('is refused wherever it is cut off', async () => {
    const whole = Buffer.concat([...jsonBody(900_000, 't')])
    for (const length of [300_000, 300_001, 300_002, 300_003, whole.length - 4, whole.length - 1]) {
      const cut = [whole.subarray(0, length)]
      await refused((job) => post(job, 'application/json', cut), 422, /cut off|not valid JSON/)
    }
  })
})

describe('the digest of a body', () => {
  const content = Buffer.concat([...contentOf(400_000)])
  const of = (algorithm: string, data: Uint8Array = content): string =>
    `sha-${algorithm}=:${createHash(`sha${algorithm}`).update(data).digest('base64')}:`

  it.each([
    ['Content-Digest', of('256')],
    ['Content-Digest', of('512')],
    ['Repr-Digest', of('512')],
    ['Repr-Digest', `md5=:AAAA:, ${of('256')}, ${of('512')}`],
  ])('is checked: %s: %s', async (field, value) => {
    const job = await client.job()
    expect((await post(job, OCTETS, [content], { [field]: value })).status).toBe(200)
  })

  it('covers the body of any type as it is sent', async () => {
    const json = Buffer.concat([...jsonBody(300_000, 't')])
    const form = Buffer.concat([...formBody([{ name: 'f', fileName: 'f', content: 'x' }])])
    const job = await client.job()
    const digest = (body: Buffer) => ({ 'content-digest': of('256', body) })
    expect((await post(job, 'application/json', [json], digest(json))).status).toBe(200)
    expect((await post(job, FORM, [form], digest(form))).status).toBe(200)
    await refused((own) => post(own, FORM, [form, Buffer.from(' ')], digest(form)), 400, /digest/)
    const short = Buffer.from('{"files":[]}')
    await refused((own) => post(own, 'application/json', [short], digest(form)), 400, /digest/)
  })

  it.each([
    ['Content-Digest', of('256', Buffer.from('x')), /sha256 digest of the body/],
    ['Repr-Digest', of('512', Buffer.from('x')), /repr-digest: the sha512/],
    ['Content-Digest', `${of('256')}, ${of('512', Buffer.from('x'))}`, /sha512/],
    ['Content-Digest', 'sha-256=abc', /cannot be parsed/],
    ['Content-Digest', 'sha-256=:AAAA:', /cannot be parsed/],
    ['Content-Digest', 'sha-256=:!:', /cannot be parsed/],
    ['Content-Digest', 'sha-256', /cannot be parsed/],
    ['Content-Digest', 'sha-256=(:AAAA:)', /cannot be parsed/],
    ['Content-Digest', '=', /cannot be parsed/],
    ['Repr-Digest', 'md5=:AAAA:', /send sha-256 or sha-512/],
    ['Repr-Digest', '', /send sha-256 or sha-512/],
  ])('that is wrong is refused: %s: %s', async (field, value, why) => {
    await refused((job) => post(job, OCTETS, [content], { [field]: value }), 400, why)
  })

  it('tells which digests are wanted', async () => {
    const answer = await post(await client.job(), OCTETS, [], { 'content-digest': 'md5=:AAAA:' })
    expect(answer.headers['want-content-digest']).toBe('sha-512=10, sha-256=5')
  })
})

describe('an upload that does not come to its end', () => {
  const kinds: Record<string, [type: string, head: string]> = {
    octets: [OCTETS, ''],
    form: [FORM, `--${BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n`],
    json: ['application/json', '{"files":[{"name":"a","content":"'],
  }

  it.each(Object.keys(kinds))('leaves nothing when the client goes away: %s', async (kind) => {
    const [type, head] = kinds[kind] ?? ['', '']
    const job = await client.job()
    const before = await stateOf(store, client)
    const wire = await openWire(service.url)
    wire.write(
      `POST /bytes/raw?boefje_meta_id=${job} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n` +
        `Authorization: Bearer ${client.token}\r\nContent-Type: ${type}\r\n\r\n${head}${'AAAA'.repeat(1_000_000)}`,
    )
    const written = async (): Promise<boolean> =>
      (await readdir(join(store.dataDir, 'tmp'))).length === 1
    await eventually(written, 'it is being written')
    wire.socket.destroy()
    const cleared = async (): Promise<boolean> => !(await written())
    await eventually(cleared, 'nothing is left')
    expect(await stateOf(store, client)).toEqual(before)
  })

  it('leaves nothing when the body is longer than it may be, told or not', async () => {
    const over = MAX_BODY + 1
    await refused(
      (job) => post(job, OCTETS, [], { 'content-length': String(over) }),
      413,
      /BYTES_MAX_BODY_BYTES/,
    )
    await refused((job) => post(job, OCTETS, contentOf(over)), 413, /BYTES_MAX_BODY_BYTES/)
  })

  it('is for a job that must be there, before anything is read', async () => {
    const unknown = '00000000-0000-4000-8000-000000000000'
    await refused(() => post(unknown, OCTETS, contentOf(SIZE), {}, '&tag=x'), 404, /not found/)
    await refused(() => post(unknown, 'application/json', jsonBody(SIZE, 't')), 404, /not found/)
    await refused(() => post('x', OCTETS, contentOf(10)), 422, /boefje_meta_id/)
  })
})
