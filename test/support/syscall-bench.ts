/** Runs uploads of which one system call fails or is the last, and judges what is left. */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { errorsLogged, eventually, send } from '../acceptance/helpers.js'
import { type Client, login } from './client.js'
import type { TestService, TestStore } from './service.js'
import { attach, openFiles, type TracedCall } from './strace.js'
import { KILL, type Point } from './syscall-points.js'
import {
  type Checked,
  modeViolations,
  violationsOf,
  violationsOfRefusal,
} from './upload-checker.js'
import {
  type Attempts,
  HANGS,
  type OneConnection,
  type Outcome,
  oneConnection,
  type UploadForm,
} from './upload-forms.js'

/** Where strace is attached. */
export interface Place {
  readonly threadId: number
  /** See `TraceOptions`. */
  readonly paths?: readonly string[]
  /** Called when strace is attached, before the upload. */
  readonly attached?: () => Promise<void>
}

export interface BenchOptions {
  readonly store: TestStore
  readonly environment: Readonly<Record<string, string>>
  /** Called when the service is warm, right before each upload. */
  readonly place: (service: TestService, pid: number) => Promise<Place>
  /** Which of the recorded calls count. */
  readonly counts: (call: TracedCall) => boolean
  readonly arrived?: Checked['arrived']
  /** Whether the service has done what follows an upload: strace stays until then. */
  readonly settled?: () => Promise<boolean>
  /** Whether the upload comes on a connection of its own. */
  readonly freshConnection?: boolean
  /** Whether a call that fails may end the client's connection without an answer. */
  readonly mayLose?: boolean
}

export interface Result {
  /** Whether the injection met a call that counts. */
  readonly hit: boolean
  /** Of the calls that came and count, the one whose number is nearest: others came in between. */
  readonly nearest?: number | undefined
  readonly violations: readonly string[]
}

export interface Bench {
  /** The calls that an upload makes when nothing fails. */
  survey(form: UploadForm, calls: readonly string[]): Promise<TracedCall[]>
  /** Uploads with a fault, and again without. */
  run(point: Point): Promise<Result>
  close(): Promise<void>
}

interface Running {
  readonly service: TestService
  readonly pid: number
  readonly client: Client
}

/** What an upload starts from. */
interface Prepared {
  readonly job: string
  readonly attempts: Attempts
  /** An earlier upload of the same contents, if the form wants one. */
  readonly earlier?: { readonly job: string; readonly ids: Record<string, string> }
}

/** Without these, what was written may be lost in a power failure. */
const SYNCS = ['fsync', 'fdatasync']

/** Benches may share a store. */
let organizations = 0

/** The processes are started when they are needed, and all uploads go to organizations of their own. */
export async function openBench(options: BenchOptions): Promise<Bench> {
  const {
    store,
    environment,
    place,
    counts,
    arrived = () => [],
    settled = async () => true,
  } = options
  const database = new pg.Client({ connectionString: store.databaseUri })
  await database.connect()
  const checked: Checked = { dataDir: store.dataDir, database, arrived }
  let running: Running | undefined

  const ready = async (): Promise<Running> => {
    if (running && (await isUp(running))) return running
    const service = await store.start({
      ...environment,
      UV_THREADPOOL_SIZE: '1',
      // All points of a form may take longer than a token lives.
      BYTES_ACCESS_TOKEN_EXPIRE_MINUTES: '600',
    })
    const client = await login(service.url)
    // Everything is made that is made once.
    await client.upload(await client.job('warm'), [{ name: 'x', content: 'x' }])
    const { pid } = service.process
    if (pid === undefined) throw new Error('the service has no process')
    running = { service, pid, client }
    return running
  }

  const withConnection = async <T>(use: (client: OneConnection) => Promise<T>): Promise<T> => {
    const { service, client } = await ready()
    const connection = oneConnection(service.url, client.token)
    try {
      return await use(connection)
    } finally {
      connection.close()
    }
  }

  const prepare = async (form: UploadForm, connection: OneConnection): Promise<Prepared> => {
    const { client } = await ready()
    const organization = `o${organizations++}`
    const job = await client.job(organization)
    const attempts = form.make(job)
    if (!form.again) {
      // So that the connection is there.
      await connection.exchange('GET', '/health/live')
      if (options.freshConnection) connection.close()
      return { job, attempts }
    }
    const { ids } = await attempts.attempt(connection)
    if (!ids) throw new Error('the first upload failed')
    if (form.again === 'damaged') await damage(store.dataDir, organization)
    const next = await client.job(organization)
    return { job: next, attempts: form.remake(next, attempts.files), earlier: { job, ids } }
  }

  const ofEarlier = async (prepared: Prepared, client: OneConnection, mayFail: boolean) => {
    const { earlier, attempts } = prepared
    if (!earlier) return []
    if (mayFail) {
      const found: string[] = []
      for (const { name, content } of attempts.files) {
        const read = await client.exchange('GET', `/bytes/raw/${earlier.ids[name]}`)
        // It is damaged still, or healed.
        if (read.status === 200 && !read.body.equals(content)) {
          found.push('the earlier file is read with other bytes')
        }
      }
      return found
    }
    const found = await violationsOf(checked, client, earlier.job, attempts.files, earlier)
    return found.map((violation) => `of the earlier upload: ${violation}`)
  }

  const after = async (point: Point, prepared: Prepared, outcome: Outcome | undefined) => {
    const { job, attempts } = prepared
    const found = outcome ? violationsOfRefusal(outcome) : []
    await withConnection(async (client) => {
      found.push(...(await violationsOf(checked, client, job, attempts.files, outcome)))
      const mayFail = point.form.again === 'damaged' && outcome?.ids === undefined
      found.push(...(await ofEarlier(prepared, client, mayFail)))
    })
    await withConnection(async (client) => {
      const repeated = await attempts.attempt(client)
      if (!repeated.ids) found.push(`the repetition was answered ${repeated.refusal?.status}`)
      found.push(...(await violationsOf(checked, client, job, attempts.files, repeated)))
      found.push(...(await ofEarlier(prepared, client, false)))
    })
    return found
  }

  /** Files below the data directory that a process has open, each with its descriptor. */
  const filesOf = async (pid: number): Promise<Set<string>> => {
    const files = [...(await openFiles(pid))]
    const ours = files.filter(([, name]) => name.startsWith(store.dataDir))
    return new Set(ours.map(([descriptor, name]) => `${descriptor} ${name}`))
  }

  const leftovers = async (point: Point, died: boolean, opened: Set<string>) => {
    const found = await modeViolations(store.dataDir)
    const temporary = join(store.dataDir, 'tmp')
    const left = await readdir(temporary)
    // What a dead process leaves is removed when it is an hour old.
    if (!died && point.call !== 'unlink' && left.length > 0) {
      found.push(`${left.length} temporary files are left`)
    }
    await Promise.all(left.map((name) => rm(join(temporary, name))))
    const { pid } = await ready()
    // A descriptor whose closing was prevented stays.
    if (died || point.call === 'close') return found
    const newlyOpen = async () => [...(await filesOf(pid))].filter((name) => !opened.has(name))
    // A file that was read is closed after the answer.
    await eventually(async () => (await newlyOpen()).length === 0, 'files are closed').catch(
      () => 0,
    )
    const open = await newlyOpen()
    if (open.length > 0) found.push(`files are left open: ${open.join(', ')}`)
    return found
  }

  return {
    survey: (form, calls) =>
      withConnection(async (connection) => {
        const { attempts } = await prepare(form, connection)
        const { service, pid } = await ready()
        const where = await place(service, pid)
        const trace = await attach(...at(where, { calls }))
        await where.attached?.()
        const { ids } = await attempts.attempt(connection)
        await eventually(settled, 'what follows an upload is done')
        const recorded = await trace.end()
        if (!ids) throw new Error(`the form ${form.name} fails without a fault`)
        return recorded.filter(counts)
      }),

    run: async (point) => {
      const { call, when, fault } = point
      const before = await ready()
      const opened = await filesOf(before.pid)
      let outcome: Outcome | undefined
      let recorded: readonly TracedCall[] = []
      let lost = false
      const violations: string[] = []
      const prepared = await withConnection(async (connection) => {
        const made = await prepare(point.form, connection)
        const where = await place(before.service, before.pid)
        const injection = { call, when, fault }
        const trace = await attach(...at(where, { calls: [call], injection }))
        await where.attached?.()
        try {
          outcome = await made.attempts.attempt(connection)
        } catch (error) {
          // A connection that is lost is no answer; anything else is a finding.
          lost = isLost(error)
          if (!lost) violations.push(String(error))
        }
        await eventually(async () => !isAlive(before) || (await settled()), 'it is done or dead')
        recorded = await trace.end()
        return made
      })
      const met = recorded.find((each) => each.call === call && each.when === when)
      const hit = met !== undefined && counts(met)
      // It may have been killed at a call that does not count.
      if (fault === KILL && (met !== undefined || lost))
        await eventually(() => !isAlive(before), 'the process is dead')
      // A write to the event descriptor that fails ends the process as well.
      const died = !(await isUp(before))
      if (died && fault !== KILL && hit) violations.push('the service has ended')
      if (hit && lost && fault !== KILL && options.mayLose !== true) {
        violations.push('the connection of the client has ended without an answer')
      }
      // What is in memory cannot tell whether it is on the disk.
      const unsynced = hit && fault !== KILL && SYNCS.includes(call)
      if (unsynced && outcome?.ids) violations.push('it was acknowledged and is not on the disk')
      violations.push(...(await after(point, prepared, outcome)))
      violations.push(...(await leftovers(point, died, opened)))
      const unexpected = errorsLogged(before.service.log()).filter((line) => !line.startsWith('{'))
      if (!died) violations.push(...unexpected)
      const counted = recorded.filter((each) => each.call === call && counts(each))
      const [nearest] = counted
        .map((each) => each.when)
        .toSorted((a, b) => Math.abs(a - when) - Math.abs(b - when))
      return { hit, nearest, violations }
    },

    close: async () => {
      await database.end()
      await running?.service.kill()
    },
  }
}

type Attached = Parameters<typeof attach>
const at = ({ threadId, paths }: Place, options: Attached[1]): Attached => [
  threadId,
  { ...options, ...(paths && { paths }) },
]

const isAlive = ({ service }: Running): boolean =>
  service.process.exitCode === null && service.process.signalCode === null

/** Whether it answers. Of one that ended a moment ago nobody may know yet; that is waited for. */
async function isUp(running: Running): Promise<boolean> {
  if (!isAlive(running)) return false
  try {
    await send(running.service.url, { path: '/health/live' })
    return true
  } catch {
    await eventually(() => !isAlive(running), 'the process is dead')
    return false
  }
}

/** The connection was closed by the other side, or refused. */
function isLost(error: unknown): boolean {
  if (!(error instanceof Error) || error.message === HANGS) return false
  return 'code' in error && ['ECONNRESET', 'ECONNREFUSED', 'EPIPE'].includes(String(error.code))
}

/** Changes a bit of each blob of an organization. */
async function damage(dataDir: string, organization: string): Promise<void> {
  const root = join(dataDir, 'blobs/v1', organization)
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const content = await readFile(path)
    content[0] = (content[0] ?? 0) ^ 1
    await writeFile(path, content)
  }
}
