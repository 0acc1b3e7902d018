/** Mixed traffic at the rate that the machine holds: no request fails, and nothing leaks. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { isFull, reportText } from '../support/fault-report.js'
import { type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'

const SOAK = fileURLToPath(new URL('../../bench/soak.mjs', import.meta.url))
const MINUTES = isFull ? Number(process.env.BYTES_SOAK_MINUTES ?? 30) : 0.2
/** MiB, after the first third of the time. */
const MAX_RISE = 96

interface SoakResult {
  readonly kinds: readonly { kind: string; requests: number }[]
  readonly failed: number
  readonly acknowledged: number
  readonly memory: { readonly samples: readonly unknown[]; readonly atEnd: number }
  readonly descriptors: { readonly before: number; readonly after: number }
  readonly violations: readonly string[]
}

let store: TestStore

beforeAll(async () => {
  store = await testStore()
})

afterAll(async () => {
  await store?.remove()
})

async function runSoak(): Promise<{ code: number | null; output: string; complaints: string }> {
  const child = spawn(
    process.execPath,
    [
      SOAK,
      '--json',
      ...['--minutes', String(MINUTES), '--max-rise', String(MAX_RISE)],
      ...['--database', store.databaseUri, '--queue', inject('brokerUris').soak],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let output = ''
  let complaints = ''
  child.stdout.on('data', (chunk) => {
    output += chunk
  })
  child.stderr.on('data', (chunk) => {
    complaints += chunk
  })
  const end = (): void => void child.kill('SIGTERM')
  process.once('exit', end)
  try {
    const [code] = await once(child, 'close')
    return { code, output, complaints }
  } finally {
    process.off('exit', end)
  }
}

it(
  `mixed traffic for ${MINUTES} minutes`,
  async () => {
    const tally = tallyOf('load', `requests of a soak of ${MINUTES} minutes`)
    const { code, output, complaints } = await runSoak()
    const line = output.split('\n').find((text) => text.startsWith('{'))
    if (line === undefined) throw new Error(`the soak ended with ${code}: ${output}${complaints}`)
    const result = JSON.parse(line) as SoakResult
    if (isFull) reportText(output.replace(`${line}\n`, ''))
    tally.tried = result.kinds.reduce((sum, kind) => sum + kind.requests, 0)
    tally.violations.push(...result.violations)
    expect(tally.violations, complaints).toEqual([])
    expect(code).toBe(0)
    // It was a soak, and not a program that did nothing.
    expect(result.kinds.map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(['download', 'tus patch', 'upload form', 'upload json', 'verify']),
    )
    expect(result.acknowledged).toBeGreaterThan(50)
    if (process.platform === 'linux') {
      expect(result.memory.samples.length).toBeGreaterThan(5)
      expect(result.descriptors.before).toBeGreaterThan(0)
    }
  },
  (MINUTES + 8) * 60_000,
)
