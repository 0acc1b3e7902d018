/**
 * Files of blobs that a sweep has set aside. They stay in their folder, under the address followed by
 * a random id, so that readers find them there and no two sweeps take each other's.
 */
import { randomUUID } from 'node:crypto'
import { link, opendir, rename, rm, stat, utimes } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { hasCode, syncDirectory } from './durable.js'

const SUFFIX = '.swept'
const ASIDE = /^([0-9a-f]{128})\.[0-9a-f-]{36}\.swept$/

/** The address of a file that was set aside; undefined for other names. */
export function asideAddress(name: string): string | undefined {
  return ASIDE.exec(name)?.[1]
}

/** Renames a file. @returns its new path; undefined when it has gone */
export async function setAside(path: string): Promise<string | undefined> {
  const aside = `${path}.${randomUUID()}${SUFFIX}`
  try {
    await rename(path, aside)
    return aside
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}

/** A file system without hard links; or one that lets only the owner of a file make them. */
const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']

/** It may take the place of an equal file that has come this moment: so it is made as young as that. */
async function renameBack(aside: string, path: string): Promise<void> {
  const there = await stat(path).then(
    () => true,
    (error: unknown) => {
      if (!hasCode(error, 'ENOENT')) throw error
      return false
    },
  )
  const now = new Date()
  try {
    if (there) await rm(aside, { force: true })
    else {
      await utimes(aside, now, now)
      await rename(aside, path)
    }
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
  }
  await syncDirectory(dirname(path))
}

/** Gives a file its address back, durably, unless there is a file by now. */
export async function putBack(aside: string): Promise<void> {
  const folder = dirname(aside)
  const address = asideAddress(basename(aside))
  if (address === undefined) throw new Error('a file was to be put back that was not set aside')
  try {
    await link(aside, join(folder, address))
  } catch (error) {
    // Another sweep has put it back, or removed it.
    if (hasCode(error, 'ENOENT')) return
    if (hasCode(error, ...NO_LINKS)) return renameBack(aside, join(folder, address))
    if (!hasCode(error, 'EEXIST')) throw error
  }
  await syncDirectory(folder)
  await rm(aside, { force: true })
}

/**
 * Where a file that is not at its address was set aside to; to be asked for only then, as it reads
 * the folder.
 */
export async function findAside(path: string): Promise<string | undefined> {
  const [folder, address] = [dirname(path), basename(path)]
  try {
    for await (const { name } of await opendir(folder)) {
      if (asideAddress(name) === address) return join(folder, name)
    }
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw error
  }
  return undefined
}

/**
 * Runs an action on the file of a blob, wherever it is.
 * @throws what `action` throws, also for want of a file
 */
export async function atAddressOrAside<T>(
  path: string,
  action: (path: string) => Promise<T>,
): Promise<T> {
  try {
    return await action(path)
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
    const aside = await findAside(path)
    // Without one it may have been put back since.
    if (aside === undefined) return action(path)
    return action(aside).catch((failed: unknown) => {
      if (!hasCode(failed, 'ENOENT')) throw failed
      return action(path)
    })
  }
}
