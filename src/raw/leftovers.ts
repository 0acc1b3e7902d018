/** Files beside the blobs that a crash may have left behind. */
import { opendir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { LeftoverFile } from '../domain/audit.js'
import { hasCode } from './durable.js'

const TEMPORARY = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const UPLOAD = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(data|json|json\.new)$/

/**
 * Temporary files, files of resumable uploads that have no record or have outlived it, and what
 * nobody of ours has put there.
 * @param uploadLifetimeMs after so long without a change nobody goes on with an upload
 * @param now milliseconds since 1970
 */
export async function* leftoverFiles(
  dataDir: string,
  uploadLifetimeMs: number,
  now: number,
): AsyncGenerator<LeftoverFile> {
  for await (const { name, isFile } of entries(join(dataDir, 'tmp'))) {
    const path = join('tmp', name)
    const changedAt = await changeTime(join(dataDir, path))
    const kind = isFile && TEMPORARY.test(name) ? 'temporary_leftover' : 'stray_file'
    if (changedAt !== undefined) yield { path, kind, changedAt }
  }
  const folder = join(dataDir, 'uploads')
  for await (const { name, isFile } of entries(folder)) {
    const path = join('uploads', name)
    const changedAt = await changeTime(join(dataDir, path))
    if (changedAt === undefined) continue
    const [, id, part] = (isFile && UPLOAD.exec(name)) || []
    if (id === undefined) yield { path, kind: 'stray_file', changedAt }
    else {
      const record = await changeTime(join(folder, `${id}.json`))
      const data = await changeTime(join(folder, `${id}.data`))
      const newest = Math.max(record ?? 0, data ?? 0)
      const goesOn = record !== undefined && part !== 'json.new' && newest > now - uploadLifetimeMs
      if (!goesOn) yield { path, kind: 'upload_leftover', changedAt }
    }
  }
}

/** Entries of a folder, which need not be there. */
export async function* entries(
  folder: string,
): AsyncGenerator<{ name: string; isFile: boolean; isDirectory: boolean }> {
  try {
    for await (const entry of await opendir(folder, { bufferSize: 256 })) {
      yield { name: entry.name, isFile: entry.isFile(), isDirectory: entry.isDirectory() }
    }
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
  }
}

/** Milliseconds since 1970; undefined when there is no such file. */
export async function changeTime(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).mtimeMs
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}
