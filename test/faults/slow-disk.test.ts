/** A disk that takes long for each call, or stalls for a while: answers are slow or 503, and nothing is lost. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { errorsLogged, eventually, query } from '../acceptance/helpers.js'
import { auditFindings } from '../support/audit.js'
import { login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { ANSWER_LIMIT_MS, type Load, type SentUpload, startLoad } from '../support/load.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'
import { attach, fileThreads, skipsFor, straceProblem, type TracedCall } from '../support/strace.js'
import { tallyOf } from '../support/tally.js'
import { checkUploads } from '../support/uploads-check.js'

/**
 * Calls on files. A `write` is not among them: the threads that work on files wake the main one by
 * it, which would be held up as well. What is written is held up by the call after it.
 */
const CALLS = [
  ...['openat', 'read', 'pread64', 'writev', 'pwrite64', 'pwritev', 'fsync', 'fdatasync', 'close'],
  ...['rename', 'mkdir', 'unlink', 'statx', 'statfs', 'utimensat', 'getdents64', 'ftruncate'],
]
const SLOW_MS = isFull ? [20, 100, 300] : [100]
/** Far more than `/health` waits for the disk. */
const STALL_MS = isFull ? 10_000 : 3_000
const STALLS = isFull ? 10 : 1
const KILLS = isFull ? 20 : 2
/** Files of an upload that has many: each takes a dozen calls, which wait for one another. */
const MANY = 4

const problem = await straceProblem()
if (problem !== undefined) console.warn(`no disk was made slow: ${problem}`)

let store: TestStore
/** One process for all, until it is killed. */
let service: TestService

beforeAll(async () => {
  store = await testStore()
  service = await store.start()
})

afterAll(() => store?.remove())

/** Holds up each call on files by so many milliseconds. @returns the calls that were held up */
async function whileSlow(delayMs: number, action: () => Promise<void>): Promise<TracedCall[]> {
  // A new process has not worked on files with all of its threads yet.
  const threads = await eventually(
    () => fileThreads(service.process.pid ?? 0).catch(() => undefined),
    'all threads have worked on files',
  )
  const trace = await attach(threads, { calls: CALLS, delayMs })
  try {
    await action()
  } catch (error) {
    await trace.end()
    throw error
  }
  return trace.end()
}

async function load(): Promise<Load> {
  const started = await startLoad(service.url, { mayRefuse: true, many: MANY })
  onTestFinished(() => started.stop())
  return started
}

interface Health {
  readonly results: { service: string; additional: unknown }[]
}

async function healthTold(): Promise<Health & { status: number }> {
  const signal = AbortSignal.timeout(ANSWER_LIMIT_MS)
  const answer = await fetch(`${service.url}/health`, { signal })
  return { status: answer.status, ...((await answer.json()) as Health) }
}

/** @returns its status, and what it says of the disk */
async function health(): Promise<[status: number, disk: unknown]> {
  const { status, results } = await healthTold()
  return [status, results.find((part) => part.service === 'data_directory')?.additional]
}

/** @returns what is wrong with the store when nothing is slow any more */
async function violationsOf(uploads: readonly SentUpload[]): Promise<string[]> {
  const run = (text: string) => query(store.databaseUri, text)
  const found = await checkUploads(service.url, run, uploads)
  return [...found, ...(await auditFindings(store))]
}

it.skipIf(skipsFor(problem))(
  'a disk that is slow makes requests slow, and loses nothing',
  async () => {
    expect(problem).toBeUndefined()
    const tally = tallyOf('disk', 'requests to a slow disk')
    const requests = await load()
    await requests.until(200, 5)
    for (const delay of SLOW_MS) {
      const calls = await whileSlow(delay, async () => {
        await requests.until(200, 5)
        const { status, ...told } = await healthTold()
        // The log-in to the database needs the same threads.
        if (status === 200 || JSON.stringify(told).includes('no answer within 2 s')) return
        tally.violations.push(`it says ${JSON.stringify(told)}`)
      })
      expect(calls.length).toBeGreaterThan(20)
    }
    await requests.until(200, 5)
    await requests.stop()
    tally.tried = requests.uploads.length
    tally.violations.push(...requests.violations, ...(await violationsOf(requests.uploads)))
    expect(tally.violations).toEqual([])
    expect(errorsLogged(service.log())).toEqual([])
  },
  isFull ? 1_800_000 : 300_000,
)

it.skipIf(skipsFor(problem))(
  'a disk that stalls is told by /health in time, and used again when it answers',
  async () => {
    expect(problem).toBeUndefined()
    const tally = tallyOf('disk', 'stalls of the disk')
    const requests = await load()
    for (; tally.tried < STALLS; tally.tried++) {
      await requests.until(200, 5)
      await whileSlow(STALL_MS, async () => {
        expect(await health()).toEqual([503, 'no answer within 2 s'])
        expect((await fetch(`${service.url}/health/live`)).status).toBe(200)
        await sleep(STALL_MS)
      })
      await requests.until(200, 10)
      await eventually(async () => (await health())[0] === 200, 'it is healthy again')
    }
    await requests.stop()
    tally.violations.push(...requests.violations, ...(await violationsOf(requests.uploads)))
    expect(tally.violations).toEqual([])
    expect(errorsLogged(service.log())).toEqual([])
  },
  isFull ? 1_800_000 : 300_000,
)

it.skipIf(skipsFor(problem))(
  'a disk that stalls is looked at by one call of /health',
  async () => {
    expect(problem).toBeUndefined()
    const tally = tallyOf('disk', 'looks at a disk that stalls')
    const client = await login(service.url)
    const job = await client.job()
    // Longer than one wait of `/health`, and shorter than two.
    const calls = await whileSlow(3_000, async () => {
      for (let round = 0; round < 2; round++) {
        const answers = await Promise.all(Array.from({ length: 20 }, health))
        tally.tried += answers.length
        expect(new Set(answers.map(String))).toEqual(new Set(['503,no answer within 2 s']))
      }
    })
    const folder = join(store.dataDir, 'tmp/')
    const opened = calls.filter(({ call, text }) => call === 'openat' && text.includes(folder))
    expect(opened.map(({ text }) => text)).toHaveLength(1)
    // Nothing is left that an upload would have to wait for.
    await client.upload(job, [{ name: 'x', content: 'x' }])
    await eventually(async () => (await health())[0] === 200, 'it is healthy again')
  },
  300_000,
)

it.skipIf(skipsFor(problem))(
  'kill -9 in the middle of a stall loses nothing that was acknowledged',
  async () => {
    expect(problem).toBeUndefined()
    const tally = tallyOf('disk', 'kills in the middle of a stall')
    const uploads: SentUpload[] = []
    for (; tally.tried < KILLS; tally.tried++) {
      const requests = await load()
      await requests.until(200, 5)
      await whileSlow(STALL_MS, async () => {
        await sleep((tally.tried * 397) % STALL_MS)
        await service.kill()
      })
      await requests.stop()
      uploads.push(...requests.uploads)
      // Only a process that was killed owes no answer.
      const wrong = requests.violations.filter((line) => !line.includes('was not answered'))
      tally.violations.push(...wrong)
      service = await store.start()
    }
    tally.violations.push(...(await violationsOf(uploads)))
    expect(tally.violations).toEqual([])
    expect(uploads.some(({ ids }) => ids === undefined)).toBe(true)
    expect(await service.stop()).toBe(0)
  },
  isFull ? 1_800_000 : 300_000,
)
