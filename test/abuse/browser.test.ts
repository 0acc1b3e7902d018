/**
 * Markup in stored metadata, names and URLs, seen in a real browser (Chromium): on /docs and as
 * answers that are opened themselves. In the full form, where Chromium is installed.
 */
import { existsSync } from 'node:fs'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { exampleJob, login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { skipFor } from '../support/fault-tools.js'
import {
  PASSWORD,
  type TestService,
  type TestStore,
  testStore,
  USERNAME,
} from '../support/service.js'
import { tallyOf } from '../support/tally.js'

const PROGRAM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  (path) => existsSync(path),
)

/** Short enough for an organization, without a slash. */
const ACTIVE = '<img src=x onerror=xss()>'
const TEXTS = [ACTIVE, '<svg onload=xss()>', '"><script>xss()</script>', "javascript:xss('1')"]

let store: TestStore
let service: TestService
let browser: Browser | undefined

beforeAll(async () => {
  if (!isFull || PROGRAM === undefined) return
  store = await testStore()
  service = await store.start()
  browser = await chromium.launch({
    executablePath: PROGRAM,
    // Its own sandbox is not to be had as root.
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-sync'],
  })
})

afterAll(async () => {
  await browser?.close()
  await store?.remove()
})

/** Opens a page that notes what must not be: scripts of others, what the policy stopped, other hosts. */
async function watchedPage(open: Browser, found: string[]): Promise<Page> {
  const page = await open.newPage()
  page.on('dialog', (dialog) => {
    found.push(`a dialog: ${dialog.message()}`)
    void dialog.dismiss()
  })
  page.on('request', (request) => {
    const { origin, protocol } = new URL(request.url())
    if (origin !== service.url && protocol !== 'data:') found.push(`a request to ${request.url()}`)
  })
  await page.exposeFunction('xss', () => void found.push('a script ran'))
  await page.exposeFunction('stopped', (what: string) => void found.push(`stopped: ${what}`))
  await page.addInitScript(`addEventListener('securitypolicyviolation', (event) =>
    stopped(event.violatedDirective + ' ' + event.blockedURI))`)
  return page
}

/** Reads one operation on the page; gives what is shown of the answer. */
async function execute(page: Page, path: string, values: Readonly<Record<string, string>>) {
  const block = page.locator('.opblock-get', {
    has: page.locator(`[data-path="${path}"]`),
  })
  await block.locator('.opblock-summary-control').click()
  await block.getByRole('button', { name: 'Try it out' }).click()
  for (const [name, value] of Object.entries(values)) {
    await block.locator(`tr[data-param-name="${name}"] input`).fill(value)
  }
  await block.getByRole('button', { name: 'Execute' }).click()
  const shown = block.locator('.live-responses-table .highlight-code').first()
  await shown.waitFor()
  return (await shown.textContent()) ?? ''
}

it.runIf(isFull)(
  'nothing that is stored or in a URL runs in a browser',
  async ({ skip }) => {
    if (!browser) return skipFor(skip, 'Chromium is not installed')
    const tally = tallyOf('abuse', 'markup seen in a browser')
    const client = await login(service.url)
    const job = exampleJob({
      boefje: { id: TEXTS[2], version: ACTIVE.slice(0, 16) },
      organization: ACTIVE,
      input_ooi: ACTIVE,
      arguments: Object.fromEntries(TEXTS.map((text) => [text, text])),
      environment: Object.fromEntries(TEXTS.map((text) => [text, text])),
      runnable_hash: ACTIVE,
    })
    expect((await client.postJson('/bytes/boefje_meta', job)).status).toBe(201)
    const files = TEXTS.map((name) => ({ name, content: `<html>${name}</html>`, tags: [name] }))
    const ids = Object.values(await client.upload(job.id, files))

    const page = await watchedPage(browser, tally.violations)
    for (const text of TEXTS) {
      const part = encodeURIComponent(text)
      for (const path of [`/docs?url=${part}&configUrl=${part}`, `/docs#/${text}`]) {
        tally.tried++
        await page.goto(`${service.url}${path}`)
        await page.locator('.opblock').first().waitFor()
      }
    }

    await page.goto(`${service.url}/docs`)
    await page.locator('.btn.authorize').first().click()
    await page.locator('#oauth_username').fill(USERNAME)
    await page.locator('#oauth_password').fill(PASSWORD)
    const dialog = page.locator('.auth-container', { has: page.locator('#oauth_username') })
    await dialog.locator('button.authorize').click()
    await page.locator('.modal-ux').getByText('Logout').first().waitFor()
    await page.locator('.close-modal').click()
    const filters = { organization: ACTIVE, input_ooi: ACTIVE }
    for (const [path, values] of [
      ['/bytes/boefje_meta/{boefje_meta_id}', { boefje_meta_id: job.id }],
      ['/bytes/boefje_meta', filters],
      ['/bytes/raw/{raw_id}/meta', { raw_id: ids[0] ?? '' }],
      ['/bytes/mime_types', {}],
    ] as const) {
      tally.tried++
      // Shown, and as the text that it is.
      expect(await execute(page, path, values)).toContain(ACTIVE)
      const made = await page.locator('img[src="x"], svg[onload]').count()
      if (made > 0) tally.violations.push(`${path} became elements of the page`)
    }

    // Opened by themselves, contents are downloads, and everything else is JSON.
    const authorized = { authorization: `Bearer ${client.token}` }
    await page.setExtraHTTPHeaders(authorized)
    for (const id of ids) {
      tally.tried++
      const [download] = await Promise.all([
        page.waitForEvent('download'),
        page.goto(`${service.url}/bytes/raw/${id}`).catch(() => undefined),
      ])
      expect(download.suggestedFilename()).not.toMatch(/[/\\]/)
      await download.cancel()
    }
    for (const path of [
      `/bytes/boefje_meta/${job.id}`,
      `/bytes/raws?organization=${encodeURIComponent(ACTIVE)}`,
      ...TEXTS.map((text) => `/bytes/raw/${encodeURIComponent(text)}`),
      ...TEXTS.map((text) => `/${encodeURIComponent(text)}`),
    ]) {
      tally.tried++
      await page.goto(`${service.url}${path}`)
      const made = await page.locator('img[src="x"], svg, script').count()
      if (made > 0) tally.violations.push(`${path} became elements of a page`)
    }
    expect(tally.violations).toEqual([])
  },
  300_000,
)
