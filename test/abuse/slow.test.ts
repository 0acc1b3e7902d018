/** Clients that are slow on purpose, many at once: others go on, and the slow ones are let go. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { errorsLogged, eventually, openWire, type Wire } from '../acceptance/helpers.js'
import { type Client, login } from '../support/client.js'
import { isFull, reportTried } from '../support/fault-report.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'

const SLOW = 150
/** Time between two bytes of a slow client, in milliseconds. */
const DRIP_MS = 300

let store: TestStore
let service: TestService
let client: Client
let job: string

beforeAll(async () => {
  store = await testStore()
  service = await store.start({
    BYTES_HEADERS_TIMEOUT_SECONDS: '3',
    BYTES_IDLE_TIMEOUT_SECONDS: '3',
  })
  client = await login(service.url)
  job = await client.job()
})

afterAll(async () => {
  expect(errorsLogged(service.log())).toEqual([])
  await store?.remove()
})

const sockets = async (): Promise<number> =>
  process.platform === 'linux' ? (await readdir(`/proc/${service.process.pid}/fd`)).length : 0

/** Opens slow clients, and meanwhile uses the service as others do. */
async function beset(begin: string, drip: string): Promise<readonly string[]> {
  const before = await sockets()
  const wires: Wire[] = await Promise.all(Array.from({ length: SLOW }, () => openWire(service.url)))
  for (const wire of wires) wire.write(begin)
  const timer = setInterval(() => {
    for (const { socket } of wires) if (socket.writable && drip !== '') socket.write(drip)
  }, DRIP_MS)
  try {
    const tag = `t${Math.random()}`
    await client.upload(job, [{ name: 'a', content: 'of another', tags: [tag] }])
    expect((await client.request('/health')).status).toBe(200)
    const answers = await Promise.all(wires.map(({ ended }) => ended))
    // All of them are given up, and nothing is kept of them.
    await eventually(async () => (await sockets()) <= before + 2, 'the connections are closed')
    return answers
  } finally {
    clearInterval(timer)
    for (const { socket } of wires) socket.destroy()
  }
}

const head = (method: string, path: string, lines = ''): string =>
  `${method} ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${client.token}\r\n${lines}`

describe('many slow clients', () => {
  const cases: readonly (readonly [string, () => string, string, RegExp])[] = [
    ['send nothing', () => '', '', /^$|^HTTP\/1\.1 408 /],
    ['never end a head', () => head('GET', '/health'), 'X-A: b\r\n', /^HTTP\/1\.1 408 /],
    [
      'never begin a body',
      () => head('POST', `/bytes/raw?boefje_meta_id=${job}&tag=a`, 'Content-Length: 9\r\n\r\n'),
      '',
      /^HTTP\/1\.1 408 /,
    ],
    [
      'never begin a log-in',
      () => 'POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n',
      '',
      /^HTTP\/1\.1 408 /,
    ],
  ]
  let violations = 0
  afterAll(() => reportTried('abuse', 'slow clients', { tried: SLOW * cases.length, violations }))

  it.each(cases)('%s', async (_, begin, drip, told) => {
    const answers = await beset(begin(), drip)
    const wrong = answers.filter((answer) => !told.test(answer))
    violations += wrong.length
    expect(wrong).toEqual([])
  })
})

function hasSlowHttpTest(): boolean {
  try {
    execFileSync('slowhttptest', ['-h'], { stdio: 'ignore' })
    return true
  } catch (error) {
    return !(error instanceof Error && 'code' in error && error.code === 'ENOENT')
  }
}

describe.runIf(isFull)('slowhttptest', () => {
  const CONNECTIONS = 800
  const SECONDS = 25
  const upload = (): string => `${service.url}/bytes/raw?boefje_meta_id=${job}&tag=slow`

  it.each<[string, () => string[]]>([
    ['slow heads', () => ['-H', '-u', `${service.url}/health`]],
    ['slow bodies', () => ['-B', '-s', '8192', '-u', upload()]],
    ['overlapping ranges', () => ['-R', '-u', `${service.url}/docs/swagger-ui-bundle.js`]],
    [
      'slow readers',
      () => [
        '-X',
        '-w',
        '1',
        '-y',
        '5',
        '-z',
        '32',
        '-k',
        '3',
        '-u',
        `${service.url}/docs/swagger-ui-bundle.js`,
      ],
    ],
  ])(
    'of %s leaves the service as it was',
    async (_, args) => {
      if (!hasSlowHttpTest()) {
        if (process.env.CI) throw new Error('slowhttptest is missing')
        console.warn('slowhttptest is not installed: its attacks were not tried')
        return
      }
      const before = await sockets()
      const common = [
        '-c',
        `${CONNECTIONS}`,
        '-r',
        '200',
        '-i',
        '2',
        '-l',
        `${SECONDS}`,
        '-p',
        '10',
      ]
      const child = spawn('slowhttptest', [...common, '-n', '2', ...args()], { stdio: 'ignore' })
      const closed = once(child, 'close')
      let answers = 0
      let violations = 0
      while (child.exitCode === null) {
        const answer = await client.request('/health').catch(() => undefined)
        answers++
        if (answer?.status !== 200) violations++
        await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 250))])
      }
      reportTried('abuse', `answers under ${args()[0]} of slowhttptest`, {
        tried: answers,
        violations,
      })
      expect(violations).toBe(0)
      expect(answers).toBeGreaterThan(5)
      await eventually(async () => (await sockets()) <= before + 5, 'the connections are closed')
    },
    120_000,
  )
})
