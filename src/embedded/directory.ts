import { createHash } from 'node:crypto'
import {
  chmod,
  lchown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readlink,
  realpath,
  rm,
  rmdir,
  stat,
  symlink,
} from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { Log } from '../domain/ports.js'
import { type Account, canEnter, isRoot, unprivilegedAccount } from './account.js'
import { systemDirectory } from './binaries.js'

/** The directory of one embedded Postgres. */
export interface DataDirectory {
  /** Real path. Belongs to the user of this process; Postgres owns what is made for it inside. */
  readonly path: string
  /** Who Postgres runs as; null for the user of this process. */
  readonly account: Account | null
}

/** The directory of the cluster inside the data directory. It exists when the cluster is complete. */
export function clusterPath(dataDirectory: string): string {
  return join(dataDirectory, 'cluster')
}

/**
 * Makes the data directory when it is missing. When root asks for a place that Postgres' user
 * cannot enter, the directory is made below /var/lib/bytes and `requested` becomes a symlink to it.
 * @throws Error when the directory cannot be used, saying what to do
 */
export async function openDataDirectory(requested: string, log: Log): Promise<DataDirectory> {
  const path = resolve(requested)
  if (!isRoot()) {
    await mkdir(path, { recursive: true, mode: 0o700 })
    return { path: await realpath(path), account: null }
  }
  const present = await lstat(path).catch(() => null)
  if (present === null) {
    await mkdir(dirname(path), { recursive: true })
    const account = unprivilegedAccount
    if (!(await canEnter(account, dirname(path)))) return relocate(path, log)
    await mkdir(path, { recursive: true })
    return open(path, account)
  }
  if (present.isSymbolicLink() && (await stat(path).catch(() => null)) === null) {
    throw new Error(
      `${path} is a symlink to ${await readlink(path)}, which is missing: ` +
        'bring that directory back, or remove the symlink to start with an empty database',
    )
  }
  const directory = await open(path, await ownerOf(path))
  if (await canEnter(directory.account, directory.path)) return directory
  if ((await readdir(path)).length > 0 || present.isSymbolicLink()) {
    throw new Error(
      `uid ${directory.account.uid}, which Postgres runs as, cannot enter ${directory.path}: ` +
        'move it to a place that is open to others, or set BYTES_DB_URI',
    )
  }
  await rmdir(path)
  return relocate(path, log)
}

async function open(path: string, account: Account): Promise<{ path: string; account: Account }> {
  const real = await realpath(path)
  const { mode } = await stat(real)
  // Only what lies inside is private.
  if ((mode & 0o011) !== 0o011) await chmod(real, (mode & 0o7777) | 0o011)
  return { path: real, account }
}

/** Root keeps running a cluster as the user who made it, so that this user can go on using it. */
async function ownerOf(path: string): Promise<Account> {
  const cluster = clusterPath(path)
  const status = await lstat(cluster).catch(() => null)
  if (status === null) return unprivilegedAccount
  if (status.uid === 0) {
    await giveTo(unprivilegedAccount, cluster)
    return unprivilegedAccount
  }
  return { uid: status.uid, gid: status.gid === 0 ? unprivilegedAccount.gid : status.gid }
}

async function giveTo(account: Account, path: string): Promise<void> {
  // The top is last, so that what was cut short is done again.
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const child = join(path, entry.name)
    if (entry.isDirectory()) await giveTo(account, child)
    else await lchown(child, account.uid, account.gid)
  }
  await lchown(path, account.uid, account.gid)
}

async function relocate(path: string, log: Log): Promise<DataDirectory> {
  await mkdir(systemDirectory, { recursive: true, mode: 0o711 })
  const prefix = `${createHash('sha256').update(path).digest('hex').slice(0, 16)}-`
  const earlier = (await readdir(systemDirectory)).filter((name) => name.startsWith(prefix))
  if (earlier.length > 0) {
    const directories = earlier.map((name) => join(systemDirectory, name))
    log.warn({ dataDir: path, directories }, 'databases of an earlier data directory are left over')
  }
  // A name of its own: a removed symlink means a fresh start, and never costs the old data.
  const target = await mkdtemp(join(systemDirectory, prefix))
  try {
    await symlink(target, path)
    log.info(
      { dataDir: path, directory: target },
      'the database was put where Postgres can reach it',
    )
  } catch (error) {
    await rm(target, { recursive: true, force: true })
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  return open(path, unprivilegedAccount)
}

/** Makes an empty directory that only Postgres' user, and root, can enter. */
export async function makePrivate(path: string, account: Account | null): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  await mkdir(path, { mode: 0o700 })
  if (account !== null) await lchown(path, account.uid, account.gid)
}

/** Removes what an interrupted initdb has left. */
export async function removeUnfinished(dataDirectory: string): Promise<void> {
  for (const name of await readdir(dataDirectory)) {
    if (!basename(name).startsWith('init-')) continue
    // An initdb that has not noticed yet that its owner died may still be writing.
    const options = { recursive: true, force: true, maxRetries: 10, retryDelay: 200 }
    await rm(join(dataDirectory, name), options)
  }
}
