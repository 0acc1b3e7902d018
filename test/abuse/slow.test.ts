/** Clients that are slow on purpose, many at once: others go on, and the slow ones are let go. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { beforeAll, describe, expect, it } from 'vitest'
import { eventually, openWire, untilHealthy, type Wire } from '../acceptance/helpers.js'
import { isFull } from '../support/fault-report.js'
import { type Tally, tallyOf } from '../support/tally.js'
import { victimOf } from './victim.js'

/** Of each kind, all at once. */
const SLOW = isFull ? 200 : 60
/** Time between two bytes of a slow client, in milliseconds. */
const DRIP_MS = 300

const victim = victimOf({
  BYTES_HEADERS_TIMEOUT_SECONDS: '3',
  BYTES_IDLE_TIMEOUT_SECONDS: '3',
})
let job: string

beforeAll(async () => {
  job = await victim.client.job()
})

const sockets = async (): Promise<number> =>
  process.platform === 'linux'
    ? (await readdir(`/proc/${victim.service.process.pid}/fd`)).length
    : 0

const head = (method: string, path: string, lines = ''): string =>
  `${method} ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${victim.client.token}\r\n${lines}`

interface Kind {
  readonly name: string
  readonly begin: () => string
  /** Sent again and again; nothing when it is empty. */
  readonly drip: string
  readonly told: RegExp
}

const KINDS: readonly Kind[] = [
  { name: 'send nothing', begin: () => '', drip: '', told: /^$|^HTTP\/1\.1 408 / },
  {
    name: 'never end a head',
    begin: () => head('GET', '/health'),
    drip: 'X-A: b\r\n',
    told: /^HTTP\/1\.1 408 /,
  },
  {
    name: 'never begin a body',
    begin: () =>
      head('POST', `/bytes/raw?boefje_meta_id=${job}&tag=a`, 'Content-Length: 9\r\n\r\n'),
    drip: '',
    told: /^HTTP\/1\.1 408 /,
  },
  {
    name: 'never begin a log-in',
    begin: () => 'POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n',
    drip: '',
    told: /^HTTP\/1\.1 408 /,
  },
]

/** Slow clients of a kind; resolves when all of them have been let go. */
async function beset({ name, begin, drip, told }: Kind, tally: Tally): Promise<void> {
  const wires: Wire[] = await Promise.all(Array.from({ length: SLOW }, () => openWire(victim.url)))
  const text = begin()
  for (const wire of wires) wire.write(text)
  const timer = setInterval(() => {
    for (const { socket } of wires) if (socket.writable && drip !== '') socket.write(drip)
  }, DRIP_MS)
  try {
    for (const { ended } of wires) {
      const answer = await ended
      tally.tried++
      if (!told.test(answer)) tally.violations.push(`those who ${name} get ${answer}`)
    }
  } finally {
    clearInterval(timer)
    for (const { socket } of wires) socket.destroy()
  }
}

it('many slow clients of every kind are let go, and hold up nobody', async () => {
  const tally = tallyOf('abuse', 'slow clients')
  const before = await sockets()
  let served = 0
  let over = false
  const beside = async (): Promise<void> => {
    const tags = [`t${served++}`]
    const { a } = await victim.client.upload(job, [{ name: 'a', content: 'of another', tags }])
    expect(await (await victim.client.request(`/bytes/raw/${a}`)).text()).toBe('of another')
    await untilHealthy(victim.client)
  }
  const others = async (): Promise<void> => {
    do await beside()
    while (!over)
  }
  const slow = Promise.all(KINDS.map((kind) => beset(kind, tally))).finally(() => {
    over = true
  })
  await Promise.all([slow, others()])
  expect(served).toBeGreaterThan(3)
  // Nothing is kept of them.
  await eventually(async () => (await sockets()) <= before + 2, 'the connections are closed')
  expect(tally.violations).toEqual([])
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
  const upload = (): string => `${victim.url}/bytes/raw?boefje_meta_id=${job}&tag=slow`

  it.each<[string, () => string[]]>([
    ['slow heads', () => ['-H', '-u', `${victim.url}/health`]],
    ['slow bodies', () => ['-B', '-s', '8192', '-u', upload()]],
    ['overlapping ranges', () => ['-R', '-u', `${victim.url}/docs/swagger-ui-bundle.js`]],
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
        `${victim.url}/docs/swagger-ui-bundle.js`,
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
      const tally = tallyOf('abuse', `answers under ${args()[0]} of slowhttptest`)
      while (child.exitCode === null) {
        const answer = await victim.client.request('/health').catch(() => undefined)
        tally.tried++
        if (answer?.status !== 200) tally.violations.push(`/health gets ${answer?.status}`)
        await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 250))])
      }
      expect(tally.violations).toEqual([])
      expect(tally.tried).toBeGreaterThan(5)
      await eventually(async () => (await sockets()) <= before + 5, 'the connections are closed')
    },
    120_000,
  )
})
