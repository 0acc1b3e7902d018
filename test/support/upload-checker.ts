/** What must hold of an upload whatever happened in its middle: asked of HTTP, the database and the disk. */
import { createHash } from 'node:crypto'
import { chmod, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type pg from 'pg'
import { eventually } from '../acceptance/helpers.js'
import type { OneConnection, Outcome, UploadedFile } from './upload-forms.js'

/** Owner everything, group reading: the defaults of the service. No mode may give more. */
const FOLDER_MODE = 0o740
const FILE_MODE = 0o640

export interface Checked {
  readonly dataDir: string
  readonly database: pg.Client
  /** Message ids that have arrived at the broker; none when there is no broker. */
  readonly arrived: () => readonly unknown[]
}

interface Row {
  readonly id: string
  readonly tag: string
  readonly digest: string
  readonly address: string
  readonly stored_size: string
  readonly organization: string
}

/** SQL of the raw files of a job. */
const ROWS = `
  SELECT r.id, r.mime_types[1] AS tag, b.content_digest AS digest, b.address, b.stored_size,
         b.organization
  FROM raw_file r JOIN blob b ON b.id = r.blob_id WHERE r.boefje_meta_id = $1`

const sha512 = (content: Uint8Array): string => createHash('sha512').update(content).digest('hex')

/**
 * Finds what is wrong with the files of a job, which has no others.
 * @param outcome of the last attempt; undefined when the connection was lost
 * @returns a sentence for each violation
 */
export async function violationsOf(
  { dataDir, database, arrived }: Checked,
  client: OneConnection,
  job: string,
  files: readonly UploadedFile[],
  outcome: Outcome | undefined,
): Promise<string[]> {
  const found: string[] = []
  const { rows } = await database.query<Row>(ROWS, [job])
  const ids = outcome?.ids
  if (ids === undefined && rows.length === 0) return found
  if (rows.length !== files.length) found.push(`${rows.length} of ${files.length} files have a row`)
  for (const { name, tag, content } of files) {
    const row = rows.find((each) => each.tag === tag)
    if (!row) continue
    if (ids && ids[name] !== row.id) found.push(`${name} was acknowledged with another id`)
    if (row.digest !== `sha512:${sha512(content)}`) found.push(`${name} has another digest`)
    const folder = join(dataDir, 'blobs/v1', row.organization, row.address.slice(0, 2))
    const stored = await readFile(join(folder, row.address)).catch(() => undefined)
    if (!stored) found.push(`${name} has a row and no blob`)
    else if (sha512(stored) !== row.address) found.push(`the blob of ${name} is damaged`)
    else if (stored.length !== Number(row.stored_size)) found.push(`${name} has another size`)
    const read = await client.exchange('GET', `/bytes/raw/${row.id}`)
    if (read.status !== 200) found.push(`${name} is read with ${read.status}`)
    else if (!read.body.equals(content)) found.push(`${name} is read with other bytes`)
    if (!(await isAnnounced(database, arrived, row.id))) found.push(`${name} is not announced`)
  }
  return found
}

async function isAnnounced(
  database: pg.Client,
  arrived: Checked['arrived'],
  id: string,
): Promise<boolean> {
  const waits = async (): Promise<boolean> => {
    const { rowCount } = await database.query('SELECT 1 FROM outbox WHERE message_id = $1', [id])
    return rowCount === 1
  }
  // It leaves the outbox after it has left for the queue, where it may still be on its way.
  return eventually(async () => (await waits()) || arrived().includes(id), `${id} is announced`)
    .then(() => true)
    .catch(() => false)
}

/** What is wrong with a refusal: it must be told as one that passes, and say how it is repeated. */
export function violationsOfRefusal({ refusal }: Outcome): string[] {
  if (refusal === undefined) return []
  const { status, headers, body } = refusal
  const text = body.toString()
  if (![423, 503, 507].includes(status)) return [`it was answered with ${status} ${text}`]
  const found: string[] = []
  if (status !== 507 && headers['retry-after'] === undefined) {
    found.push(`${status} has no Retry-After`)
  }
  // The answer to a HEAD has no body.
  if (text !== '' && !/^\{"detail":"[^"]+"\}$/.test(text)) found.push(`${status} says ${text}`)
  return found
}

/** Files and folders that more may be done with than was configured. Each is found once. */
export async function modeViolations(dataDir: string): Promise<string[]> {
  const found: string[] = []
  for (const entry of await readdir(dataDir, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    const mode = await stat(path).then(
      (stats) => stats.mode & 0o777,
      () => 0,
    )
    const wanted = entry.isDirectory() ? FOLDER_MODE : FILE_MODE
    if ((mode & ~wanted) === 0) continue
    found.push(`${path} has the mode ${mode.toString(8)}`)
    await chmod(path, wanted)
  }
  return found
}
