/** Blobs that are not where they were: a volume that is not mounted, or the wrong directory. */
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { login } from '../support/client.js'
import { type TestStore, testStore } from '../support/service.js'
import { eventually, untilHealthy } from './helpers.js'

let store: TestStore

beforeAll(async () => {
  store = await testStore()
})

afterAll(() => store?.remove())

const KNOWN = 'the database knows blobs'

it('make the service unhealthy while they are gone, and are told of at the start', async () => {
  const blobs = join(store.dataDir, 'blobs')
  const away = join(store.dataDir, 'away')
  const first = await store.start()
  const client = await login(first.url)
  const ids = await client.upload(await client.job('org'), [{ name: 'a', content: 'a' }])
  expect(Object.keys(ids)).toEqual(['a'])
  await rename(blobs, away)
  await eventually(async () => {
    const unhealthy = await client.request('/health')
    expect(unhealthy.status).toBe(503)
    // A disk that is late may be told first.
    return (await unhealthy.text()).includes('the folder of the blobs is gone')
  }, 'health tells of the folder')
  await rename(away, blobs)
  await untilHealthy(client)
  await first.stop()
  expect(first.log()).not.toContain(KNOWN)

  await rename(blobs, away)
  const empty = await store.start()
  expect(empty.log()).toContain(KNOWN)
  await empty.stop()
})

it('that are there are not told of', async () => {
  const own = await testStore()
  try {
    for (const files of [0, 1]) {
      const service = await own.start()
      const client = await login(service.url)
      if (files === 0) {
        await client.upload(await client.job('org'), [{ name: 'a', content: 'a' }])
      }
      await service.stop()
      expect(service.log()).not.toContain(KNOWN)
    }
  } finally {
    await own.remove()
  }
})
