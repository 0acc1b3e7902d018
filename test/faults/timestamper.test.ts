/** No upload waits for a timestamp authority, and no pending hash is lost, whatever the authority does. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { eventually } from '../acceptance/helpers.js'
import { login } from '../support/client.js'
import {
  metricOf,
  type StampedStore,
  stampedStore,
  uploadMany,
  uploadOne,
} from '../support/stamped-store.js'
import { tallyOf } from '../support/tally.js'
import { startTestAuthority, type TestAuthority } from '../support/tsa.js'
import { type Mode, startAuthorityProxy } from '../support/tsa-proxy.js'

let authority: TestAuthority
let store: StampedStore

beforeAll(async () => {
  authority = await startTestAuthority()
})

afterAll(async () => {
  await authority?.stop()
})

beforeEach(async () => {
  store = await stampedStore(authority)
})

afterEach(async () => {
  await store?.remove()
})

it('an authority may refuse, hang, answer garbage, for another imprint or repeat itself', async () => {
  const tally = tallyOf('timestamps', 'faults of an authority')
  const service = await store.start({ BYTES_RFC3161_TIMEOUT_SECONDS: '8' })
  const client = await login(service.url)
  const provider = new URL(store.proxy.url).host
  const ids = [await uploadOne(client)]
  await store.allStamped()
  const phases: [Mode, string][] = [
    ['refuses', 'unreachable'],
    ['hangs', 'timed_out'],
    ['garbage', 'malformed_response'],
    ['other imprint', 'wrong_imprint'],
    ['old answer', 'wrong_imprint'],
  ]
  for (const [mode, reason] of phases) {
    const name = `bytes_timestamp_failures_total{provider="${provider}",reason="${reason}"}`
    const before = await metricOf(client, name)
    await store.proxy.behave(mode)
    ids.push(await uploadOne(client), ...(await uploadMany(client, 3)))
    const waiting = await store.filesOf(ids)
    expect(waiting.filter(({ link }) => link !== null)).toHaveLength(1)
    await eventually(async () => (await metricOf(client, name)) > before, `${mode}: ${reason}`)
    tally.tried++
  }
  expect(await metricOf(client, 'bytes_pending_hashes')).toBe(ids.length - 1)
  expect(await store.pendingCount()).toBe(ids.length - 1)

  await store.proxy.behave('works')
  ids.push(await uploadOne(client))
  await store.allStamped()
  const files = await store.expectVerified(ids)
  expect(new Set(files.map((file) => file.provider))).toEqual(new Set([store.proxy.url]))
  expect(await metricOf(client, `bytes_hashes_stamped_total{provider="${provider}"}`)).toBe(
    ids.length,
  )
  // One timestamp for each file: what failed was not counted as given.
  expect(store.proxy.stamped).toHaveLength(ids.length)
  expect(service.log().match(/the hash repository fails/g)).toHaveLength(1)
  expect(service.log().match(/the hash repository works again/g)).toHaveLength(1)
  expect(service.log()).not.toMatch(/"level":"error"/)
  expect(await service.stop()).toBe(0)
})

it('the second authority is asked while the first is down, and is the one that is recorded', async () => {
  tallyOf('timestamps', 'a second authority').tried = 1
  const second = await startAuthorityProxy(authority.url)
  try {
    await store.proxy.behave('refuses')
    const service = await store.start({
      BYTES_RFC3161_PROVIDER: `${store.proxy.url},${second.url}`,
    })
    const client = await login(service.url)
    const ids = await uploadMany(client, 5)
    await store.allStamped()
    const files = await store.expectVerified(ids)
    expect(new Set(files.map((file) => file.provider))).toEqual(new Set([second.url]))
    const meta = await client.getJson(`/bytes/raw/${ids[0]}/meta`)
    expect(meta).toMatchObject({ signing_provider_url: second.url })

    await store.proxy.behave('works')
    // The first is tried again in its time.
    await eventually(async () => {
      const [file] = await store.filesOf([await uploadOne(client)])
      await store.allStamped()
      return (await store.filesOf([file?.id ?? '']))[0]?.provider === store.proxy.url
    }, 'the first authority was asked again')
    expect(await service.stop()).toBe(0)
  } finally {
    await second.stop()
  }
})

it('files share timestamps in batches', async () => {
  const tally = tallyOf('timestamps', 'files in batches')
  const service = await store.start({
    BYTES_TIMESTAMP_BATCH_SIZE: '10',
    BYTES_TIMESTAMP_BATCH_SECONDS: '2',
  })
  const client = await login(service.url)
  const ids = await uploadMany(client, 25)
  tally.tried = ids.length
  await store.allStamped()
  const files = await store.expectVerified(ids)
  expect(store.proxy.stamped).toHaveLength(3)
  expect(new Set(files.map(({ link }) => link))).toHaveProperty('size', 25)
  for (const { link } of files) expect(link).toMatch(/^\/bytes\/evidence_records\//)

  // Alone it needs no tree; a file with an equal hash needs no timestamp of its own.
  const job = await client.job()
  const twins = ['a', 'b'].map((name) => ({ name, content: 'the same', tags: [name] }))
  const equal = Object.values(await client.upload(job, twins))
  await store.allStamped()
  const links = (await store.expectVerified(equal)).map(({ link }) => link)
  expect(new Set(links)).toHaveProperty('size', 1)
  expect(links[0]).toMatch(/^MI/)
  expect(store.proxy.stamped).toHaveLength(4)
  expect(await service.stop()).toBe(0)
})

it('requests to an authority keep their distance', async () => {
  const tally = tallyOf('timestamps', 'requests at a distance')
  const service = await store.start({ BYTES_RFC3161_MIN_INTERVAL_MS: '300' })
  const began = performance.now()
  const ids = await uploadMany(await login(service.url), 4)
  tally.tried = ids.length
  await store.allStamped()
  await store.expectVerified(ids)
  expect(performance.now() - began).toBeGreaterThan(850)
  expect(await service.stop()).toBe(0)
})
