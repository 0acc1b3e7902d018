/** What is seen from outside of files that wait for a timestamp. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Client, login } from '../support/client.js'
import { type FakePastebin, startFakePastebin } from '../support/fake-pastebin.js'
import { freePort } from '../support/ports.js'
import { runProcess, type TestService, type TestStore, testStore } from '../support/service.js'
import { startTestAuthority } from '../support/tsa.js'
import { errorsLogged, eventually, promtool, query, sample, untilHealthyAt } from './helpers.js'

let store: TestStore
/** An authority that does not answer. */
let nobody: Record<string, string>
let host: string

beforeEach(async () => {
  store = await testStore()
  host = `127.0.0.1:${await freePort()}`
  nobody = {
    BYTES_EXT_HASH_REPOSITORY: 'RFC3161',
    BYTES_RFC3161_PROVIDER: `http://${host}/tsr?key=hidden`,
  }
})

afterEach(async () => {
  await store?.remove()
})

const upload = async (client: Client, ...names: string[]): Promise<string[]> => {
  const files = names.map((name) => ({ name, content: name, tags: [name] }))
  return Object.values(await client.upload(await client.job(), files))
}
const healthOf = async ({ url }: TestService) => {
  await untilHealthyAt(url)
  const answer = await fetch(`${url}/health`)
  const body = (await answer.json()) as { healthy: boolean; results: { service: string }[] }
  const timestamper = body.results.find(({ service }) => service === 'timestamper')
  return { status: answer.status, healthy: body.healthy, timestamper }
}
const grow = (seconds: number): Promise<unknown> =>
  query(
    store.databaseUri,
    `UPDATE pending_hash SET created_at = created_at - $1 * interval '1 s'`,
    [seconds],
  )
const metricsOf = async (client: Client): Promise<string> =>
  (await client.request('/metrics')).text()

const verdictOf = async (client: Client, id: string): Promise<unknown> =>
  ((await client.getJson(`/bytes/raw/${id}/verify`)) as Record<string, unknown>).verdict

describe('while the authority is away', () => {
  it('uploads are stored without a link', async () => {
    const service = await store.start(nobody)
    const client = await login(service.url)
    const ids = await upload(client, 'a', 'b')
    for (const id of ids) {
      expect(await client.getJson(`/bytes/raw/${id}/meta`)).toMatchObject({
        secure_hash: expect.stringMatching(/^sha512:[0-9a-f]{128}$/),
        hash_retrieval_link: null,
        signing_provider_url: null,
      })
    }
    expect(await service.stop()).toBe(0)
    expect(errorsLogged(service.log())).toEqual([])
  })

  it('/health tells of those that have waited for too long, and stays healthy', async () => {
    const service = await store.start({ ...nobody, BYTES_TIMESTAMP_MAX_AGE_SECONDS: '60' })
    const timestamper = { service: 'timestamper', version: null, results: [] }
    const fine = { ...timestamper, healthy: true, additional: null }
    expect(await healthOf(service)).toEqual({ status: 200, healthy: true, timestamper: fine })

    const client = await login(service.url)
    await upload(client, 'a')
    expect((await healthOf(service)).timestamper).toEqual(fine)
    await grow(7200)
    expect(await healthOf(service)).toEqual({
      status: 200,
      healthy: true,
      timestamper: {
        ...timestamper,
        healthy: false,
        additional: expect.stringMatching(
          /^degraded: 1 file waits for a timestamp, the oldest for 72\d\d s$/,
        ),
      },
    })
    await upload(client, 'b', 'c')
    const { timestamper: later } = await healthOf(service)
    expect(later).toMatchObject({ additional: expect.stringContaining('3 files wait for') })
    await query(store.databaseUri, 'DELETE FROM raw_file')
    expect((await healthOf(service)).timestamper).toEqual(fine)
  })

  it('metrics count what waits and why', async () => {
    const service = await store.start(nobody)
    const client = await login(service.url)
    const before = await metricsOf(client)
    const stamped = `bytes_hashes_stamped_total{provider="${host}"}`
    expect(sample(before, 'bytes_pending_hashes')).toBe(0)
    expect(sample(before, 'bytes_pending_hash_oldest_age_seconds')).toBe(0)
    expect(sample(before, stamped)).toBe(0)

    await upload(client, 'a', 'b', 'c')
    await grow(1000)
    const failures = `bytes_timestamp_failures_total{provider="${host}",reason="unreachable"}`
    const page = await eventually(async () => {
      const text = await metricsOf(client)
      return (sample(text, failures) ?? 0) > 0 && text
    }, 'a failure was counted')
    expect(sample(page, 'bytes_pending_hashes')).toBe(3)
    expect(sample(page, 'bytes_pending_hash_oldest_age_seconds')).toBeGreaterThanOrEqual(1000)
    expect(sample(page, stamped)).toBe(0)
    const durations = `bytes_timestamp_duration_seconds_count{provider="${host}",outcome="failed"}`
    expect(sample(page, durations)).toBe(sample(page, failures))
    expect(page).not.toContain('hidden')
    const complaints = (await promtool(page)) ?? []
    expect(complaints.filter((line) => /pending|timestamp|stamped/.test(line))).toEqual([])

    await eventually(() => service.log().includes('the hash repository fails'), 'it was logged')
    expect(service.log()).not.toContain('hidden')
    expect(await service.stop()).toBe(0)
  })
})

describe('without a third party', () => {
  it('files get a link at once', async () => {
    const service = await store.start({})
    const client = await login(service.url)
    const [id] = await upload(client, 'a')
    expect(await client.getJson(`/bytes/raw/${id}/meta`)).toMatchObject({
      hash_retrieval_link: expect.stringMatching(/^[0-9a-f-]{36}$/),
      signing_provider_url: null,
    })
    expect((await healthOf(service)).timestamper).toBeUndefined()
    expect(sample(await metricsOf(client), 'bytes_pending_hashes')).toBe(0)
  })

  it('those that wait from before are told of at the start', async () => {
    const first = await store.start(nobody)
    await upload(await login(first.url), 'a', 'b')
    expect(await first.stop()).toBe(0)
    const service = await store.start({})
    const told = service
      .log()
      .split('\n')
      .find((line) => line.includes('files wait for a timestamp'))
    expect(JSON.parse(told ?? '{}')).toMatchObject({ level: 'warn', pending: 2 })
    expect(sample(await metricsOf(await login(service.url)), 'bytes_pending_hashes')).toBe(2)
  })
})

describe('Pastebin', () => {
  const KEY = 'a developer key'
  let pastebin: FakePastebin
  let settings: Record<string, string>

  beforeEach(async () => {
    pastebin = await startFakePastebin(KEY)
    settings = {
      BYTES_EXT_HASH_REPOSITORY: 'PASTEBIN',
      BYTES_PASTEBIN_URL: pastebin.url,
      BYTES_PASTEBIN_API_DEV_KEY: KEY,
    }
  })

  afterEach(async () => {
    await pastebin?.close()
  })

  it('gets each secure hash, and vouches for it', async () => {
    const service = await store.start(settings)
    const client = await login(service.url)
    const [id = ''] = await upload(client, 'a')
    const meta = await eventually(async () => {
      const found = (await client.getJson(`/bytes/raw/${id}/meta`)) as Record<string, string>
      return found.hash_retrieval_link !== null && found
    }, 'the paste was made')
    const { hash_retrieval_link: link, signing_provider_url: url } = meta
    expect(link?.startsWith(`${pastebin.url}/`)).toBe(true)
    expect(url).toBe(pastebin.url)
    expect([...pastebin.pastes.values()]).toEqual([meta.secure_hash])
    expect(await verdictOf(client, id)).toBe('verified')
    expect(await service.stop()).toBe(0)
  })

  it('that refuses is told of in its own words, without the key', async () => {
    const wrong = 'not the right key'
    const service = await store.start({ ...settings, BYTES_PASTEBIN_API_DEV_KEY: wrong })
    const client = await login(service.url)
    const [id = ''] = await upload(client, 'a')
    await eventually(() => service.log().includes('invalid api_dev_key'), 'it was logged')
    expect(service.log()).not.toContain(wrong)
    expect(await verdictOf(client, id)).toBe('pending')
    expect(await service.stop()).toBe(0)
  })
})

it('files keep their proof when the settings change', async () => {
  const authority = await startTestAuthority()
  try {
    const anchors = { BYTES_RFC3161_CERT_FILE: authority.rootFile }
    const stamping = await store.start({
      ...anchors,
      BYTES_EXT_HASH_REPOSITORY: 'RFC3161',
      BYTES_RFC3161_PROVIDER: authority.url,
    })
    const [stamped = ''] = await upload(await login(stamping.url), 'a')
    await eventually(async () => {
      const rows = await query(store.databaseUri, 'SELECT 1 FROM pending_hash')
      return rows.length === 0
    }, 'it had its timestamp')
    expect(await stamping.stop()).toBe(0)

    const service = await store.start(anchors)
    const client = await login(service.url)
    const [plain = ''] = await upload(client, 'b')
    expect(await verdictOf(client, stamped)).toBe('verified')
    expect(await verdictOf(client, plain)).toBe('unverifiable')
    expect(await service.stop()).toBe(0)
  } finally {
    await authority.stop()
  }
})

describe('a file of trust anchors that cannot be used', () => {
  let directory: string

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bytes-test-anchors-'))
  })

  afterAll(async () => {
    await rm(directory, { recursive: true, force: true })
  })

  const KEY = 'MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v1fGMGuyGwYFW31aA'

  it.each([
    ['that is not there', undefined, /cannot be read \(ENOENT\)/],
    ['without a certificate', 'no certificate here\n', /cannot be used: \S/],
    [
      'with a private key',
      `-----BEGIN PRIVATE KEY-----\n${KEY}\n-----END PRIVATE KEY-----\n`,
      /cannot be used: \S/,
    ],
  ])('%s ends the start', async (name, content, expected) => {
    const path = join(directory, name.replaceAll(' ', '-'))
    if (content !== undefined) await writeFile(path, content)
    const { code, stdout, stderr } = await runProcess([], {
      BYTES_USERNAME: 'tester',
      BYTES_PASSWORD: 'a test password',
      BYTES_SECRET: 'a secret that only tests know, 32 bytes',
      BYTES_DB_URI: store.databaseUri,
      BYTES_DATA_DIR: store.dataDir,
      BYTES_PORT: '0',
      ...nobody,
      BYTES_RFC3161_CERT_FILE: path,
    })
    expect(code).toBe(78)
    expect(stderr).toMatch(expected)
    expect(stderr).toContain(`BYTES_RFC3161_CERT_FILE: "${path}"`)
    expect(stdout + stderr).not.toContain(KEY)
  })
})
