/** Texts that mean something to a path, a query, a header, a page or a log, in every field that takes texts. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Entry, fromBufferPromise } from 'yauzl'
import {
  base64,
  errorsLogged,
  eventually,
  filesBelow,
  query,
  rowCounts,
  send,
} from '../acceptance/helpers.js'
import { type Client, exampleJob, login } from '../support/client.js'
import { isFull, reportTried } from '../support/fault-report.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { CONTROLS, ENCODED, HOSTILE, KEYS, MARKUP, PATHS, SQL } from './hostile.js'

/** All in the full form, else one in so many. */
const sampled = <T>(all: readonly T[], oneIn: number): readonly T[] =>
  isFull ? all : all.filter((_, i) => i % oneIn === 0)

let store: TestStore
let service: TestService
let client: Client
let job: string

beforeAll(async () => {
  store = await testStore()
  service = await store.start()
  client = await login(service.url)
  job = await client.job('victim')
  await client.upload(job, [{ name: 'kept', content: 'kept', tags: ['kept'] }])
})

afterAll(async () => {
  expect(errorsLogged(service.log())).toEqual([])
  // Each line of the log is one object, that nobody else has written.
  for (const line of service.log().split('\n').filter(Boolean)) {
    expect(JSON.parse(line).msg).not.toBe('forged')
  }
  await store?.remove()
})

describe('a job', () => {
  const FIELDS: readonly (readonly [string, (text: string) => object])[] = [
    ['boefje.id', (id) => ({ boefje: { id, version: null } })],
    ['boefje.version', (version) => ({ boefje: { id: 'b', version } })],
    ['input_ooi', (input_ooi) => ({ input_ooi })],
    ['organization', (organization) => ({ organization })],
    ['runnable_hash', (runnable_hash) => ({ runnable_hash })],
    ['arguments', (text) => ({ arguments: Object.fromEntries([[text, { [`x${text}`]: text }]]) })],
    ['environment', (text) => ({ environment: Object.fromEntries([[text, text]]) })],
  ]

  it.each(FIELDS)('is kept as it is, or refused: %s', async (_, make) => {
    const wrong: string[] = []
    const texts = sampled(HOSTILE, 2)
    for (const text of texts) {
      const sent = exampleJob({ environment: { A: 'b' }, ...make(text) })
      const answer = await client.postJson('/bytes/boefje_meta', sent)
      const told = await answer.text()
      if (answer.status === 422 && typeof JSON.parse(told).value === 'string') continue
      const found = await (await client.request(`/bytes/boefje_meta/${sent.id}`)).text()
      const kept = JSON.stringify(make(text)).slice(1, -1)
      if (answer.status === 201 && found.includes(kept)) continue
      wrong.push(`${JSON.stringify(text)}: ${answer.status} ${found}`)
    }
    reportTried('abuse', 'hostile texts in jobs', {
      tried: texts.length,
      violations: wrong.length,
    })
    expect(wrong).toEqual([])
  })

  it('with keys of a prototype changes no other', async () => {
    const before = await client.getJson(`/bytes/boefje_meta/${job}`)
    const evil = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'
    const id = randomUUID()
    const { arguments: _, ...rest } = exampleJob({ id })
    const text = `{"__proto__":{"organization":"victim"},"arguments":${evil},${JSON.stringify(rest).slice(1)}`
    expect((await client.postJson('/bytes/boefje_meta', text)).status).toBe(201)
    const stored = await (await client.request(`/bytes/boefje_meta/${id}`)).text()
    expect(stored).toContain(`"arguments":${evil}`)
    expect(JSON.parse(stored).organization).toBe('org')
    // What is only in the prototype is not there.
    const hidden = `{"__proto__":${JSON.stringify(exampleJob())}}`
    expect((await client.postJson('/bytes/boefje_meta', hidden)).status).toBe(422)
    expect(await client.getJson(`/bytes/boefje_meta/${job}`)).toEqual(before)
    const [health] = [await (await client.request('/health')).text()]
    expect(health).not.toContain('polluted')
  })

  it('is found by its very text and by no other', async () => {
    const before = await rowCounts(store.databaseUri)
    for (const text of [...SQL, ...KEYS, '%', '_', '*/']) {
      const part = encodeURIComponent(text)
      for (const path of [
        `/bytes/boefje_meta?organization=${part}&input_ooi=*&limit=100`,
        `/bytes/boefje_meta?organization=victim&boefje_id=${part}&input_ooi=*&limit=100`,
        `/bytes/raw?organization=${part}&limit=100`,
        `/bytes/raw?mime_types=${part}&limit=100`,
      ]) {
        const rows = (await client.getJson(path)) as { organization?: string }[]
        for (const row of rows) expect(row.organization).toBe(text)
      }
    }
    expect(await rowCounts(store.databaseUri)).toEqual(before)
  })
})

describe('a file', () => {
  const upload = async (name: string, way: string): Promise<string | undefined> => {
    const id = await client.job('org')
    const path = `/bytes/raw?boefje_meta_id=${id}`
    const authorization = `Bearer ${client.token}`
    const ways: Readonly<Record<string, () => Promise<Response>>> = {
      json: () => client.postJson(path, { files: [{ name, content: base64('c'), tags: ['t'] }] }),
      query: () =>
        client.request(`${path}&tag=t&name=${encodeURIComponent(name.toWellFormed())}`, {
          method: 'POST',
          body: 'c',
        }),
      form: () =>
        fetch(`${service.url}${path}`, {
          method: 'POST',
          headers: { authorization, 'content-type': 'multipart/form-data; boundary=x' },
          body: `--x\r\nContent-Disposition: form-data; name="${name}"; filename="${name}"\r\n\r\nc\r\n--x--\r\n`,
        }),
      tus: () =>
        fetch(`${service.url}/bytes/uploads`, {
          method: 'POST',
          headers: {
            authorization,
            'tus-resumable': '1.0.0',
            'content-type': 'application/offset+octet-stream',
            'upload-length': '1',
            'upload-metadata': `boefje_meta_id ${base64(id)},filename ${base64(name)}`,
          },
          body: 'c',
        }),
    }
    const answer = await ways[way]?.()
    if (!answer || answer.status >= 500) throw new Error(`answered ${answer?.status}`)
    const [raw] = await query<{ id: string }>(
      store.databaseUri,
      'SELECT id FROM raw_file WHERE boefje_meta_id = $1',
      [id],
    )
    expect(raw !== undefined).toBe(answer.status < 300)
    return raw?.id
  }

  it.each(['json', 'query', 'form', 'tus'])(
    'has a name that is safe wherever it goes: %s',
    async (way) => {
      let stored = 0
      const names = sampled(
        [...PATHS, ...CONTROLS, ...MARKUP, ...KEYS, 'a";filename="b.exe', "x';y"],
        way === 'json' ? 1 : 2,
      )
      for (const name of names) {
        const id = await upload(name, way)
        if (id === undefined) continue
        stored++
        const answer = await send(service.url, {
          path: `/bytes/raw/${id}`,
          headers: { authorization: `Bearer ${client.token}` },
        })
        expect([answer.status, answer.text, answer.headers['x-injected']]).toEqual([
          200,
          'c',
          undefined,
        ])
        expect(answer.headers['content-type']).toBe('application/octet-stream')
        expect(answer.headers['x-content-type-options']).toBe('nosniff')
        const disposition = String(answer.headers['content-disposition'])
        expect(disposition).toMatch(/^attachment; filename=/)
        const shown = decodeURIComponent(/filename\*=UTF-8''([^;]+)/.exec(disposition)?.[1] ?? '')
        const plain = /filename="?((?:[^"\\]|\\.)*)/.exec(disposition)?.[1] ?? ''
        for (const each of [shown, plain.replace(/\\(.)/g, '$1')]) {
          expect(each).not.toMatch(/[/\\\p{Cc}\u202e]|^\.+$/u)
        }
      }
      reportTried('abuse', `hostile file names: ${way}`, { tried: names.length, violations: 0 })
      expect(stored).toBeGreaterThan(10)
    },
  )

  it('puts no name of its own into an evidence bundle', async () => {
    for (const name of [
      '../../../../tmp/evil',
      '/etc/cron.d/evil',
      '..\\evil',
      'a\0/../b',
      'content',
    ]) {
      const id = await upload(name, 'json')
      if (id === undefined) continue
      const answer = await client.request(`/bytes/raw/${id}/evidence`)
      const zip = await fromBufferPromise(Buffer.from(await answer.arrayBuffer()))
      const entries: Entry[] = []
      for await (const entry of zip.eachEntry()) entries.push(entry)
      expect(entries.length).toBeGreaterThan(3)
      for (const { fileName } of entries) {
        expect(fileName).toMatch(
          /^(content|content\.sha512|raw_meta\.json|secure_hash\.txt|ended_at\.txt|VERIFY\.md)$/,
        )
      }
    }
  })

  it('is never anywhere but in the folder of blobs', async () => {
    const files = await eventually(async () => {
      const found = await filesBelow(store.dataDir)
      return !found.some((path) => path.startsWith('tmp/')) && found
    }, 'the temporary directory is empty')
    for (const path of files) {
      expect(path).toMatch(
        /^(blobs\/v1\/[a-zA-Z0-9_%-]+\/[0-9a-f]{2}\/[0-9a-f]{128}|uploads\/[0-9a-f-]{36}\.json)$/,
      )
    }
  })
})

describe('a page', () => {
  it('shows nothing that came from outside', async () => {
    const page = await send(service.url, { path: '/docs' })
    expect(page.headers['content-security-policy']).toMatch(
      /default-src 'none'; script-src 'self';/,
    )
    for (const text of [...MARKUP, ...ENCODED]) {
      const part = ENCODED.includes(text) ? text : encodeURIComponent(text)
      for (const path of [`/docs?url=${part}&configUrl=${part}`, `/docs?x=${part}`]) {
        const answer = await send(service.url, { path })
        expect([answer.status, answer.text]).toEqual([200, page.text])
      }
    }
    const description = await (await client.request('/openapi.json')).text()
    for (const text of MARKUP) expect(description).not.toContain(text)
  })

  it('is the only answer that a browser takes for one', async () => {
    let tried = 0
    const wrong: string[] = []
    for (const text of [...MARKUP, ...ENCODED]) {
      const part = ENCODED.includes(text) ? text : encodeURIComponent(text)
      for (const path of [
        `/${part}`,
        `/docs/${part}`,
        `/docs/${part}${part}package.json`,
        `/bytes/raw/${part}`,
        `/bytes/blobs/${part}?organization=${part}`,
        `/bytes/raws?organization=${part}`,
        `/bytes/${part}/`,
        `/token?x=${part}`,
      ]) {
        const {
          status,
          headers,
          text: told,
        } = await send(service.url, {
          path,
          headers: {
            authorization: `Bearer ${client.token}`,
            origin: 'https://evil.example',
            'x-request-id': MARKUP[0] ?? '',
          },
        })
        tried++
        const plain =
          headers['content-type'] === 'application/json' &&
          headers['x-content-type-options'] === 'nosniff'
        const inner =
          headers['access-control-allow-origin'] !== undefined || told.includes('"dependencies"')
        // A slash too many: to a path on this host, without a page.
        if (status === 307 && told === '' && /^\/[^/\\]/.test(String(headers.location))) continue
        if (plain && !inner && (status === 200 || status >= 400) && status < 500) continue
        wrong.push(`${path}: ${status} ${JSON.stringify(headers)} ${told.slice(0, 200)}`)
      }
    }
    reportTried('abuse', 'markup and odd paths in URLs', { tried, violations: wrong.length })
    expect(wrong).toEqual([])
  })

  it('is not led elsewhere by a redirect', async () => {
    for (const path of [
      '//evil.example/bytes/raw/',
      '/bytes/raw//',
      '/\\evil.example/',
      '/bytes/raw/?x=//evil',
    ]) {
      for (const host of ['x', 'evil.example', 'evil.example\\@x']) {
        const { status, headers } = await send(service.url, { path, headers: { host } })
        expect(status).toBeLessThan(500)
        if (status === 307) expect(headers.location).toMatch(/^\/[^/\\]/)
      }
    }
  })
})
