/** A file that appears under its name when it is complete, and on the disk. */
import { createHash, randomBytes } from 'node:crypto'
import { link, lstat, open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { BytesClientError } from './errors.js'
import { attempt, type Target, writeAll } from './sink.js'

/** A part that was not written to for so long was left by a process that was killed. */
const STALE_MS = 24 * 60 * 60 * 1000

/**
 * What has come is kept in a part beside the file. Parts that earlier downloads to the same path
 * left behind are removed.
 * @param overwrite false: a file that appears meanwhile is left as it is
 * @param mode of the file that is replaced, when there is one
 * @throws BytesClientError `target_failed`; `target_exists`
 */
export async function fileTarget(path: string, overwrite: boolean, mode?: number): Promise<Target> {
  const folder = dirname(path)
  const start = partStart(basename(path))
  await removeStale(folder, start)
  const part = join(folder, `${start}${randomBytes(6).toString('hex')}.part`)
  // The default gives a new file what the umask of the process leaves.
  const handle = await attempt(open(part, 'wx', mode === undefined ? 0o666 : 0o600), path)
  let size = 0
  async function commit(): Promise<void> {
    if (mode !== undefined) await handle.chmod(mode)
    await handle.sync()
    await (overwrite ? rename(part, path) : linkNew(part, path))
    await syncFolder(folder)
  }
  return {
    write: async (chunk) => {
      await attempt(writeAll(handle, chunk, size), path)
      size += chunk.byteLength
    },
    restart: async () => {
      await attempt(handle.truncate(0), path)
      size = 0
    },
    commit: () => attempt(commit(), path),
    close: async () => {
      await attempt(handle.close(), path)
      await attempt(rm(part, { force: true }), path)
    },
  }
}

/** How the names of all parts of this file begin. The digest tells apart what is cut off alike. */
function partStart(name: string): string {
  const digest = createHash('sha256').update(name).digest('hex').slice(0, 8)
  return `.${name.slice(0, 60).toWellFormed()}.${digest}.`
}

/** What cannot be removed does no harm to the download. */
async function removeStale(folder: string, start: string): Promise<void> {
  const names = await readdir(folder).catch(() => [])
  for (const name of names) {
    if (!name.startsWith(start) || !/^[0-9a-f]{12}\.part$/.test(name.slice(start.length))) continue
    const path = join(folder, name)
    const found = await lstat(path).catch(() => undefined)
    if (found === undefined || Date.now() - found.mtimeMs < STALE_MS) continue
    await rm(path, { force: true }).catch(() => undefined)
  }
}

/** Gives the file its name, unless another has it. */
async function linkNew(part: string, path: string): Promise<void> {
  try {
    await link(part, path)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    const taken = code === 'EEXIST' || (await lstat(path).catch(() => undefined)) !== undefined
    if (taken) throw new BytesClientError('target_exists', `${path} is there already`)
    // No links on this file system: then a file that appears just now is lost.
    await rename(part, path)
  }
}

/** Some systems cannot open a folder. Then the name is as durable as they make it. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined)
  await handle?.sync().catch(() => undefined)
  await handle?.close()
}
