/** Requests that are refused, and what is left of them: nothing. */
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, exampleJob, login } from '../support/client.js'
import {
  PASSWORD,
  type TestService,
  type TestStore,
  testStore,
  USERNAME,
} from '../support/service.js'
import {
  type Answer,
  base64,
  errorsLogged,
  eventually,
  filesBelow,
  jwt,
  nowSeconds,
  openWire,
  rowCounts,
  type Sent,
  send,
  stateOf,
} from './helpers.js'

const MAX_BODY = 65_536
const JSON_TYPE = { 'content-type': 'application/json' }

let store: TestStore
let service: TestService
let client: Client
/** A job and a raw file that are there before. */
let jobId: string
let rawId: string

beforeAll(async () => {
  store = await testStore()
  service = await store.start({ BYTES_MAX_BODY_BYTES: String(MAX_BODY) })
  client = await login(service.url)
  jobId = await client.job('org')
  const ids = await client.upload(jobId, [{ name: 'a', content: 'content', tags: ['text/plain'] }])
  rawId = ids.a ?? ''
})

afterAll(async () => {
  await store?.remove()
})

const authorized = (): Record<string, string> => ({ authorization: `Bearer ${client.token}` })

/** With the token; `headers` wins over it. */
function ask(sent: Sent): Promise<Answer> {
  return send(service.url, { ...sent, headers: { ...authorized(), ...sent.headers } })
}

const post = (path: string, body: string | Uint8Array, headers = JSON_TYPE): Sent => ({
  method: 'POST',
  path,
  headers,
  body,
})

function told(answer: Answer): string {
  const body = JSON.parse(answer.text)
  if (answer.status !== 422) return body.message ?? body.detail
  for (const { loc, msg, type } of body.detail ?? []) {
    expect([typeof loc[0], typeof msg, typeof type]).toEqual(['string', 'string', 'string'])
  }
  return body.value
}

async function refused(sent: Sent, status: number, message: RegExp): Promise<Answer> {
  const before = await stateOf(store, client)
  const answer = await ask(sent)
  expect([answer.status, answer.text]).toEqual([status, expect.any(String)])
  expect(answer.headers['content-type']).toBe('application/json')
  expect(answer.headers['x-request-id']).toMatch(/^[\w.:-]{1,128}$/)
  expect(told(answer)).toMatch(message)
  expect(await stateOf(store, client)).toEqual(before)
  return answer
}

/** JSON text of a job in which the text of one value is replaced. */
function jobText(fields: Record<string, unknown>): string {
  return JSON.stringify(exampleJob(fields))
}

const job = (fields: Record<string, unknown>): Sent => post('/bytes/boefje_meta', jobText(fields))

/** A job without one of its fields. */
function jobWithout(field: string): Sent {
  const { [field]: _, ...rest } = exampleJob() as Record<string, unknown>
  return post('/bytes/boefje_meta', JSON.stringify(rest))
}

const normalizerMeta = (fields: Record<string, unknown>): Sent =>
  post(
    '/bytes/normalizer_meta',
    JSON.stringify({
      id: randomUUID(),
      started_at: '2026-01-01T00:00:00Z',
      ended_at: '2026-01-01T00:00:01Z',
      normalizer: { id: 'normalizer', version: '1' },
      raw_data: { id: rawId, boefje_meta: exampleJob({ id: jobId }) },
      ...fields,
    }),
  )

const uploadText = (body: string, id = jobId): Sent => post(`/bytes/raw?boefje_meta_id=${id}`, body)
const upload = (body: unknown, id = jobId): Sent => uploadText(JSON.stringify(body), id)
const file = (fields: Record<string, unknown> = {}) => ({
  name: 'n',
  content: base64('x'),
  tags: ['a/b'],
  ...fields,
})

type Case = readonly [what: string, sent: () => Sent, message: RegExp, status?: number]

function eachRefused(cases: readonly Case[]): void {
  it.for(cases)('%s', async ([, sent, message, status = 422]) => {
    await refused(sent(), status, message)
  })
}

const LONE = '\\ud800'
const deep = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`
const ATTACKS = ['"x', '{', '[1,]', "{'a':1}", '{"id":}', 'nul', '\ufeff{}x', '{"a":"\u0001"}']

describe('a job is refused', () => {
  eachRefused([
    ...ATTACKS.map(
      (text): Case => [
        `broken JSON ${JSON.stringify(text)}`,
        () => post('/bytes/boefje_meta', text),
        /^body/,
      ],
    ),
    ['no body', () => post('/bytes/boefje_meta', ''), /^body: Field required/],
    [
      'not UTF-8',
      () => post('/bytes/boefje_meta', Buffer.from([0x22, 0xff, 0xfe, 0x22])),
      /^body: not valid UTF-8/,
    ],
    ...['[]', '"text"', '1', 'null', 'true'].map(
      (text): Case => [`a body that is ${text}`, () => post('/bytes/boefje_meta', text), /^body/],
    ),
    ...['id', 'started_at', 'ended_at', 'boefje', 'arguments', 'organization'].map(
      (field): Case => [
        `without ${field}`,
        () => jobWithout(field),
        new RegExp(`body\\.${field}: Field required`),
      ],
    ),
    ...Object.entries({
      id: [1, null, [], 'not-a-uuid', '', `${randomUUID()}0`],
      started_at: [null, true, {}, 'yesterday', '2026-01-01T00:00:00', '2026-13-01T00:00:00Z'],
      ended_at: [null, [], '', '2026-01-01', 1e300],
      boefje: [1, 'dns', null, []],
      input_ooi: [1, {}, false],
      arguments: [null, [], 'a', 1],
      organization: [null, 1, ['org'], {}],
      runnable_hash: [1, []],
      environment: [1, 'a', [], { KEY: 1 }, { KEY: null }],
    }).flatMap(([field, values]) =>
      values.map(
        (value): Case => [
          `${field} ${JSON.stringify(value)}`,
          () => job({ [field]: value }),
          new RegExp(`body\\.${field}\\b`),
        ],
      ),
    ),
    ['boefje without id', () => job({ boefje: { version: '1' } }), /body\.boefje\.id/],
    ['boefje id 1', () => job({ boefje: { id: 1 } }), /body\.boefje\.id/],
    ['boefje version 1', () => job({ boefje: { id: 'a', version: 1 } }), /body\.boefje\.version/],
    ['boefje id of 65', () => job({ boefje: { id: 'x'.repeat(65) } }), /body\.boefje\.id.* 64 /],
    [
      'boefje version of 17',
      () => job({ boefje: { id: 'x', version: 'x'.repeat(17) } }),
      /body\.boefje\.version.* 16 /,
    ],
    ['organization of 33', () => job({ organization: 'x'.repeat(33) }), /body\.organization.* 32 /],
    ['input_ooi of 1025', () => job({ input_ooi: 'é'.repeat(1025) }), /body\.input_ooi.* 1024 /],
    ['hash of 65', () => job({ runnable_hash: 'f'.repeat(65) }), /body\.runnable_hash.* 64 /],
    ...['..', '.', 'a/b', '/', '../..', '/etc'].map(
      (name): Case => [
        `organization ${name}`,
        () => job({ organization: name }),
        /body\.organization/,
      ],
    ),
    ['NUL in boefje id', () => job({ boefje: { id: 'a\0b' } }), /body\.boefje\.id.*NUL/],
    [
      'NUL in boefje version',
      () => job({ boefje: { id: 'a', version: '\0' } }),
      /body\.boefje\.version.*NUL/,
    ],
    ['NUL in organization', () => job({ organization: 'a\0' }), /body\.organization.*NUL/],
    ['NUL in input_ooi', () => job({ input_ooi: '\0' }), /body\.input_ooi.*NUL/],
    ['NUL in runnable_hash', () => job({ runnable_hash: '\0' }), /body\.runnable_hash.*NUL/],
    ...['{"a":"~"}', '{"~":1}', '{"a":["x~y"]}'].map(
      (text): Case => [
        `lone surrogate in arguments ${text}`,
        () =>
          post(
            '/bytes/boefje_meta',
            jobText({ arguments: 'HERE' }).replace('"HERE"', text.replace('~', LONE)),
          ),
        /body.*surrogate/,
      ],
    ),
    [
      'lone surrogate in organization',
      () => post('/bytes/boefje_meta', jobText({ organization: 'HERE' }).replace('HERE', LONE)),
      /body.*surrogate/,
    ],
    [
      'lone surrogate in environment',
      () =>
        post(
          '/bytes/boefje_meta',
          jobText({ environment: { A: 'HERE' } }).replace('HERE', '\\udc00'),
        ),
      /body.*surrogate/,
    ],
    [
      'arguments 10,000 deep',
      () =>
        post(
          '/bytes/boefje_meta',
          jobText({ arguments: 'HERE' }).replace('"HERE"', `{"a":${deep(10_000)}}`),
        ),
      /^body.*nested/,
    ],
    ['a body 10,000 deep', () => post('/bytes/boefje_meta', deep(10_000)), /^body.*nested/],
    [
      'a body 10,000 deep that never ends',
      () => post('/bytes/boefje_meta', '{"a":'.repeat(10_000)),
      /^body.*nested/,
    ],
    ['an id that is taken', () => job({ id: jobId }), /^Integrity error/, 400],
    [
      'an id that is taken in another spelling',
      () => job({ id: jobId.toUpperCase().replaceAll('-', '') }),
      /^Integrity error/,
      400,
    ],
  ])
})

describe('a normalizer meta is refused', () => {
  const raw_data = (fields: Record<string, unknown>) => () =>
    normalizerMeta({ raw_data: { id: rawId, boefje_meta: exampleJob(), ...fields } })
  eachRefused([
    [
      'normalizer id of 65',
      () => normalizerMeta({ normalizer: { id: 'x'.repeat(65) } }),
      /body\.normalizer\.id.* 64 /,
    ],
    [
      'normalizer version of 17',
      () => normalizerMeta({ normalizer: { id: 'x', version: 'x'.repeat(17) } }),
      /body\.normalizer\.version.* 16 /,
    ],
    ['NUL in normalizer id', () => normalizerMeta({ normalizer: { id: '\0' } }), /normalizer\.id/],
    [
      'no raw data',
      () => normalizerMeta({ raw_data: undefined }),
      /body\.raw_data: Field required/,
    ],
    ['raw data of null', () => normalizerMeta({ raw_data: null }), /body\.raw_data/],
    ['raw id not-a-uuid', raw_data({ id: 'x' }), /body\.raw_data\.id/],
    ['mime types of text', raw_data({ mime_types: 'a/b' }), /body\.raw_data\.mime_types/],
    ['mime type of text', raw_data({ mime_types: ['a/b'] }), /body\.raw_data\.mime_types\.0/],
    ['a nested job without id', raw_data({ boefje_meta: {} }), /body\.raw_data\.boefje_meta\.id/],
    ['an unknown raw file', raw_data({ id: randomUUID() }), /^Integrity error/, 400],
  ])
})

describe('an upload is refused', () => {
  eachRefused([
    ['an unknown job', () => upload({ files: [file()] }, randomUUID()), /^Boefje meta not f/, 404],
    ['a job not-a-uuid', () => upload({ files: [file()] }, 'x'), /query\.boefje_meta_id/],
    ['no job', () => post('/bytes/raw', '{"files":[]}'), /query\.boefje_meta_id: Field required/],
    ['files null', () => upload({ files: null }), /body\.files/],
    ['files of an object', () => upload({ files: {} }), /body\.files/],
    ['a file of text', () => upload({ files: ['x'] }), /body\.files\.0/],
    ['status DONE', () => upload({ status: 'DONE', files: [] }), /body\.status/],
    ['no name', () => upload({ files: [file({ name: undefined })] }), /body\.files\.0\.name/],
    ['name 1', () => upload({ files: [file({ name: 1 })] }), /body\.files\.0\.name/],
    ['no content', () => upload({ files: [file({ content: undefined })] }), /files\.0\.content/],
    ['content null', () => upload({ files: [file({ content: null })] }), /files\.0\.content/],
    ...['*', 'A', 'AAAAA', 'AA', 'AAA', 'AA-_', 'AA=A', '=A', 'AAAA\0', 'ÄÄÄÄ', 'QUJD{}'].map(
      (content): Case => [
        `content ${JSON.stringify(content)}`,
        () => upload({ files: [file(), file({ content, tags: [] })] }),
        /body\.files\.1\.content/,
      ],
    ),
    ['tags null', () => upload({ files: [file({ tags: null })] }), /body\.files\.0\.tags/],
    ['tags of text', () => upload({ files: [file({ tags: 'a/b' })] }), /body\.files\.0\.tags/],
    ['a tag 1', () => upload({ files: [file({ tags: ['a/b', 1] })] }), /body\.files\.0\.tags\.1/],
    [
      'a tag of 65',
      () => upload({ files: [file(), file({ tags: ['a', 'x'.repeat(65)] })] }),
      /body\.files\.1\.tags\.1.* 64 /,
    ],
    ['a tag with NUL', () => upload({ files: [file({ tags: ['\0'] })] }), /files\.0\.tags\.0.*NUL/],
    ...['name', 'tags'].map(
      (field): Case => [
        `lone surrogate in ${field}`,
        () =>
          uploadText(
            JSON.stringify({
              files: [file({ [field]: field === 'name' ? 'HERE' : ['HERE'] })],
            }).replace('HERE', LONE),
          ),
        /body.*surrogate/,
      ],
    ),
    [
      'the same set of tags twice',
      () =>
        upload({
          files: [file({ tags: ['x/1', 'x/2'] }), file({ tags: ['x/2', 'x/1', 'x/2'] })],
        }),
      /^Content types do not define unique sets of mime types\.$/,
      400,
    ],
    [
      'no tags twice',
      () => upload({ files: [file({ tags: [] }), file({ tags: undefined })] }),
      /^Content types do not define unique sets of mime types\.$/,
      400,
    ],
  ])
})

describe('a query is refused', () => {
  const get = (path: string): Sent => ({ path })
  const ODD = ['-1', '1.5', 'abc', '', '0x10', '1e3', '%2B2', '%201', '1_0', '٣', 'NaN', 'null']
  const HUGE = ['9223372036854775808', `1${'0'.repeat(400)}`]
  eachRefused([
    ...['limit', 'offset'].flatMap((name) =>
      [...ODD, ...HUGE].map(
        (value): Case => [
          `${name}=${value.slice(0, 30)}`,
          () => get(`/bytes/boefje_meta?organization=org&${name}=${encodeURI(value)}`),
          new RegExp(`query\\.${name}`),
        ],
      ),
    ),
    ['limit of raw', () => get('/bytes/raw?limit=-1'), /query\.limit/],
    ['limit of raws', () => get('/bytes/raws?limit=x'), /query\.limit/],
    [
      'offset of normalizers',
      () => get('/bytes/normalizer_meta?organization=o&offset=-1'),
      /query\.offset/,
    ],
    ['no organization', () => get('/bytes/boefje_meta'), /query\.organization: Field required/],
    [
      'descending=maybe',
      () => get('/bytes/boefje_meta?organization=o&descending=maybe'),
      /descending/,
    ],
    ['normalized=maybe', () => get('/bytes/raw?normalized=maybe'), /query\.normalized/],
    ['normalized of mime types', () => get('/bytes/mime_types?normalized='), /query\.normalized/],
    ['raw_ids=x', () => get(`/bytes/raw?raw_ids=${randomUUID()}&raw_ids=x`), /query\.raw_ids\.1/],
    ['boefje_meta_id=x', () => get('/bytes/raw?boefje_meta_id=x'), /query\.boefje_meta_id/],
    ['raw_id=x', () => get('/bytes/normalizer_meta?organization=o&raw_id=x'), /query\.raw_id/],
    [
      'NUL in organization',
      () => get('/bytes/raw?organization=%00'),
      /query\.organization\.0.*NUL/,
    ],
    ['NUL in mime_types', () => get('/bytes/raw?mime_types=a%00'), /query\.mime_types\.0.*NUL/],
    ['NUL in input_ooi', () => get('/bytes/boefje_meta?organization=o&input_ooi=%00'), /input_ooi/],
    ['NUL in boefje_id', () => get('/bytes/boefje_meta?organization=o&boefje_id=%00'), /boefje_id/],
    ['a raw id not-a-uuid', () => get('/bytes/raw/not-a-uuid'), /path\.raw_id/],
    ['a raw id NUL', () => get('/bytes/raw/%00'), /path\.raw_id/],
    ['a raw id not UTF-8', () => get('/bytes/raw/%ff/meta'), /path\.raw_id/],
    ['a job id not-a-uuid', () => get('/bytes/boefje_meta/1'), /path\.boefje_meta_id/],
    ['a normalizer id', () => get('/bytes/normalizer_meta/1'), /path\.normalizer_meta_id/],
    ['an unknown raw file', () => get(`/bytes/raw/${randomUUID()}`), /^No raw data found$/, 404],
    ['an unknown file', () => get(`/bytes/raw/${randomUUID()}/meta`), /^No raw data found$/, 404],
    ['an unknown path', () => get('/bytes/nothing'), /^Not Found$/, 404],
    ['a way out', () => get('/docs/../../package.json'), /^Not Found$/, 404],
    ['a way out, encoded', () => get('/docs/%2e%2e%2f%2e%2e%2fpackage.json'), /^Not Found$/, 404],
  ])
})

describe('large and small numbers of rows', () => {
  it.each(['9223372036854775807', '9007199254740993', '0', '007'])('%s are fine', async (n) => {
    for (const name of ['limit', 'offset']) {
      const answer = await ask({
        path: `/bytes/boefje_meta?organization=org&input_ooi=*&${name}=${n}`,
      })
      expect([answer.status, Array.isArray(JSON.parse(answer.text))]).toEqual([200, true])
    }
  })

  it('an offset beyond the end gives an empty list', async () => {
    const path = '/bytes/boefje_meta?organization=org&input_ooi=*&offset=9223372036854775807'
    expect((await ask({ path })).text).toBe('[]')
  })
})

describe('media types', () => {
  eachRefused(
    [
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data',
      'application/jsonx',
      'json',
    ].map(
      (type): Case => [
        `${type} is refused`,
        () => post('/bytes/boefje_meta', jobText({}), { 'content-type': type }),
        new RegExp(`^body: ${type} is not accepted`),
      ],
    ),
  )
  eachRefused(
    ['gzip', 'br', 'GZIP', 'identity, gzip'].map(
      (encoding): Case => [
        `Content-Encoding ${encoding} is refused`,
        () => ({
          ...job({}),
          headers: { ...JSON_TYPE, 'content-encoding': encoding },
        }),
        /Content-Encoding/,
        415,
      ],
    ),
  )
  it('Content-Encoding identity is fine', async () => {
    const headers = { ...JSON_TYPE, 'content-encoding': 'identity' }
    expect((await ask({ ...job({}), headers })).status).toBe(201)
  })
  it('no content type means JSON', async () => {
    const answer = await ask({ method: 'POST', path: '/bytes/boefje_meta', body: jobText({}) })
    expect([answer.status, answer.text]).toEqual([201, '{"status":"success"}'])
  })
  it.each(['application/vnd.api+json', 'Application/JSON; charset=utf-8'])(
    '%s is JSON',
    async (type) => {
      const sent = post('/bytes/boefje_meta', jobText({}), { 'content-type': type })
      expect((await ask(sent)).status).toBe(201)
    },
  )
})

describe('what is at the edge is stored', () => {
  const stored = async (text: string): Promise<string> => {
    const { id } = JSON.parse(text)
    const answer = await ask(post('/bytes/boefje_meta', text))
    expect([answer.status, answer.text]).toEqual([201, '{"status":"success"}'])
    return (await ask({ path: `/bytes/boefje_meta/${id}` })).text
  }

  it('the longest value of each field', async () => {
    // Characters outside the basic plane count once.
    const fields = {
      boefje: { id: '𝒳'.repeat(64), version: '𝒳'.repeat(16) },
      organization: '𝒳'.repeat(32),
      input_ooi: '𝒳'.repeat(1024),
      runnable_hash: '𝒳'.repeat(64),
    }
    expect(JSON.parse(await stored(jobText(fields)))).toMatchObject(fields)
  })

  it('a MIME type of 64 characters', async () => {
    const tag = '𝒳'.repeat(64)
    const id = await client.job()
    const { n = '' } = await client.upload(id, [{ name: 'n', content: 'x', tags: [tag] }])
    expect(await client.getJson(`/bytes/raw/${n}/meta`)).toMatchObject({
      mime_types: [{ value: tag }],
    })
  })

  it.each([
    '{"a":9007199254740993}',
    '{"a":[123456789012345678901234567890,-0,1.0,1e400,0.1e-7,-9223372036854775809]}',
    '{"b":1,"a":2,"1":3,"b":4}',
    '{"__proto__":{"x":1},"constructor":1}',
    '{"a":"\\u0000","b":"\ud83d\ude00é"}',
    `{"a":${deep(490)}}`,
    '{}',
  ])('arguments come back as they were sent: %s', async (text) => {
    const sent = jobText({ arguments: 'HERE' }).replace('"HERE"', () => text)
    expect(await stored(sent)).toContain(`"arguments":${text},"organization"`)
  })

  it('NUL in the environment and in the name of a file', async () => {
    const text = jobText({ environment: { A: '\0' } })
    expect(await stored(text)).toContain('"environment":{"A":"\\u0000"}')
    const answer = await ask(upload({ files: [file({ name: '\0' })] }, JSON.parse(text).id))
    expect(answer.text).toMatch(/^\{"\\u0000":"[0-9a-f-]{36}"\}$/)
  })

  it('an empty organization, inside the data directory', async () => {
    const id = await client.job('')
    const before = await filesBelow(store.dataDir)
    await client.upload(id, [{ name: 'n', content: 'of nobody' }])
    const after = await filesBelow(store.dataDir)
    expect(after.length).toBe(before.length + 1)
    const added = after.filter((path) => !before.includes(path))
    expect(added[0]).toMatch(/^blobs\/v1\/[^/]+\/[0-9a-f]{2}\/[0-9a-f]{128}$/)
    expect((await ask({ path: `/bytes/boefje_meta/${id}` })).text).toContain('"organization":""')
  })

  it('files without tags, and no files at all', async () => {
    const id = await client.job()
    const answer = await ask(upload({ files: [file({ tags: [] })] }, id))
    const { n } = JSON.parse(answer.text)
    expect(await client.getJson(`/bytes/raw/${n}/meta`)).toMatchObject({ mime_types: [] })
    const again = await ask(upload({ files: [file({ tags: undefined })] }, id))
    expect(JSON.parse(again.text)).toEqual({ n })
    expect((await ask(upload({ files: [] }, id))).text).toBe('{}')
    expect((await ask(upload({}, id))).text).toBe('{}')
  })

  it('two files of the same name: both, and the answer has the last', async () => {
    const id = await client.job()
    const files = [file({ tags: ['one'] }), file({ tags: ['two'], content: base64('y') })]
    const answer = await ask(upload({ files }, id))
    const { n } = JSON.parse(answer.text)
    expect((await ask({ path: `/bytes/raw/${n}` })).text).toBe('y')
    const list = await client.getJson(`/bytes/raw?boefje_meta_id=${id}&limit=9`)
    expect(list).toMatchObject([
      { mime_types: [{ value: 'one' }] },
      { id: n, mime_types: [{ value: 'two' }] },
    ])
  })
})

describe('a body over BYTES_MAX_BODY_BYTES', () => {
  const tooLong = 'x'.repeat(MAX_BODY + 1)
  const works = async (): Promise<void> => {
    expect((await ask(job({}))).status).toBe(201)
  }

  it('is refused by its Content-Length before it is sent', async () => {
    const before = await stateOf(store, client)
    const wire = await openWire(service.url)
    wire.write(
      `POST /bytes/raw?boefje_meta_id=${jobId} HTTP/1.1\r\nHost: x\r\n` +
        `Authorization: Bearer ${client.token}\r\nContent-Length: 999999999\r\n\r\n{"files":[`,
    )
    const answer = await wire.ended
    wire.socket.destroy()
    expect(answer).toMatch(/^HTTP\/1\.1 413 /)
    expect(answer).toMatch(/\r\ncontent-type: application\/json\r\n/i)
    expect(answer).toMatch(/\r\nx-request-id: /i)
    expect(answer).toContain('BYTES_MAX_BODY_BYTES')
    expect(await stateOf(store, client)).toEqual(before)
    await works()
  })

  it('is refused in chunks while more could come', async () => {
    const before = await stateOf(store, client)
    const wire = await openWire(service.url)
    wire.write(
      `POST /bytes/raw?boefje_meta_id=${jobId} HTTP/1.1\r\nHost: x\r\n` +
        `Authorization: Bearer ${client.token}\r\nTransfer-Encoding: chunked\r\n\r\n` +
        `${tooLong.length.toString(16)}\r\n${tooLong}\r\n`,
    )
    const answer = await wire.ended
    wire.socket.destroy()
    expect(answer).toMatch(/^HTTP\/1\.1 413 /)
    expect(answer).toContain('BYTES_MAX_BODY_BYTES')
    expect(await stateOf(store, client)).toEqual(before)
    await works()
  })

  it.each([false, true])('sent as a whole (chunked: %s)', async (chunked) => {
    const path = `/bytes/raw?boefje_meta_id=${jobId}`
    await refused({ method: 'POST', path, body: tooLong, chunked }, 413, /BYTES_MAX_BODY_BYTES/)
    await works()
  })

  it('of one byte less is read', async () => {
    const [start, end] = ['{"files":[', ']}']
    const text = start + ' '.repeat(MAX_BODY - start.length - end.length) + end
    expect((await ask(uploadText(text))).status).toBe(200)
    expect((await ask({ ...uploadText(text), chunked: true })).status).toBe(200)
    expect((await ask(uploadText(`${text} `))).status).toBe(413)
  })

  it('at the log-in is refused as well', async () => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    const sent = { method: 'POST', path: '/token', headers, body: `username=${tooLong}` }
    expect((await send(service.url, sent)).status).toBe(413)
    await works()
  })

  it('leaves nothing of a body that is cut off', async () => {
    const before = await stateOf(store, client)
    const wire = await openWire(service.url)
    wire.write(
      `POST /bytes/raw?boefje_meta_id=${jobId} HTTP/1.1\r\nHost: x\r\n` +
        `Authorization: Bearer ${client.token}\r\nContent-Length: 5000\r\n\r\n{"files":[`,
    )
    await new Promise((resolve) => setTimeout(resolve, 100))
    wire.socket.destroy()
    await works()
    const { rows, ...after } = await stateOf(store, client)
    expect(after).toEqual({ files: before.files, metrics: before.metrics })
    expect(rows).toEqual({ ...before.rows, boefje_meta: (before.rows.boefje_meta ?? 0) + 1 })
    expect(errorsLogged(service.log())).toEqual([])
  })
})

describe('a token is refused', () => {
  const soon = (): number => nowSeconds() + 600
  const cases: readonly [string, () => string | undefined, RegExp][] = [
    ['none', () => undefined, /^Not authenticated$/],
    ['an empty header', () => '', /^Not authenticated$/],
    ['the token alone', () => client.token, /^Not authenticated$/],
    ['basic', () => `Basic ${base64(`${USERNAME}:${PASSWORD}`)}`, /^Not authenticated$/],
    ['bearer without token', () => 'Bearer', /./],
    ['not a token', () => 'Bearer abc', /^Could not validate credentials$/],
    ['two dots', () => 'Bearer ..', /^Could not validate credentials$/],
    ['expired', () => `Bearer ${jwt({ sub: USERNAME, exp: nowSeconds() - 1 })}`, /^Could not/],
    ['expired in 1970', () => `Bearer ${jwt({ sub: USERNAME, exp: 0 })}`, /^Could not/],
    ['expiring in words', () => `Bearer ${jwt({ sub: USERNAME, exp: 'never' })}`, /^Could not/],
    [
      'foreign',
      () => `Bearer ${jwt({ sub: USERNAME, exp: soon() }, { secret: 'another secret' })}`,
      /^Could not/,
    ],
    [
      'empty secret',
      () => `Bearer ${jwt({ sub: USERNAME, exp: soon() }, { secret: '' })}`,
      /^Could/,
    ],
    ['alg none', () => `Bearer ${jwt({ sub: USERNAME, exp: soon() }, { alg: 'none' })}`, /^Could/],
    [
      'alg none with a signature',
      () => `Bearer ${jwt({ sub: USERNAME, exp: soon() }, { alg: 'None' })}`,
      /^Could not/,
    ],
    [
      'HS512',
      () => `Bearer ${jwt({ sub: USERNAME, exp: soon() }, { alg: 'HS512', hash: 'sha512' })}`,
      /^Could not/,
    ],
    [
      'HS512 in name only',
      () => `Bearer ${jwt({ sub: USERNAME, exp: soon() }, { alg: 'HS512' })}`,
      /^C/,
    ],
    ['without sub', () => `Bearer ${jwt({ exp: soon() })}`, /^Could not/],
    ['cut', () => `Bearer ${client.token.slice(0, -1)}`, /^Could not/],
    ['with another payload', () => `Bearer ${client.token.replace('.e', '.f')}`, /^Could not/],
  ]
  it.each(cases)('%s', async (_what, authorization, message) => {
    const value = authorization()
    const headers = value === undefined ? {} : { authorization: value }
    const before = await stateOf(store, client)
    const sent = [
      { path: `/bytes/raw/${rawId}`, headers },
      { ...job({}), headers: { ...JSON_TYPE, ...headers } },
      { ...upload({ files: [file({ tags: ['new'] })] }), headers: { ...JSON_TYPE, ...headers } },
    ]
    for (const each of sent) {
      const answer = await send(service.url, each)
      expect([answer.status, answer.headers['www-authenticate']]).toEqual([401, 'Bearer'])
      expect(answer.headers['content-type']).toBe('application/json')
      expect(answer.headers['x-request-id']).toMatch(/./)
      expect(told(answer)).toMatch(message)
    }
    expect(await stateOf(store, client)).toEqual(before)
  })

  it('but the same claims rightly signed are accepted', async () => {
    for (const claims of [{ sub: USERNAME, exp: soon() }, { sub: USERNAME }]) {
      const headers = { authorization: `Bearer ${jwt(claims)}` }
      expect((await send(service.url, { path: `/bytes/raw/${rawId}`, headers })).text).toBe(
        'content',
      )
    }
  })
})

describe('HEAD and OPTIONS', () => {
  it.each([
    ['/health/live', 200],
    ['/metrics', 200],
    ['/bytes/raw?organization=org', 200],
    ['/bytes/raw/x', 422],
    ['/token', 405],
    ['/nothing', 404],
  ])('HEAD %s has the status of a GET and no body', async (path, status) => {
    const answer = await ask({ method: 'HEAD', path })
    expect([answer.status, answer.body.length]).toEqual([status, 0])
    expect(answer.headers['x-request-id']).toMatch(/./)
  })

  it('HEAD of a raw file tells its length', async () => {
    const answer = await ask({ method: 'HEAD', path: `/bytes/raw/${rawId}` })
    expect([answer.status, answer.headers['content-length'], answer.text]).toEqual([200, '7', ''])
  })

  it('HEAD without a token is 401', async () => {
    const answer = await send(service.url, { method: 'HEAD', path: `/bytes/raw/${rawId}` })
    expect([answer.status, answer.text]).toEqual([401, ''])
  })

  it.each([
    ['/bytes/raw', ['GET', 'HEAD', 'OPTIONS', 'POST']],
    ['/token', ['OPTIONS', 'POST']],
    [`/bytes/raw/${randomUUID()}/meta`, ['GET', 'HEAD', 'OPTIONS']],
  ])('OPTIONS %s tells the methods', async (path, methods) => {
    const answer = await send(service.url, { method: 'OPTIONS', path })
    expect([answer.status, answer.text]).toEqual([204, ''])
    expect(answer.headers.allow?.split(', ').sort()).toEqual(methods)
  })

  it.each(['PUT', 'PATCH', 'DELETE', 'PROPFIND'])('%s is refused', async (method) => {
    await refused({ method, path: '/bytes/raw', body: '{}' }, 405, /^Method Not Allowed$/)
  })
})

describe('random mutations', () => {
  const odd = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.constantFrom<unknown>(
      '',
      '\0',
      '\ud800',
      '..',
      '0001-01-01T00:00:00Z',
      '9999-12-31T23:59:59.9999999-23:59',
      '0000-00-00T00:00:00Z',
      '2026-02-30T24:00:60+99:99',
      253402300800,
      -1e20,
      1e308,
      -62135596801,
      '__proto__',
      'x'.repeat(3000),
      '00000000-0000-0000-0000-000000000000',
      '{00000000-0000-0000-0000-000000000000}',
      [[[[]]]],
      { length: -1 },
    ),
    fc.string({ unit: 'binary' }),
  )
  const oddText = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.constantFrom(
      '',
      '*',
      '-1',
      '1e9',
      '99999999999999999999',
      'true',
      '%',
      '%%%',
      '\0',
      '../..',
    ),
  )
  /** Bytes as a percent-encoded text: also such as no UTF-8 has. */
  const oddUri = fc.oneof(
    fc
      .uint8Array({ maxLength: 24 })
      .map((bytes) => [...bytes].map((b) => `%${b.toString(16).padStart(2, '0')}`).join('')),
    fc.constantFrom('%', '%zz', '%E0%A4%A', '..', '%2e%2e', '//', ';', '?', '&&=&', '#', '\\', '+'),
    oddText.map((text) => encodeURIComponent(text.toWellFormed())),
  )
  const latin1 = fc
    .array(
      fc.integer({ min: 0x20, max: 0xff }).filter((code) => code !== 0x7f),
      { maxLength: 40 },
    )
    .map((codes) => String.fromCharCode(...codes).trim())

  const bodies = (): readonly (readonly [path: string, body: Record<string, unknown>])[] => [
    ['/bytes/boefje_meta', { ...exampleJob(), environment: { A: 'b' }, runnable_hash: 'f' }],
    ['/bytes/normalizer_meta', JSON.parse(String(normalizerMeta({}).body))],
    [
      `/bytes/raw?boefje_meta_id=${jobId}`,
      { status: 'COMPLETED', files: [file(), file({ tags: ['c', 'd'] })] },
    ],
  ]

  function pathsOf(value: unknown, at: readonly string[] = []): string[][] {
    if (typeof value !== 'object' || value === null) return [[...at]]
    return [
      [...at],
      ...Object.entries(value).flatMap(([key, entry]) => pathsOf(entry, [...at, key])),
    ]
  }

  function replaced(value: unknown, path: readonly string[], put: unknown): unknown {
    const [key, ...rest] = path
    if (key === undefined) return put
    const copy = structuredClone(value) as Record<string, unknown>
    copy[key] = replaced(copy[key], rest, put)
    return copy
  }

  const check = async (sent: Sent): Promise<void> => {
    const answer = await ask(sent)
    if (answer.status >= 500) throw new Error(`${answer.status}: ${answer.text}`)
    if (answer.status >= 400 && sent.method !== 'HEAD') {
      expect(answer.headers['content-type']).toBe('application/json')
      JSON.parse(answer.text)
    }
  }

  it('of values in bodies never give a 5xx', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.nat(), odd, async (which, where, put) => {
        const [path, body] = bodies()[which % 3] ?? ['', {}]
        const paths = pathsOf(body)
        const text = JSON.stringify(replaced(body, paths[where % paths.length] ?? [], put))
        await check(post(path, text ?? 'null'))
      }),
      { numRuns: 400 },
    )
  })

  it('of the text of bodies never give a 5xx', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 4 }), fc.uint8Array({ maxLength: 6 })), {
          minLength: 1,
          maxLength: 4,
        }),
        async (which, cuts) => {
          const [path, body] = bodies()[which % 3] ?? ['', {}]
          let bytes = Buffer.from(JSON.stringify(body))
          for (const [where, length, insert] of cuts) {
            const at = where % (bytes.length + 1)
            bytes = Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + length)])
          }
          await check(post(path, bytes))
        },
      ),
      { numRuns: 300 },
    )
  })

  it('of paths and queries never give a 5xx', async () => {
    const names = [
      ...['organization', 'boefje_id', 'input_ooi', 'limit', 'offset', 'descending', 'normalized'],
      ...['raw_ids', 'raw_id', 'mime_types', 'boefje_meta_id', 'normalizer_id', 'after', 'other'],
    ]
    const lists = ['boefje_meta', 'normalizer_meta', 'raw', 'raws', 'mime_types']
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('GET', 'GET', 'POST', 'HEAD', 'OPTIONS', 'DELETE'),
        fc.oneof(
          fc.constantFrom(...lists.map((name) => `/bytes/${name}`)),
          oddUri.map((part) => `/bytes/raw/${part}`),
          oddUri.map((part) => `/bytes/${part}/meta`),
          oddUri.map((part) => `/docs/${part}`),
          oddUri.map((part) => `/${part}`),
        ),
        fc.array(fc.tuple(fc.constantFrom(...names), oddUri), { maxLength: 5 }),
        async (method, path, parameters) => {
          const text = parameters.map(([name, value]) => `${name}=${value}`).join('&')
          await check({ method, path: `${path}?organization=org&${text}`.replaceAll(' ', '') })
        },
      ),
      { numRuns: 500 },
    )
  })

  it('of headers never give a 5xx', async () => {
    const names = [
      ...['authorization', 'content-type', 'content-encoding', 'x-request-id', 'accept', 'cookie'],
      ...['host', 'expect', 'range', 'if-none-match', 'origin', 'x-forwarded-for', 'connection'],
    ]
    await fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.array(fc.tuple(fc.constantFrom(...names), latin1), { minLength: 1, maxLength: 3 }),
        async (which, headers) => {
          const [path, body] = bodies()[which % 3] ?? ['', {}]
          const sent = which % 2 ? post(path, JSON.stringify(body)) : { path: '/bytes/raws' }
          await check({ ...sent, headers: { ...sent.headers, ...Object.fromEntries(headers) } })
        },
      ),
      { numRuns: 300 },
    )
  })

  it('of log-ins never give a 5xx', async () => {
    const types = ['application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'text/a']
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...types), oddUri, async (type, part) => {
        for (const body of [`username=${part}&password=${part}`, `--x\r\n${part}\r\n--x--`]) {
          await check({ method: 'POST', path: '/token', headers: { 'content-type': type }, body })
        }
      }),
      { numRuns: 100 },
    )
  })
})

it('everything is whole after all that', async () => {
  const counts = await rowCounts(store.databaseUri)
  expect(counts.outbox).toBe(counts.raw_file)
  const files = await eventually(async () => {
    const found = await filesBelow(store.dataDir)
    return found.every((path) => path.startsWith('blobs/v1/')) && found
  }, 'the temporary directory is empty')
  expect(files.length).toBe(counts.blob)
  expect(service.process.exitCode).toBeNull()
  expect(errorsLogged(service.log())).toEqual([])
})
