/** A data directory that the service may no longer use, or that is another one all of a sudden. */
import { randomBytes } from 'node:crypto'
import { chmod, chown, mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { eventually, filesBelow, rowCounts } from '../acceptance/helpers.js'
import { auditFindings } from '../support/audit.js'
import { type Client, login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { failureOf, mountMemory, skipFor, unmount } from '../support/fault-tools.js'
import { type Account, type TestService, type TestStore, testStore } from '../support/service.js'
import { stateOfStore } from '../support/store-check.js'
import { type Tally, tallyOf } from '../support/tally.js'
import { uploadBy, WAYS } from '../support/ways.js'

const SIZES = isFull ? [1, 5000, 70_000, 280_000, 1_048_576] : [1, 300_000]
const ROUNDS = isFull ? 20 : 1
/** `nobody` on Debian; any other than root would do. */
const NOBODY: Account = { uid: 65534, gid: 65534 }

let store: TestStore
let service: TestService
let client: Client
const acknowledged = new Map<string, Buffer>()

beforeEach(async () => {
  acknowledged.clear()
  store = await testStore()
})

afterEach(() => store?.remove())

async function start(account?: Account): Promise<void> {
  service = await store.start({ BYTES_DISK_RESERVE_BYTES: '0' }, { account })
  client = await login(service.url)
}

/**
 * Every upload must be taken, or refused with 503 and a Retry-After.
 * @param tally counts the uploads; what is wrong with them is returned
 */
async function tryAll(organization: string, mustFail: boolean, tally?: Tally): Promise<string[]> {
  const wrong: string[] = []
  for (const way of WAYS) {
    for (const size of SIZES) {
      const content = randomBytes(size)
      const job = await client.job(organization)
      const outcome = await uploadBy(way, service, client, job, content)
      if (tally) tally.tried++
      if (outcome.id !== undefined) acknowledged.set(outcome.id, content)
      const refused = outcome.status === 503 && outcome.retryAfter !== undefined
      if (mustFail ? refused : outcome.id !== undefined) continue
      wrong.push(`${way} of ${size} bytes to ${organization}: ${outcome.status} ${outcome.text}`)
    }
  }
  return wrong
}

const health = async (): Promise<number> => (await client.request('/health')).status

/** Everything that was acknowledged is there, without a restart, and more can be stored. */
async function expectRecovered(): Promise<void> {
  await eventually(async () => (await health()) === 200, 'it is healthy')
  expect(await tryAll('afterwards', false)).toEqual([])
  for (const [id, content] of acknowledged) {
    const answer = await client.request(`/bytes/raw/${id}`)
    expect([id, answer.status]).toEqual([id, 200])
    expect(content.equals(Buffer.from(await answer.arrayBuffer()))).toBe(true)
  }
  const { raw_file: rows } = await rowCounts(store.databaseUri)
  expect(rows).toBe(acknowledged.size)
  expect(await stateOfStore(store)).toMatchObject({ damaged: [], temporary: [] })
  expect(await auditFindings(store)).toEqual([])
}

it('permissions that are taken away refuse uploads, and reads of what is out of reach', async ({
  skip,
}) => {
  const isRoot = process.getuid?.() === 0
  if (isRoot) {
    await chown(store.dataDir, NOBODY.uid, NOBODY.gid)
    const args = ['--reuid', String(NOBODY.uid), '--clear-groups', process.execPath, '--version']
    if (failureOf('setpriv', args)) skipFor(skip, 'no other user may run Node here')
  }
  const tally = tallyOf('disk', 'requests without permissions')
  await start(isRoot ? NOBODY : undefined)
  expect(await tryAll('org', false)).toEqual([])
  const [known = ''] = acknowledged.keys()
  const wrong = tally.violations
  const folders = ['.', 'tmp', 'blobs', 'blobs/v1', 'blobs/v1/org', 'uploads']
  const modes = [0o000, 0o500]
  for (const folder of folders) {
    for (const mode of modes) {
      const path = join(store.dataDir, folder)
      await chmod(path, mode)
      const what = `${folder} of mode ${mode.toString(8)}`
      const outcomes = await tryAll('org', true, tally)
      for (const line of outcomes) {
        // Not every way uses every folder: what was taken is looked at in the end.
        if (!/: (200|201|204) /.test(line)) wrong.push(`${what}: ${line}`)
      }
      const answer = await client.request(`/bytes/raw/${known}`)
      tally.tried++
      const closed = mode === 0 && !['tmp', 'uploads'].includes(folder)
      if (answer.status !== (closed ? 503 : 200)) wrong.push(`${what}: read ${answer.status}`)
      if (!(await answer.text()).includes(known) && closed) wrong.push(`${what}: no id`)
      const healthy = await health()
      if (folder === 'tmp' && healthy !== 503) wrong.push(`${what}: /health ${healthy}`)
      await chmod(path, 0o750)
    }
  }
  expect(wrong).toEqual([])
  await expectRecovered()
}, 1_800_000)

it('a data directory that is replaced by an empty one takes no uploads, until it is back', async () => {
  const tally = tallyOf('disk', 'requests to a replaced directory')
  await start()
  const aside = await mkdtemp(join(tmpdir(), 'bytes-test-aside-'))
  const wrong = tally.violations
  try {
    expect(await tryAll('org', false)).toEqual([])
    const [known = ''] = acknowledged.keys()
    for (let round = 0; round < ROUNDS; round++) {
      await rename(store.dataDir, join(aside, 'data'))
      await mkdir(store.dataDir)
      wrong.push(...(await tryAll('org', true, tally)))
      wrong.push(...(await tryAll(`new-${round}`, true, tally)))
      const answer = await client.request(`/bytes/raw/${known}`)
      tally.tried++
      if (answer.status !== 500) wrong.push(`a read answered ${answer.status}`)
      if ((await health()) !== 503) wrong.push('it says that it is healthy')
      wrong.push(...(await filesBelow(store.dataDir)).map((path) => `${path} was made`))
      await rm(store.dataDir, { recursive: true })
      await rename(join(aside, 'data'), store.dataDir)
      await eventually(async () => (await health()) === 200, 'it is healthy again')
    }
    expect(wrong).toEqual([])
    await expectRecovered()
  } finally {
    await rm(aside, { recursive: true, force: true })
  }
}, 1_800_000)

it('a volume that is taken away and brought back loses nothing that was acknowledged', async ({
  skip,
}) => {
  const tally = tallyOf('disk', 'uploads without the volume')
  const volume = await mkdtemp(join(tmpdir(), 'bytes-test-volume-'))
  const bind = () => failureOf('mount', ['--bind', volume, store.dataDir])
  const wrong = tally.violations
  try {
    if (bind() !== undefined) skipFor(skip, 'no directory may be mounted here')
    await start()
    expect(await tryAll('org', false)).toEqual([])
    for (let round = 0; round < ROUNDS; round++) {
      unmount(store.dataDir)
      // What is below the volume takes whatever is written to it, and is hidden afterwards.
      wrong.push(...(await tryAll('org', true, tally)))
      wrong.push(...(await tryAll(`new-${round}`, true, tally)))
      if ((await health()) !== 503) wrong.push('it says that it is healthy')
      expect(bind()).toBeUndefined()
      await eventually(async () => (await health()) === 200, 'it is healthy again')
    }
    expect(wrong).toEqual([])
    await expectRecovered()
  } finally {
    await service?.kill()
    unmount(store.dataDir)
    await rm(volume, { recursive: true, force: true })
  }
}, 1_800_000)

it('a volume that comes back as another device is used again', async ({ skip }) => {
  const tally = tallyOf('disk', 'volumes that came back')
  const copy = await mkdtemp(join(tmpdir(), 'bytes-test-copy-'))
  try {
    if (!mountMemory(store.dataDir, 'size=32m')) skipFor(skip, 'no file system may be mounted here')
    tally.tried = 1
    await start()
    expect(await tryAll('org', false)).toEqual([])
    expect(failureOf('cp', ['-a', `${store.dataDir}/.`, copy])).toBeUndefined()
    unmount(store.dataDir)
    expect(await health()).toBe(503)
    expect(mountMemory(store.dataDir, 'size=32m')).toBe(true)
    expect(failureOf('cp', ['-a', `${copy}/.`, store.dataDir])).toBeUndefined()
    await expectRecovered()
  } finally {
    await service?.kill()
    unmount(store.dataDir)
    await rm(copy, { recursive: true, force: true })
  }
})
