/**
 * Bytes that are no UTF-8, wherever texts come in: overlong forms of NUL, "/" and ".", halves of
 * surrogate pairs, bytes that go on where nothing has begun. A decoder that takes them lets through
 * what a check of the text has refused. None is stored as another text.
 */
import { randomUUID } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { base64, eventually, openWire, type Sent, send, stateOf } from '../acceptance/helpers.js'
import { exampleJob } from '../support/client.js'
import { PASSWORD, USERNAME } from '../support/service.js'
import { tallyOf } from '../support/tally.js'
import { filled, HOLE, pathOf, percent, type Ways, waysOf } from './text-ways.js'
import { victimOf } from './victim.js'

const NO_UTF8: readonly string[] = [
  'c080',
  'e08080',
  'f0808080',
  'c0af',
  'e080af',
  'f08080af',
  'c0ae',
  'c1bf',
  'e09fbf',
  'eda080',
  'edb080',
  'eda080edb080',
  '80',
  'bf',
  'c3',
  'e282',
  'f09f92',
  'c328',
  'f4908080',
  'f888808080',
  'fe',
  'ff',
]
/** The control: what each way takes, and has to give back as it is. */
const UTF8 = 'c3a9'
const SHOWN = 'é'

const victim = victimOf()
const { jobs, files } = waysOf(victim)

const authorized = (headers: Record<string, string> = {}): Record<string, string> => ({
  authorization: `Bearer ${victim.client.token}`,
  ...headers,
})
async function refusedOf(ways: Ways, what: string): Promise<void> {
  const tally = tallyOf('abuse', what)
  const isJob = ways === jobs
  const newJob = (): Promise<string> | string => (isJob ? randomUUID() : victim.client.job())
  for (const [name, { sent, shown }] of Object.entries(ways)) {
    const job = await newJob()
    const answer = await send(victim.url, sent(UTF8, job))
    expect([name, await shown(answer, job)]).toEqual([name, expect.stringContaining(SHOWN)])
  }
  const job = await newJob()
  const before = await stateOf(victim.store, victim.client)
  for (const [name, { sent }] of Object.entries(ways)) {
    for (const hex of NO_UTF8) {
      tally.tried++
      const { status, text } = await send(victim.url, sent(hex, job))
      const why: unknown = status === 422 && JSON.parse(text).value
      if (typeof why === 'string' && why.includes('UTF-8')) continue
      tally.violations.push(`${name} ${hex}: ${status} ${text}`)
    }
  }
  expect(tally.violations).toEqual([])
  const after = await eventually(async () => {
    const state = await stateOf(victim.store, victim.client)
    return !state.files.some((path) => path.startsWith('tmp/')) && state
  }, 'the temporary directory is empty')
  expect(after).toEqual(before)
}

describe('bytes that are no UTF-8', () => {
  it('are refused in a job', () => refusedOf(jobs, 'bytes that are no UTF-8, in jobs'))

  it('are refused in an upload', () => refusedOf(files, 'bytes that are no UTF-8, in uploads'))

  it('are kept as they are in the metadata of a resumable upload that nobody reads', async () => {
    const tally = tallyOf('abuse', 'bytes that are no UTF-8, in metadata of others')
    const job = await victim.client.job()
    for (const hex of NO_UTF8) {
      tally.tried++
      const metadata = `boefje_meta_id ${base64(job)},note ${base64(Buffer.from(hex, 'hex'))}`
      const headers = authorized({ 'tus-resumable': '1.0.0' })
      const created = await send(victim.url, {
        method: 'POST',
        path: '/bytes/uploads',
        headers: { ...headers, 'upload-length': '1', 'upload-metadata': metadata },
      })
      expect(created.status).toBe(201)
      const path = String(created.headers.location)
      const found = await send(victim.url, { method: 'HEAD', path, headers })
      if (found.headers['upload-metadata'] !== metadata) tally.violations.push(hex)
    }
    expect(tally.violations).toEqual([])
  })

  it('find nothing', async () => {
    const tally = tallyOf('abuse', 'bytes that are no UTF-8, in queries and paths')
    for (const text of ['/', '\0', '.', '\ufffd']) {
      // What could be found by them, if it can be at all.
      const job = exampleJob({ input_ooi: text, boefje: { id: text, version: null } })
      await victim.client.postJson('/bytes/boefje_meta', job)
    }
    for (const hex of NO_UTF8) {
      const part = percent(hex)
      for (const path of [
        `/bytes/boefje_meta?organization=org&boefje_id=${part}&input_ooi=*&limit=9`,
        `/bytes/boefje_meta?organization=org&input_ooi=${part}&limit=9`,
        `/bytes/boefje_meta?organization=${part}&input_ooi=*&limit=9`,
        `/bytes/raw?organization=${part}&limit=9`,
        `/bytes/raw?mime_types=${part}&limit=9`,
        `/bytes/raw/${part}`,
        `/bytes/raw/${part}${part}meta`,
        `/bytes/boefje_meta/${part}`,
        `/bytes/blobs/${part}?organization=org`,
        `/bytes/uploads/${part}`,
        `/docs/${part}`,
        `/${part}`,
        `/bytes${part}raw`,
      ]) {
        tally.tried++
        const { status, text } = await send(victim.url, { path, headers: authorized() })
        const told: unknown = JSON.parse(text)
        const found = Array.isArray(told) ? told : []
        // In a query they are U+FFFD, as the URL Standard and the recorded protocol have it.
        const right = found.every((each) => JSON.stringify(each).includes('\ufffd'))
        if (status === 200 ? Array.isArray(told) && right : status >= 400 && status < 500) continue
        tally.violations.push(`${path}: ${status} ${text}`)
      }
    }
    expect(tally.violations).toEqual([])
  })

  it('log nobody in', async () => {
    const tally = tallyOf('abuse', 'bytes that are no UTF-8, in log-ins')
    const forms = (hex: string): Sent[] => {
      const plain = { 'content-type': 'application/x-www-form-urlencoded' }
      const parts = (name: string, word: string): Buffer =>
        filled(
          `--x\r\nContent-Disposition: form-data; name="username"\r\n\r\n${name}\r\n--x\r\nContent-Disposition: form-data; name="password"\r\n\r\n${word}\r\n--x--\r\n`,
          hex,
        )
      const form = (text: string, headers = plain): Sent => ({
        method: 'POST',
        path: '/token',
        headers,
        body: filled(text, hex),
      })
      const multipart = { 'content-type': 'multipart/form-data; boundary=x' }
      const basic = base64(filled(`${USERNAME}${HOLE}:${PASSWORD}`, hex))
      const word = encodeURIComponent(PASSWORD)
      return [
        form(`username=${USERNAME}${percent(hex)}&password=${word}`),
        form(`username=${USERNAME}&password=${word}${percent(hex)}`),
        form(`username=${USERNAME}${HOLE}&password=${word}`),
        form(`username=${USERNAME}&password=${word}${HOLE}`),
        { ...form('', multipart), body: parts(`${USERNAME}${HOLE}`, PASSWORD) },
        { ...form('', multipart), body: parts(USERNAME, `${PASSWORD}${HOLE}`) },
        { path: '/metrics', headers: { authorization: `Basic ${basic}` } },
      ]
    }
    const statuses = async (hex: string): Promise<number[]> =>
      Promise.all(forms(hex).map(async (sent) => (await send(victim.url, sent)).status))
    // Without them each of the forms is right.
    expect(await statuses('')).toEqual(Array(7).fill(200))
    for (const hex of NO_UTF8) {
      for (const status of await statuses(hex)) {
        tally.tried++
        if (status !== 401 && status !== 422) tally.violations.push(`${hex}: ${status}`)
      }
    }
    expect(tally.violations).toEqual([])
  })

  it('are no URL when they are not encoded', async () => {
    const tally = tallyOf('abuse', 'bytes that are no UTF-8, raw in URLs')
    const job = await victim.client.job()
    const before = await stateOf(victim.store, victim.client)
    for (const hex of [UTF8, ...NO_UTF8]) {
      tally.tried++
      const wire = await openWire(victim.url)
      wire.socket.write(
        filled(
          `POST ${pathOf(job, `&tag=a&name=${HOLE}`)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${victim.client.token}\r\nContent-Type: application/octet-stream\r\nContent-Length: 1\r\nConnection: close\r\n\r\nc`,
          hex,
        ),
      )
      const answer = await wire.ended
      if (!/^HTTP\/1\.1 4\d\d .*\{"(detail|value)":/s.test(answer)) {
        tally.violations.push(`${hex}: ${answer}`)
      }
    }
    expect(tally.violations).toEqual([])
    expect(await stateOf(victim.store, victim.client)).toEqual(before)
  })
})

it('a mark of the byte order is a part of the tag that begins with it', async () => {
  const tagged = Object.entries(files).filter(([name]) => name.includes('tag'))
  tallyOf('abuse', 'marks of the byte order').tried = tagged.length
  for (const [name, { sent, shown }] of tagged) {
    const job = await victim.client.job()
    const answer = await send(victim.url, sent(`efbbbf${UTF8}`, job))
    const found = await shown(answer, job)
    expect([name, found]).toEqual([name, expect.stringContaining(`\ufeff${SHOWN}`)])
  }
})
