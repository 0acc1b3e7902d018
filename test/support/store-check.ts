/** What a disk and a database have in common: looked at from outside, without the service. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { blobFolder } from '../../src/raw/blob-path.js'
import { filesBelow, query } from '../acceptance/helpers.js'
import type { TestStore } from './service.js'

export interface StoreState {
  /** Raw files whose blob is missing or has other bytes than its address says. */
  readonly damaged: readonly string[]
  /** Paths of blobs that no raw file has. */
  readonly orphans: readonly string[]
  /** Names in the folder of temporary files. */
  readonly temporary: readonly string[]
}

interface Row {
  readonly id: string
  readonly organization: string
  readonly address: string
  readonly size: number
}

/** Reads the whole store. */
export async function stateOfStore(store: TestStore): Promise<StoreState> {
  const rows = await query<Row>(
    store.databaseUri,
    `SELECT r.id, b.organization, b.address, b.stored_size::int AS size
     FROM raw_file r JOIN blob b ON b.id = r.blob_id`,
  )
  const root = join(store.dataDir, 'blobs')
  const names = (await exists(root)) ? await filesBelow(root) : []
  const files = new Set(names.map((name) => join('blobs', name)))
  const known = new Set<string>()
  const damaged = []
  for (const { id, organization, address, size } of rows) {
    // An address of another organization is another blob, though its bytes are the same.
    const file = join(blobFolder(organization, address), address)
    known.add(file)
    const path = join(store.dataDir, file)
    const whole =
      files.has(file) && (await stat(path)).size === size && (await digestOf(path)) === address
    if (!whole) damaged.push(id)
  }
  const temporary = join(store.dataDir, 'tmp')
  return {
    damaged,
    orphans: [...files].filter((file) => !known.has(file)),
    temporary: (await exists(temporary)) ? await readdir(temporary) : [],
  }
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha512')
  for await (const piece of createReadStream(path)) hash.update(piece)
  return hash.digest('hex')
}
