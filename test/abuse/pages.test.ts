/** Markup, odd paths and other hosts in URLs: no answer shows them to a browser, or leads elsewhere. */
import { randomUUID } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { base64, send } from '../acceptance/helpers.js'
import { exampleJob } from '../support/client.js'
import { tallyOf } from '../support/tally.js'
import { ENCODED, MARKUP } from './hostile.js'
import { victimOf } from './victim.js'

const victim = victimOf()

describe('a page', () => {
  it('shows nothing that came from outside', async () => {
    const tally = tallyOf('abuse', 'markup in URLs of the documentation')
    const page = await send(victim.url, { path: '/docs' })
    expect(page.headers['content-security-policy']).toMatch(
      /default-src 'none'; script-src 'self';/,
    )
    for (const text of [...MARKUP, ...ENCODED]) {
      const part = ENCODED.includes(text) ? text : encodeURIComponent(text)
      for (const path of [`/docs?url=${part}&configUrl=${part}`, `/docs?x=${part}`]) {
        const answer = await send(victim.url, { path })
        tally.tried++
        if (answer.status !== 200 || answer.text !== page.text) tally.violations.push(path)
      }
    }
    expect(tally.violations).toEqual([])
    const description = await (await victim.client.request('/openapi.json')).text()
    for (const text of MARKUP) expect(description).not.toContain(text)
  })

  it('is the only answer that a browser takes for one', async () => {
    const tally = tallyOf('abuse', 'markup and odd paths in URLs')
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
        } = await send(victim.url, {
          path,
          headers: {
            authorization: `Bearer ${victim.client.token}`,
            origin: 'https://evil.example',
            'x-request-id': MARKUP[0] ?? '',
          },
        })
        tally.tried++
        const plain =
          headers['content-type'] === 'application/json' &&
          headers['x-content-type-options'] === 'nosniff'
        const inner =
          headers['access-control-allow-origin'] !== undefined || told.includes('"dependencies"')
        // A slash too many: to a path on this host, without a page.
        if (status === 307 && told === '' && /^\/[^/\\]/.test(String(headers.location))) continue
        if (plain && !inner && (status === 200 || status >= 400) && status < 500) continue
        tally.violations.push(`${path}: ${status} ${JSON.stringify(headers)} ${told.slice(0, 200)}`)
      }
    }
    expect(tally.violations).toEqual([])
  })

  it('is not led elsewhere by a redirect', async () => {
    const tally = tallyOf('abuse', 'redirects')
    for (const path of [
      '//evil.example/bytes/raw/',
      '/bytes/raw//',
      '/\\evil.example/',
      '/bytes/raw/?x=//evil',
    ]) {
      for (const host of ['x', 'evil.example', 'evil.example\\@x']) {
        const { status, headers } = await send(victim.url, { path, headers: { host } })
        tally.tried++
        const isHere = status !== 307 || /^\/[^/\\]/.test(String(headers.location))
        if (status < 500 && isHere) continue
        tally.violations.push(`${path} at ${host}: ${status} ${headers.location}`)
      }
    }
    expect(tally.violations).toEqual([])
  })
})

describe('what was stored', () => {
  const authorized = (more = {}): Record<string, string> => ({
    authorization: `Bearer ${victim.client.token}`,
    ...more,
  })
  const get = (path: string, more = {}) =>
    send(victim.url, { path, headers: authorized({ accept: 'text/html', ...more }) })

  /** Stores a text in every field that takes it. @returns the paths of all that shows it */
  async function stored(text: string): Promise<string[]> {
    const { client } = victim
    const accepts = async (answer: Promise<Response>): Promise<boolean> => (await answer).ok
    const fields = exampleJob({
      boefje: { id: text, version: text.slice(0, 16) },
      input_ooi: text,
      runnable_hash: text,
      arguments: { [text]: text },
      environment: { [text]: text },
      organization: text,
    })
    const job = (await accepts(client.postJson('/bytes/boefje_meta', fields)))
      ? fields
      : // Some texts are no name of an organization.
        { ...fields, organization: 'org' }
    if (job !== fields) {
      expect(await accepts(client.postJson('/bytes/boefje_meta', job))).toBe(true)
    }
    const { [text]: id = '' } = await client.upload(job.id, [
      { name: text, content: text, tags: ['text/html', text] },
    ])
    const normalizer = {
      ...exampleJob(),
      normalizer: { id: text, version: text.slice(0, 16) },
      raw_data: await client.getJson(`/bytes/raw/${id}/meta`),
    }
    expect(await accepts(client.postJson('/bytes/normalizer_meta', normalizer))).toBe(true)
    const created = await send(victim.url, {
      method: 'POST',
      path: '/bytes/uploads',
      headers: authorized({
        'tus-resumable': '1.0.0',
        'content-type': 'application/offset+octet-stream',
        'upload-length': String(Buffer.byteLength(text)),
        'upload-metadata': `boefje_meta_id ${base64(job.id)},filename ${base64(text)},filetype ${base64('text/html')}`,
      }),
      body: text,
    })
    expect(created.status).toBe(201)
    const raw = await get(`/bytes/raw/${id}`)
    const hex = Buffer.from(/:(.*):/.exec(String(raw.headers['repr-digest']))?.[1] ?? '', 'base64')
    const organization = encodeURIComponent(job.organization)
    const part = encodeURIComponent(text)
    return [
      `/bytes/boefje_meta/${job.id}`,
      `/bytes/boefje_meta?organization=${organization}&boefje_id=${part}&input_ooi=${part}&limit=9`,
      `/bytes/normalizer_meta/${normalizer.id}`,
      `/bytes/normalizer_meta?organization=${organization}&normalizer_id=${part}&limit=9`,
      `/bytes/raw/${id}`,
      `/bytes/raw/${String(created.headers['bytes-raw-id'])}`,
      `/bytes/blobs/sha512:${hex.toString('hex')}?organization=${organization}`,
      `/bytes/raw/${id}/meta`,
      `/bytes/raw?boefje_meta_id=${job.id}&limit=9`,
      `/bytes/raws?boefje_meta_id=${job.id}&limit=9`,
      `/bytes/mime_types?mime_types=${part}`,
      `/bytes/raw/${id}/verify`,
      `/bytes/raw/${id}/evidence`,
      '/metrics',
      '/health',
    ]
  }

  /** What a browser would do with an answer that it should not. */
  function rendered(headers: Readonly<Record<string, unknown>>): string | undefined {
    const type = String(headers['content-type'])
    if (headers['x-content-type-options'] !== 'nosniff') return 'its type may be guessed'
    if (headers['access-control-allow-origin'] !== undefined) return 'other pages may read it'
    if (type === 'application/json' || /^text\/plain;/.test(type)) return undefined
    if (!/^(application\/(octet-stream|zip)|multipart\/byteranges; boundary=\S+)$/.test(type)) {
      return `it is ${type}`
    }
    return /^attachment;/.test(String(headers['content-disposition'])) ? undefined : 'it is shown'
  }

  it('is on no page, and is never one', async () => {
    const tally = tallyOf('abuse', 'answers that show stored markup')
    const pages = async (): Promise<string[]> =>
      Promise.all(['/docs', '/openapi.json'].map(async (path) => (await get(path)).text))
    const before = await pages()
    for (const text of [...MARKUP, `<!doctype html><b>${randomUUID()}</b>`]) {
      let shown = 0
      for (const path of await stored(text)) {
        for (const more of [{}, { range: 'bytes=0-0,3-5' }]) {
          const answer = await get(path, more)
          tally.tried++
          const isShown = answer.text.includes(text) || answer.text.includes(JSON.stringify(text))
          if (isShown) shown++
          const wrong =
            answer.status >= 400 ? `answered ${answer.status}` : rendered(answer.headers)
          if (wrong) tally.violations.push(`${path}: ${wrong} ${answer.text.slice(0, 200)}`)
        }
      }
      // In these at the least: the job, the normalizer, the contents and the raw file's own record.
      expect(shown).toBeGreaterThan(10)
    }
    expect(tally.violations).toEqual([])
    expect(await pages()).toEqual(before)
  })
})
