import { lchown, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../domain/ports.js'
import { type Account, runAs } from './account.js'

/** Milliseconds to wait for the server of an earlier, dead process to end. */
const leftoverTimeout = 60_000

/**
 * Ends the server that a dead process has left on the cluster. Called with the lock held, so it is
 * no live process of ours that uses it.
 * @throws Error when it does not end
 */
export async function endLeftover(
  cluster: string,
  account: Account | null,
  log: Log,
): Promise<void> {
  const pidFile = join(cluster, 'postmaster.pid')
  const deadline = Date.now() + leftoverTimeout
  for (let attempt = 0; ; attempt++) {
    const text = await readFile(pidFile, 'utf8').catch(() => null)
    if (text === null) return
    const pid = Number.parseInt(text.split('\n', 1)[0] ?? '', 10)
    if (!(await isServerOf(cluster, pid, text.split('\n')[1] ?? ''))) {
      await disown(pidFile, text, account)
      return
    }
    if (Date.now() > deadline) {
      throw new Error(`another Postgres, process ${pid}, uses ${cluster} and does not end`)
    }
    // At first its supervisor may be about to end it.
    if (attempt === 5) {
      log.warn({ pid, dataDir: cluster }, 'ending a Postgres that was left running')
      interrupt(pid)
    }
    await sleep(200)
  }
}

function interrupt(pid: number): void {
  try {
    process.kill(pid, 'SIGINT')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** True when `pid` is a live Postgres server whose data directory is `cluster`. */
async function isServerOf(cluster: string, pid: number, named: string): Promise<boolean> {
  if (!Number.isSafeInteger(pid) || pid <= 1) return false
  if ((await realpath(named).catch(() => named)) !== cluster) return false
  if (process.platform === 'linux') {
    // A server's working directory is its data directory.
    const directory = await realpath(`/proc/${pid}/cwd`).catch(() => null)
    const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')
    return directory === cluster && name.trim() === 'postgres'
  }
  const { ok, output } = await runAs(null, '/bin/ps', ['-ww', '-o', 'command=', '-p', String(pid)])
  return ok && output.includes('postgres') && output.includes(cluster)
}

/**
 * Makes a stale pid file name no process. Postgres refuses to start when the pid has been given to
 * another process of the same user, as restarts of a container easily bring about. The file
 * has to stay: by its other lines Postgres finds processes that still use the shared memory.
 */
async function disown(pidFile: string, text: string, account: Account | null): Promise<void> {
  if (text.trim() === '') {
    await rm(pidFile, { force: true })
    return
  }
  const changed = [String(2 ** 31 - 1), ...text.split('\n').slice(1)].join('\n')
  const temporary = `${pidFile}.new`
  await rm(temporary, { force: true })
  await writeFile(temporary, changed, { flag: 'wx', mode: 0o600 })
  if (account !== null) await lchown(temporary, account.uid, account.gid)
  await rename(temporary, pidFile)
}
