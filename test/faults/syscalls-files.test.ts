/** Promise 1: each system call on files that an upload makes fails once, and is once the last of the process. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { auditFindings } from '../support/audit.js'
import { isFull } from '../support/fault-report.js'
import { sealing, type TestStore, testStore } from '../support/service.js'
import { fileThread, skipsFor, straceProblem } from '../support/strace.js'
import { type Bench, openBench } from '../support/syscall-bench.js'
import { FILE_CALLS, KILL, type Point, pointsOf, sampled } from '../support/syscall-points.js'
import { tryPoints } from '../support/syscall-report.js'
import { PLAIN_FORMS, SEALED_FORMS, SYNCED_FORM, type UploadForm } from '../support/upload-forms.js'

/** Points of the bounded form. */
const ERRORS = 22
const KILLS = 7

/** Calls that are seen for certain. */
const CERTAIN = 'openat write writev fsync fdatasync rename mkdir unlink close'.split(' ')

const problem = await straceProblem()
if (problem !== undefined) console.warn(`no system call was made to fail: ${problem}`)

let store: TestStore
const benches = new Map<UploadForm, Bench>()

beforeAll(async () => {
  if (problem !== undefined) return
  store = await testStore()
  const plain = await open({})
  const sealed = await open(await sealing())
  for (const form of [...PLAIN_FORMS, SYNCED_FORM]) benches.set(form, plain)
  for (const form of SEALED_FORMS) benches.set(form, sealed)
})

afterAll(async () => {
  for (const bench of new Set(benches.values())) await bench.close()
  await store?.remove()
})

const open = (environment: Record<string, string>): Promise<Bench> =>
  openBench({
    store,
    environment,
    place: async (_, pid) => ({ threadId: await fileThread(pid) }),
    // The same thread writes to its event descriptor, and the log.
    counts: ({ text }) => text.includes(store.dataDir),
  })

function benchOf(form: UploadForm): Bench {
  const bench = benches.get(form)
  if (!bench) throw new Error(`there is no service for ${form.name}`)
  return bench
}

it.skipIf(skipsFor(problem))(
  'a call on files that fails, or is the last, loses nothing and leaves nothing half',
  async () => {
    expect(problem).toBeUndefined()
    const points: Point[] = []
    for (const form of benches.keys()) {
      const calls = await benchOf(form).survey(form, Object.keys(FILE_CALLS))
      points.push(...pointsOf(form, calls, FILE_CALLS))
    }
    const seen = new Set(points.map(({ call }) => call))
    // Nothing makes a `link`: files get their names by `rename`.
    for (const call of CERTAIN) expect(seen).toContain(call)
    const large = points.filter(({ form, call }) => form === SYNCED_FORM && call === 'fdatasync')
    const others = points.filter((point) => !large.includes(point))
    const errors = others.filter(({ fault }) => fault !== KILL)
    const kills = others.filter(({ fault }) => fault === KILL)
    const some = [...sampled(errors, ERRORS), ...sampled(kills, KILLS), ...large]
    const chosen = isFull ? points : some
    const { missed, violations } = await tryPoints('calls on files', chosen, ({ form }) =>
      benchOf(form),
    )
    expect(violations).toEqual([])
    expect(await auditFindings(store)).toEqual([])
    // What is encrypted has another address each time, and so not always the same folders.
    expect(missed.length, missed.join('; ')).toBeLessThan((isFull ? 0.1 : 0.3) * chosen.length)
  },
  isFull ? 3_600_000 : 300_000,
)
