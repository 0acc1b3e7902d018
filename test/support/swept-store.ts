/** A store of blobs whose rows and files a test sweeps one by one, while it uploads to it. */
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { AuditFiles, AuditRows } from '../../src/domain/audit.js'
import type { MetaRepository } from '../../src/domain/meta-repository.js'
import type { Blob, BoefjeMeta } from '../../src/domain/models.js'
import type { FileMiddleware, RawRepository } from '../../src/domain/ports.js'
import { Budget } from '../../src/flows/budget.js'
import { MAX_EVENTS } from '../../src/flows/event-room.js'
import { ingest } from '../../src/flows/ingest.js'
import { type SweepCandidate, sweepBlobFile } from '../../src/flows/sweep.js'
import { createAuditRows } from '../../src/meta/audit.js'
import { createMetaRepository } from '../../src/meta/repository.js'
import { createAuditFiles } from '../../src/raw/audit-files.js'
import { blobFolder } from '../../src/raw/blob-path.js'
import { openDiskRepository } from '../../src/raw/disk-repository.js'
import { identity } from '../../src/raw/middleware/identity.js'
import { createKeyRing, generateKeyPair } from '../../src/raw/middleware/sealed-box/keys.js'
import { createSealedBox } from '../../src/raw/middleware/sealed-box/sealed-box.js'
import { testDatabase } from './database.js'
import { silentLog } from './postgres.js'
import { boefjeMeta } from './rows.js'

const GRACE_SECONDS = 24 * 60 * 60
export const ORGANIZATION = 'org'

export interface SweptStore {
  readonly dataDir: string
  readonly meta: MetaRepository
  readonly rows: AuditRows
  readonly files: AuditFiles
  /** Stores contents as they are. */
  readonly plain: RawRepository
  /** Stores contents encrypted, on the same disk. */
  readonly sealed: RawRepository
  newJob(): Promise<BoefjeMeta>
  /** Uploads a content; resolves when it is acknowledged, to the raw file's id. */
  upload(raw: RawRepository, job: BoefjeMeta, content: string): Promise<string>
  /** What a client gets of a raw file. @throws when it cannot be read */
  read(id: string): Promise<string>
  pathOf(address: string): string
  /** Makes a file look as old as what may be swept. */
  age(path: string): Promise<void>
  /** Leaves an old file at the address of a content, which no row has. @returns the address */
  leaveOrphan(content: string): Promise<string>
  /** Leaves a sealed blob whose raw file was deleted long ago. */
  leaveUnreferenced(job: BoefjeMeta, content: string): Promise<Blob>
  candidateOf(address: string): SweepCandidate
  sweepFile(address: string, ports?: Ports): Promise<boolean>
  /** As an audit does: first the row, then the file. */
  sweepBlob(blob: Pick<Blob, 'address'>): Promise<boolean>
  close(): Promise<void>
}

interface Ports {
  readonly files: AuditFiles
  readonly rows: AuditRows
}

/** When something was changed last that may be swept, in milliseconds since 1970. */
export const oldest = (): number => Date.now() - GRACE_SECONDS * 1000

export async function openSweptStore(): Promise<SweptStore> {
  const database = await testDatabase()
  const dataDir = await mkdtemp(join(tmpdir(), 'bytes-test-sweep-'))
  const meta = createMetaRepository(database)
  const rows = createAuditRows(database.pool)
  const files = createAuditFiles(dataDir)
  const box = createSealedBox(createKeyRing(generateKeyPair()))
  const open = (middleware: FileMiddleware): Promise<RawRepository> =>
    openDiskRepository({
      dataDir,
      folderPermission: 0o740,
      filePermission: 0o640,
      reserveBytes: 0,
      middleware,
      readers: [identity, box],
    })
  const plain = await open(identity)
  const sealed = await open(box)

  const upload: SweptStore['upload'] = async (raw, job, content) => {
    const answer = await ingest(
      {
        meta,
        raw,
        log: silentLog,
        hashes: { store: async () => 'link' },
        algorithm: 'sha512',
        eventMemory: new Budget(MAX_EVENTS),
        wakeRelay: () => undefined,
        wakeTimestamper: () => undefined,
      },
      {
        boefjeMetaId: job.id,
        buffered: true,
        receive: async (hold) => [
          { name: 'file', fileName: null, tags: [], content: await hold([Buffer.from(content)]) },
        ],
      },
    )
    const [[, id = ''] = []] = answer
    return id
  }
  const pathOf = (address: string): string =>
    join(dataDir, blobFolder(ORGANIZATION, address), address)
  const candidateOf = (address: string): SweepCandidate => ({
    file: { path: join(blobFolder(ORGANIZATION, address), address), form: 'blob', address },
    organizationFolder: ORGANIZATION,
    organization: ORGANIZATION,
  })
  const age = async (path: string): Promise<void> => {
    const then = new Date(Date.now() - 2 * GRACE_SECONDS * 1000)
    await utimes(path, then, then)
  }
  const sweepFile = (address: string, ports: Ports = { files, rows }): Promise<boolean> =>
    sweepBlobFile(ports, candidateOf(address), oldest())

  return {
    dataDir,
    meta,
    rows,
    files,
    plain,
    sealed,
    newJob: async () => {
      const job = boefjeMeta({ organization: ORGANIZATION })
      await meta.insertBoefjeMeta(job)
      return job
    },
    upload,
    read: async (id) => {
      const found = await meta.findRawFile(id)
      if (!found) throw new Error('the raw file has no row')
      const pieces: Uint8Array[] = []
      for await (const piece of await plain.get(found.blob)) pieces.push(piece)
      return Buffer.concat(pieces).toString()
    },
    pathOf,
    age,
    leaveOrphan: async (content) => {
      const address = createHash('sha512').update(content).digest('hex')
      await mkdir(dirname(pathOf(address)), { recursive: true })
      await writeFile(pathOf(address), content)
      await age(pathOf(address))
      return address
    },
    leaveUnreferenced: async (job, content) => {
      const id = await upload(sealed, job, content)
      const found = await meta.findRawFile(id)
      if (!found) throw new Error('what was uploaded has no row')
      await database.pool.query('DELETE FROM raw_file WHERE id = $1', [id])
      await database.pool.query(
        `UPDATE blob SET created_at = now() - interval '3 days' WHERE address = $1`,
        [found.blob.address],
      )
      await age(pathOf(found.blob.address))
      return found.blob
    },
    candidateOf,
    sweepFile,
    sweepBlob: async ({ address }) => {
      const { rows: found } = await database.pool.query<{ id: number }>(
        'SELECT id::float8 AS id FROM blob WHERE address = $1',
        [address],
      )
      for (const { id } of found) await rows.removeBlobRow(id, GRACE_SECONDS)
      return sweepFile(address)
    },
    close: async () => {
      await database.close()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}
