/** Markup, odd paths and other hosts in URLs: no answer shows them to a browser, or leads elsewhere. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { errorsLogged, send } from '../acceptance/helpers.js'
import { type Client, login } from '../support/client.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'
import { ENCODED, MARKUP } from './hostile.js'

let store: TestStore
let service: TestService
let client: Client

beforeAll(async () => {
  store = await testStore()
  service = await store.start()
  client = await login(service.url)
})

afterAll(async () => {
  expect(errorsLogged(service.log())).toEqual([])
  await store?.remove()
})

describe('a page', () => {
  it('shows nothing that came from outside', async () => {
    const tally = tallyOf('abuse', 'markup in URLs of the documentation')
    const page = await send(service.url, { path: '/docs' })
    expect(page.headers['content-security-policy']).toMatch(
      /default-src 'none'; script-src 'self';/,
    )
    for (const text of [...MARKUP, ...ENCODED]) {
      const part = ENCODED.includes(text) ? text : encodeURIComponent(text)
      for (const path of [`/docs?url=${part}&configUrl=${part}`, `/docs?x=${part}`]) {
        const answer = await send(service.url, { path })
        tally.tried++
        if (answer.status !== 200 || answer.text !== page.text) tally.violations.push(path)
      }
    }
    expect(tally.violations).toEqual([])
    const description = await (await client.request('/openapi.json')).text()
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
        } = await send(service.url, {
          path,
          headers: {
            authorization: `Bearer ${client.token}`,
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
        const { status, headers } = await send(service.url, { path, headers: { host } })
        tally.tried++
        const isHere = status !== 307 || /^\/[^/\\]/.test(String(headers.location))
        if (status < 500 && isHere) continue
        tally.violations.push(`${path} at ${host}: ${status} ${headers.location}`)
      }
    }
    expect(tally.violations).toEqual([])
  })
})
