/** Attaches strace (Debian package `strace`) to threads, to watch their system calls, to make one fail, or all slow. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What to do to one system call. */
export interface Injection {
  readonly call: string
  /** Which one of the thread's calls of this name, from 1 on, since strace was attached. */
  readonly when: number
  /** Name of the error that it fails with, without having been made; or KILL for the process. */
  readonly fault: string
}

export interface TracedCall {
  readonly call: string
  /** Which one of the calls of this name, from 1 on. */
  readonly when: number
  /** The whole line: arguments with the paths of file descriptors, and the result. */
  readonly text: string
}

export interface TraceOptions {
  /** Names of system calls that are recorded. */
  readonly calls: readonly string[]
  readonly injection?: Injection
  /** By how many milliseconds each recorded call is held up, before it is made. */
  readonly delayMs?: number
  /** Only calls that name one of these, or have a file descriptor of it. All by default. */
  readonly paths?: readonly string[]
}

export interface Trace {
  /** Detaches, if the thread still lives; resolves to what was recorded, in order. */
  end(): Promise<TracedCall[]>
}

const NOT_INSTALLED = 'strace cannot be run'

/** Whether its tests are left out for a problem; where `CI` is set it has to be installed. */
export const skipsFor = (problem: string | undefined): boolean =>
  problem !== undefined && !(process.env.CI && problem.startsWith(NOT_INSTALLED))

/** Why strace is of no use here; undefined when it works. */
export async function straceProblem(): Promise<string | undefined> {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' })
  try {
    await once(child, 'spawn')
    const trace = await attach(child.pid ?? 0, { calls: ['openat'] })
    await trace.end()
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  } finally {
    child.kill('SIGKILL')
  }
}

/**
 * Attaches strace to one thread or several, and not to the others of their process.
 * @throws Error when strace is not installed, or may not attach (`kernel.yama.ptrace_scope`)
 */
export async function attach(
  threads: number | readonly number[],
  options: TraceOptions,
): Promise<Trace> {
  const { calls, injection, delayMs, paths = [] } = options
  const threadIds = [threads].flat()
  const folder = await mkdtemp(join(tmpdir(), 'bytes-strace-'))
  const log = join(folder, 'log')
  const remove = () => rm(folder, { recursive: true, force: true })
  const inject = injection ? ['-e', `inject=${expressionOf(injection)}`] : []
  const delay = delayMs ? ['-e', `inject=${calls.join(',')}:delay_enter=${delayMs * 1000}`] : []
  const only = paths.flatMap((path) => ['-P', path])
  const args = ['-yy', '-s', '0', '-o', log, '-e', `trace=${calls.join(',')}`, ...inject]
  const to = threadIds.flatMap((id) => ['-p', String(id)])
  const child = spawn('strace', [...args, ...delay, ...only, ...to], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const closed = once(child, 'close')
  closed.catch(() => undefined)
  try {
    await untilAttached(child, closed, threadIds.length)
  } catch (error) {
    await remove()
    throw error
  }
  return {
    end: async () => {
      child.kill('SIGINT')
      await closed
      const recorded = await readFile(log, 'utf8')
      await remove()
      return callsOf(recorded)
    },
  }
}

async function untilAttached(
  child: ChildProcess,
  closed: Promise<unknown>,
  threads: number,
): Promise<void> {
  let said = ''
  await new Promise<void>((resolve, reject) => {
    child.once('error', (error) => reject(new Error(`${NOT_INSTALLED}: ${error.message}`)))
    closed.then(
      () => reject(new Error(`strace could not attach: ${said.trim()}`)),
      () => undefined,
    )
    child.stderr?.on('data', (chunk) => {
      said += chunk
      const attached = said.match(/^strace: Process \d+ attached/gm)
      if (attached?.length === threads) resolve()
    })
  })
}

function expressionOf({ call, when, fault }: Injection): string {
  const what = fault === 'KILL' ? 'signal=KILL' : `error=${fault}`
  return `${call}:${what}:when=${when}`
}

function callsOf(recorded: string): TracedCall[] {
  const counts = new Map<string, number>()
  return recorded.split('\n').flatMap((text): TracedCall[] => {
    // Of several threads each line begins with one's id.
    const call = /^(?:\d+ +)?(\w+)\(/.exec(text)?.[1]
    if (call === undefined) return []
    const when = (counts.get(call) ?? 0) + 1
    counts.set(call, when)
    return [{ call, when, text }]
  })
}

/** The thread that makes the calls on files, of a Node that was started with UV_THREADPOOL_SIZE=1. */
export async function fileThread(pid: number): Promise<number> {
  const [thread = 0] = await fileThreads(pid, 1)
  return thread
}

/**
 * The threads that make the calls on files, of a Node that has made some: of those beside the main
 * thread they have written most.
 * @param count as UV_THREADPOOL_SIZE says
 */
export async function fileThreads(pid: number, count = 4): Promise<number[]> {
  const threads: { id: number; writes: number }[] = []
  for (const task of await readdir(`/proc/${pid}/task`)) {
    const id = Number(task)
    if (id === pid) continue
    const counts = await readFile(`/proc/${pid}/task/${task}/io`, 'utf8')
    threads.push({ id, writes: Number(/^syscw: (\d+)$/m.exec(counts)?.[1] ?? 0) })
  }
  const most = threads.toSorted((a, b) => b.writes - a.writes).slice(0, count)
  if (most.length < count || most.some(({ writes }) => writes < 10)) {
    throw new Error(`no ${count} threads were found that write files`)
  }
  return most.map(({ id }) => id)
}

/** What the open file descriptors of a process name, by number: paths, or such as `socket:[123]`. */
export async function openFiles(pid: number): Promise<Map<number, string>> {
  const names = new Map<number, string>()
  for (const fd of await readdir(`/proc/${pid}/fd`)) {
    const name = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => undefined)
    if (name !== undefined) names.set(Number(fd), name)
  }
  return names
}
