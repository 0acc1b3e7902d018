/** Lists page by page, along the Link headers. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, exampleJob, login } from '../support/client.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { errorsLogged, send } from './helpers.js'

let store: TestStore
let service: TestService
let client: Client

beforeAll(async () => {
  store = await testStore()
  service = await store.start()
  client = await login(service.url)
})

afterAll(async () => {
  await store?.remove()
})

const LINK = /^<(\/bytes\/\w+\?[^<>]+)>; rel="next"$/

/** The target of the link to the next page; undefined when there is none. */
function nextOf(answer: Response): string | undefined {
  const link = answer.headers.get('link')
  if (link === null) return undefined
  const [, target] = LINK.exec(link) ?? []
  if (target === undefined) throw new Error(`not a link to the next page: ${link}`)
  return target
}

/** All pages of a list, as JSON; `between` runs after each. */
async function pagesOf<Page>(path: string, between = async () => {}): Promise<Page[]> {
  const pages: Page[] = []
  for (let next: string | undefined = path; next !== undefined; ) {
    const answer = await client.request(next)
    expect([next, answer.status]).toEqual([next, 200])
    pages.push((await answer.json()) as Page)
    next = nextOf(answer)
    await between()
  }
  return pages
}

type Rows = { readonly id: string }[]
const idsOf = (pages: readonly Rows[]): string[] => pages.flat().map(({ id }) => id)
const sizesOf = (pages: readonly Rows[]): number[] => pages.map((page) => page.length)

async function normalizerMeta(rawId: string, fields: Record<string, unknown>): Promise<void> {
  const raw_data = { id: rawId, boefje_meta: exampleJob() }
  const normalizer = { id: 'kat_dns', version: null }
  const body = { ...exampleJob(), normalizer, raw_data, ...fields }
  expect((await client.postJson('/bytes/normalizer_meta', body)).status).toBe(201)
}

/** Seven times, of which some are equal and some a microsecond apart. */
const TIMES = [0, 0, 0, 1, 1, 2, 2].map((micros) => `2026-01-01T00:00:00.00000${micros}Z`)
const id = (n: number): string => `00000000-0000-4000-8000-00000000000${n}`

describe('pages of', () => {
  it.each([['true'], ['false']])('jobs give each once, descending=%s', async (descending) => {
    const organization = `jobs ${descending}`
    const ids: string[] = []
    // Stored in another order than that of the list.
    for (const n of [3, 0, 6, 1, 5, 2, 4]) {
      const unique = descending === 'true' ? n + 10 : n
      const job = { id: id(n).replace(/^00/, String(unique).padStart(2, '0')) }
      ids[n] = await client.job(organization, { ...job, started_at: TIMES[n] })
    }
    const path = `/bytes/boefje_meta?organization=${encodeURIComponent(organization)}&input_ooi=*&descending=${descending}`
    const pages = await pagesOf<Rows>(`${path}&limit=3`)
    expect(sizesOf(pages)).toEqual([3, 3, 1])
    expect(idsOf(pages)).toEqual(descending === 'true' ? ids.toReversed() : ids)
    expect(idsOf(await pagesOf<Rows>(`${path}&limit=1`))).toEqual(idsOf(pages))
    expect(idsOf(await pagesOf<Rows>(`${path}&limit=7`))).toEqual(idsOf(pages))
    // An offset counts once: the pages after it follow one another.
    expect(idsOf(await pagesOf<Rows>(`${path}&limit=2&offset=3`))).toEqual(idsOf(pages).slice(3))
  })

  it.each([['true'], ['false']])('normalizer metas give each once, descending=%s', async (way) => {
    const job = await client.job('normalized')
    const { x = '' } = await client.upload(job, [{ name: 'x', content: 'x', tags: [way] }])
    const ids = TIMES.map((_, n) => id(n).replace(/^00/, way === 'true' ? 'aa' : 'bb'))
    for (const n of [3, 0, 6, 1, 5, 2, 4]) {
      await normalizerMeta(x, { id: ids[n], started_at: TIMES[n] })
    }
    const path = `/bytes/normalizer_meta?organization=normalized&raw_id=${x}&descending=${way}`
    const pages = await pagesOf<Rows>(`${path}&limit=2`)
    expect(sizesOf(pages)).toEqual([2, 2, 2, 1])
    expect(idsOf(pages)).toEqual(way === 'true' ? ids.toReversed() : ids)
  })

  it('raw files give each once, and those that come meanwhile', async () => {
    const job = await client.job('raw')
    const ids: string[] = []
    const add = async () => {
      const files = [{ name: 'x', content: 'x', tags: [`${ids.length}`] }]
      ids.push((await client.upload(job, files)).x ?? '')
    }
    for (let i = 0; i < 5; i++) await add()
    const path = '/bytes/raw?organization=raw&organization=other&limit=2'
    expect(idsOf(await pagesOf<Rows>(path))).toEqual(ids)
    let more = 2
    const grown = await pagesOf<Rows>(path, async () => {
      if (more-- > 0) await add()
    })
    expect([ids.length, idsOf(grown)]).toEqual([7, ids])

    type Contents = { files: { name: string }[] }
    const contents = await pagesOf<Contents>(path.replace('/raw?', '/raws?'))
    expect(contents.map(({ files }) => files.length)).toEqual([2, 2, 2, 1])
    expect(contents.flatMap(({ files }) => files.map(({ name }) => name))).toEqual(ids)
  })
})

describe('the link to the next page', () => {
  beforeAll(async () => {
    const job = await client.job('links')
    const tags = ['a', 'b', 'c']
    await client.upload(
      job,
      tags.map((tag) => ({ name: tag, content: tag, tags: [tag] })),
    )
  })

  const link = async (path: string): Promise<string | null> =>
    (await client.request(path)).headers.get('link')

  it('keeps the parameters as they were sent, but for offset and after', async () => {
    for (let i = 0; i < 3; i++) await client.job('a b&"<é>')
    const odd = 'organization=a+b%26%22%3c%C3%A9%3E&input_ooi=%2A&x=1&x=&y'
    const path = '/bytes/boefje_meta?offset=9&'
    const first = await link(`${path}${odd}&%6Fffset=0&limit=1`)
    const expected = `</bytes/boefje_meta?${odd}&limit=1&after=`
    expect(first?.slice(0, expected.length)).toBe(expected)
    const [, target = ''] = LINK.exec(first ?? '') ?? []
    const second = await link(target)
    expect(second?.slice(0, expected.length)).toBe(expected)
    expect(second).not.toBe(first)
    expect(second?.match(/after=/g)).toHaveLength(1)
  })

  it('holds nothing that was sent unencoded and ends it', async () => {
    const headers = { authorization: `Bearer ${client.token}` }
    const path = '/bytes/raw?organization=links&x=>;rel="prev",<&limit=1'
    const answer = await send(service.url, { path, headers })
    expect(answer.status).toBe(200)
    expect(answer.headers.link).toMatch(LINK)
    expect(answer.headers.link).toContain('x=%3E;rel=%22prev%22,%3C&')
  })

  it.each([
    ['the last page', 'organization=links&limit=3'],
    ['a page with room', 'organization=links&limit=100'],
    ['the longest page', 'organization=links&limit=9223372036854775807'],
    ['no rows wanted', 'organization=links&limit=0'],
    ['nothing found', 'organization=nobody&limit=5'],
  ])('is not there: %s', async (_, query) => {
    expect(await link(`/bytes/raw?${query}`)).toBeNull()
    expect(await link(`/bytes/raws?${query}`)).toBeNull()
    expect(await link(`/bytes/boefje_meta?${query}`)).toBeNull()
    expect(await link(`/bytes/normalizer_meta?${query}`)).toBeNull()
  })

  it('is told by HEAD as well, and described', async () => {
    const path = '/bytes/raw?organization=links&limit=2'
    const head = await client.request(path, { method: 'HEAD' })
    expect(head.headers.get('link')).toBe(await link(path))
    expect(await link(path)).toMatch(LINK)
    const document = (await client.getJson('/openapi.json')) as Document
    for (const list of ['raw', 'raws', 'boefje_meta', 'normalizer_meta']) {
      const operation = document.paths[`/bytes/${list}`]?.get
      expect(operation?.responses[200]?.headers).toMatchObject({ Link: { schema: {} } })
      const after = { name: 'after', in: 'query', required: false, schema: { type: 'string' } }
      expect(operation?.parameters).toContainEqual(expect.objectContaining({ name: 'after' }))
      expect(operation?.parameters.find(({ name }) => name === 'after')).toMatchObject(after)
    }
  })

  interface Document {
    readonly paths: Record<
      string,
      {
        readonly get: {
          readonly parameters: readonly { readonly name: string }[]
          readonly responses: Record<number, { readonly headers?: object }>
        }
      }
    >
  }
})

describe('a cursor', () => {
  const lists = ['raw', 'raws', 'boefje_meta', 'normalizer_meta']
  const refuse = async (list: string, after: string): Promise<void> => {
    const answer = await client.request(`/bytes/${list}?organization=o&after=${after}`)
    expect([list, after, answer.status]).toEqual([list, after, 422])
    expect(await answer.json()).toEqual({
      value: expect.stringMatching(/^query\.after: Not a cursor of this list: take .*Link header/),
    })
  }

  it.each(['', 'x', '1', '%00', '%ff', 'AAAA', '2026-01-01T00:00:00Z', '='.repeat(2000)])(
    'that was not given is refused: %j',
    async (after) => {
      for (const list of lists) await refuse(list, after)
    },
  )

  it('is of one list only, and must not be changed', async () => {
    const job = await client.job('cursors')
    await client.job('cursors')
    const files = ['a', 'b'].map((name) => ({ name, content: name, tags: [name] }))
    const { a = '', b = '' } = await client.upload(job, files)
    for (const raw of [a, b]) await normalizerMeta(raw, {})
    const tokens: Record<string, string> = {}
    for (const list of lists) {
      const path = `/bytes/${list}?organization=cursors${list === 'boefje_meta' ? '&input_ooi=*' : ''}`
      const target = nextOf(await client.request(path)) ?? ''
      const token = new URL(target, service.url).searchParams.get('after') ?? ''
      expect(token).toMatch(/^[\w-]+$/)
      await refuse(list, token.slice(1))
      await refuse(list, `${token}%20`)
      tokens[list] = token
    }
    expect(tokens.raw).toBe(tokens.raws)
    for (const list of lists.slice(1)) {
      for (const other of lists.slice(1)) {
        if (other !== list) await refuse(list, tokens[other] ?? '')
      }
    }
  })
})

describe('contents in base64', () => {
  it('of any length come back as they were', async () => {
    const job = await client.job('contents')
    const contents = [0, 1, 2, 3, 4, 64 * 1024 + 1, 300_000, 300_001].map((length) =>
      Buffer.from(Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) % 256)),
    )
    const files = contents.map((content, i) => ({ name: `${i}`, content, tags: [`${i}`] }))
    const ids = await client.upload(job, files)
    const path = `/bytes/raws?boefje_meta_id=${job}&limit=100`
    const answer = (await client.getJson(path)) as { files: { name: string; content: string }[] }
    expect(answer.files.map(({ name }) => name)).toEqual(Object.values(ids))
    for (const [i, { content }] of answer.files.entries()) {
      expect(content === contents[i]?.toString('base64')).toBe(true)
    }
  })

  it('of large files are streamed, and the same', async () => {
    const organization = 'large'
    // No multiple of three, so that groups of letters begin in one piece and end in the next.
    const content = Buffer.alloc(35_000_000)
    for (let i = 0; i < content.length; i++) content[i] = (i * 31 + (i >> 10)) % 256
    const job = await client.job(organization)
    const { large } = await client.upload(job, [{ name: 'large', content, tags: ['x', 'a"b'] }])
    await client.upload(job, [{ name: 'small', content: 'small', tags: ['y'] }])
    const answer = await client.request(`/bytes/raws?organization=${organization}`)
    // Its length is not known before the end.
    expect(answer.headers.get('content-length')).toBeNull()
    expect(nextOf(answer)).toMatch(/^\/bytes\/raws\?organization=large&after=/)
    const body = (await answer.json()) as { files: { content: string }[] }
    expect(body).toMatchObject({
      status: 'COMPLETED',
      files: [{ name: large, tags: ['a"b', 'x'] }],
    })
    expect(Buffer.from(body.files[0]?.content ?? '', 'base64').equals(content)).toBe(true)
    const both = await client.getJson(`/bytes/raws?organization=${organization}&limit=2`)
    expect(both).toMatchObject({ files: [body.files[0], { content: 'c21hbGw=' }] })
  })
})

it('nothing was complained about', () => {
  expect(errorsLogged(service.log())).toEqual([])
})
