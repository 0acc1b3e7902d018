/** Texts that mean something to a path, a query, a header, a page or a log, in every field that takes texts. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Entry, fromBufferPromise } from 'yauzl'
import {
  type Answer,
  base64,
  errorsLogged,
  eventually,
  filesBelow,
  query,
  rowCounts,
  send,
} from '../acceptance/helpers.js'
import { type Client, exampleJob, login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'
import { CONTROLS, HOSTILE, KEYS, MARKUP, PATHS, SQL } from './hostile.js'

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
    const tally = tallyOf('abuse', 'hostile texts in jobs')
    for (const text of sampled(HOSTILE, 2)) {
      tally.tried++
      const sent = exampleJob({ environment: { A: 'b' }, ...make(text) })
      const answer = await client.postJson('/bytes/boefje_meta', sent)
      const told = await answer.text()
      if (answer.status === 422 && typeof JSON.parse(told).value === 'string') continue
      const found = await (await client.request(`/bytes/boefje_meta/${sent.id}`)).text()
      const kept = JSON.stringify(make(text)).slice(1, -1)
      if (answer.status === 201 && found.includes(kept)) continue
      tally.violations.push(`${JSON.stringify(text)}: ${answer.status} ${found}`)
    }
    expect(tally.violations).toEqual([])
  })

  it('with keys of a prototype changes no other', async () => {
    tallyOf('abuse', 'keys of a prototype in jobs').tried = 2
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
    expect(await (await client.request('/health')).text()).not.toContain('polluted')
  })

  it('is found by its very text and by no other', async () => {
    const tally = tallyOf('abuse', 'hostile texts in queries')
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
        tally.tried++
        if (rows.some(({ organization }) => organization !== text)) tally.violations.push(path)
      }
    }
    expect(tally.violations).toEqual([])
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

  /** What is dangerous in an answer with a content; undefined when nothing is. */
  function danger({ status, text, headers }: Answer): string | undefined {
    if (status !== 200 || text !== 'c') return `answered ${status} ${text}`
    if (headers['x-injected'] !== undefined) return 'it made a header'
    if (headers['content-type'] !== 'application/octet-stream') return 'it has a type'
    if (headers['x-content-type-options'] !== 'nosniff') return 'its type may be guessed'
    const disposition = String(headers['content-disposition'])
    const shown = decodeURIComponent(/filename\*=UTF-8''([^;]+)/.exec(disposition)?.[1] ?? '')
    const plain = /filename="?((?:[^"\\]|\\.)*)/.exec(disposition)?.[1] ?? ''
    const names = [shown, plain.replace(/\\(.)/g, '$1')]
    const isSafe =
      disposition.startsWith('attachment; filename=') &&
      !names.some((each) => /[/\\\p{Cc}\u202e]|^\.+$/u.test(each))
    return isSafe ? undefined : disposition
  }

  it.each(['json', 'query', 'form', 'tus'])(
    'has a name that is safe wherever it goes: %s',
    async (way) => {
      const tally = tallyOf('abuse', `hostile file names: ${way}`)
      let stored = 0
      const names = sampled(
        [...PATHS, ...CONTROLS, ...MARKUP, ...KEYS, 'a";filename="b.exe', "x';y"],
        way === 'json' ? 1 : 2,
      )
      for (const name of names) {
        tally.tried++
        const id = await upload(name, way)
        if (id === undefined) continue
        stored++
        const answer = await send(service.url, {
          path: `/bytes/raw/${id}`,
          headers: { authorization: `Bearer ${client.token}` },
        })
        const wrong = danger(answer)
        if (wrong) tally.violations.push(`${JSON.stringify(name)}: ${wrong}`)
      }
      expect(tally.violations).toEqual([])
      expect(stored).toBeGreaterThan(10)
    },
  )

  it('puts no name of its own into an evidence bundle', async () => {
    const tally = tallyOf('abuse', 'hostile names in evidence bundles')
    for (const name of [
      '../../../../tmp/evil',
      '/etc/cron.d/evil',
      '..\\evil',
      'a\0/../b',
      'content',
    ]) {
      tally.tried++
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
