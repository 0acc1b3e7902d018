/** An upload never loses its file to a sweep that finds an equal one without a row at that moment. */
import { createHash, randomInt, randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { AuditFiles, AuditRows } from '../../src/domain/audit.js'
import type { MetaRepository } from '../../src/domain/meta-repository.js'
import type { Blob, BoefjeMeta } from '../../src/domain/models.js'
import type { FileMiddleware, RawRepository } from '../../src/domain/ports.js'
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
import { testDatabase } from '../support/database.js'
import { isFull, reportTried } from '../support/fault-report.js'
import { silentLog } from '../support/postgres.js'
import { boefjeMeta } from '../support/rows.js'

const ROUNDS = isFull ? 10_000 : 200
const AT_ONCE = 16
const GRACE_SECONDS = 24 * 60 * 60
const ORGANIZATION = 'org'

let database: Awaited<ReturnType<typeof testDatabase>>
let meta: MetaRepository
let rows: AuditRows
let files: AuditFiles
let plain: RawRepository
let sealed: RawRepository
let dataDir: string

beforeAll(async () => {
  database = await testDatabase()
  dataDir = await mkdtemp(join(tmpdir(), 'bytes-test-sweep-'))
  meta = createMetaRepository(database)
  rows = createAuditRows(database.pool)
  files = createAuditFiles(dataDir)
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
  plain = await open(identity)
  sealed = await open(box)
})

afterAll(async () => {
  await database?.close()
  if (dataDir) await rm(dataDir, { recursive: true, force: true })
})

async function newJob(): Promise<BoefjeMeta> {
  const job = boefjeMeta({ organization: ORGANIZATION })
  await meta.insertBoefjeMeta(job)
  return job
}

/** Uploads a content; resolves when it is acknowledged, to the raw file's id. */
async function upload(raw: RawRepository, job: BoefjeMeta, content: string): Promise<string> {
  const answer = await ingest(
    {
      meta,
      raw,
      log: silentLog,
      hashes: { store: async () => 'link' },
      algorithm: 'sha512',
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

/** What a client gets of a raw file. @throws when it cannot be read */
async function read(id: string): Promise<string> {
  const found = await meta.findRawFile(id)
  if (!found) throw new Error('the raw file has no row')
  const pieces: Uint8Array[] = []
  for await (const piece of await plain.get(found.blob)) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}

const pathOf = (address: string): string =>
  join(dataDir, blobFolder(ORGANIZATION, address), address)

function candidateOf(address: string): SweepCandidate {
  return {
    file: { path: join(blobFolder(ORGANIZATION, address), address), form: 'blob', address },
    organizationFolder: ORGANIZATION,
    organization: ORGANIZATION,
  }
}

async function age(path: string): Promise<void> {
  const then = new Date(Date.now() - 2 * GRACE_SECONDS * 1000)
  await utimes(path, then, then)
}

/** Leaves an old file at the address of a content, which no row has. @returns the address */
async function leaveOrphan(content: string): Promise<string> {
  const address = createHash('sha512').update(content).digest('hex')
  await mkdir(dirname(pathOf(address)), { recursive: true })
  await writeFile(pathOf(address), content)
  await age(pathOf(address))
  return address
}

/** Leaves a sealed blob whose raw file was deleted long ago. */
async function leaveUnreferenced(job: BoefjeMeta, content: string): Promise<Blob> {
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
}

const oldest = (): number => Date.now() - GRACE_SECONDS * 1000
const sweepFile = (address: string, ports = { files, rows }): Promise<boolean> =>
  sweepBlobFile(ports, candidateOf(address), oldest())

/** As an audit does: first the row, then the file. */
async function sweepBlob({ address }: Pick<Blob, 'address'>): Promise<boolean> {
  const { rows: found } = await database.pool.query<{ id: number }>(
    'SELECT id::float8 AS id FROM blob WHERE address = $1',
    [address],
  )
  for (const { id } of found) await rows.removeBlobRow(id, GRACE_SECONDS)
  return sweepFile(address)
}

/** What the last uploads took, in milliseconds; more or less, as the machine is busy or not. */
let uploadMs = 8

/** At any moment of an upload that begins now, or soon before or after it. */
const aMoment = (): Promise<void> => sleep(randomInt(1 + Math.ceil(uploadMs * 1.5)))

async function rounds(count: number, round: (number: number) => Promise<void>): Promise<string[]> {
  const violations: string[] = []
  let begun = 0
  const work = async (): Promise<void> => {
    while (begun < count) {
      const number = ++begun
      await round(number).catch((error: unknown) => violations.push(`round ${number}: ${error}`))
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return violations
}

describe('a sweep and an upload of the same content', () => {
  it('at any moments leave what was acknowledged, readable all the time', async () => {
    let removed = 0
    const violations = await rounds(ROUNDS, async (number) => {
      const content = `content ${number}`
      const address = await leaveOrphan(content)
      const uploading = (async () => {
        const job = await newJob()
        await sleep(randomInt(1 + Math.ceil(uploadMs / 2)))
        const begun = performance.now()
        const id = await upload(plain, job, content)
        uploadMs = 0.9 * uploadMs + 0.1 * (performance.now() - begun)
        for (let i = 0; i < 3; i++) expect(await read(id)).toBe(content)
        return id
      })()
      const sweeping = [1, 2].map(async () => {
        await aMoment()
        if (await sweepFile(address)) removed += 1
      })
      const [id] = await Promise.all([uploading, ...sweeping])
      expect(await read(id)).toBe(content)
      expect(await files.sizeOf({ organization: ORGANIZATION, address, storedSize: 0 })).toBe(
        content.length,
      )
    })
    reportTried('sweep', 'upload over a file without a row', {
      tried: ROUNDS,
      violations: violations.length,
    })
    expect(violations).toEqual([])
    expect(removed).toBeGreaterThan(0)
  }, 1_200_000)

  it('keep a blob that the upload shares, and whose row is swept', async () => {
    const count = Math.ceil(ROUNDS / 3)
    let removed = 0
    const violations = await rounds(count, async (number) => {
      const content = `sealed content ${number}`
      const blob = await leaveUnreferenced(await newJob(), content)
      const job = await newJob()
      const sweeping = aMoment().then(() => sweepBlob(blob))
      const id = await aMoment().then(() => upload(sealed, job, content))
      if (await sweeping) removed += 1
      expect(await read(id)).toBe(content)
    })
    reportTried('sweep', 'upload that shares a blob whose row is swept', {
      tried: count,
      violations: violations.length,
    })
    expect(violations).toEqual([])
    expect(removed).toBeGreaterThan(0)
  }, 1_200_000)

  it('leave no file behind that was set aside', async () => {
    const names = await readdir(join(dataDir, 'blobs'), { recursive: true })
    expect(names.filter((name) => name.endsWith('.swept'))).toEqual([])
    expect(names.length).toBeGreaterThan(ROUNDS)
  })
})

describe('a whole sweep', () => {
  it('between the publishing and the commit of an upload leaves its file', async () => {
    const content = `published ${randomUUID()}`
    const address = await leaveOrphan(content)
    let removed = true
    const raw: RawRepository = {
      ...plain,
      publish: async (organization, staged) => {
        const published = await plain.publish(organization, staged)
        removed = await sweepFile(address)
        return published
      },
    }
    const id = await upload(raw, await newJob(), content)
    expect(removed).toBe(false)
    expect(await read(id)).toBe(content)
  })

  it('after an upload has found an equal blob leaves its file', async () => {
    const content = `shared ${randomUUID()}`
    const blob = await leaveUnreferenced(await newJob(), content)
    let removed = true
    const raw: RawRepository = {
      ...sealed,
      intact: async (found) => {
        const whole = await sealed.intact(found)
        removed = await sweepBlob(found)
        return whole
      },
    }
    const id = await upload(raw, await newJob(), content)
    expect(removed).toBe(false)
    expect(await read(id)).toBe(content)
    expect((await meta.findRawFile(id))?.blob.address).toBe(blob.address)
  })
})

/** The steps of a sweep, at each of which something else may happen. */
const STEPS = ['setAside', 'changedAt', 'rowsAt', 'discard', 'putBack'] as const

describe('between two steps of a sweep', () => {
  type When = 'before' | 'after'
  const interruptions = { tried: 0, right: 0 }

  afterAll(() => {
    const { tried, right } = interruptions
    reportTried('sweep', 'upload or end between two steps', { tried, violations: tried - right })
  })

  const cases = STEPS.flatMap((step) => (['before', 'after'] as const).map((when) => [when, step]))

  /** The ports, with something that happens once, before or after a step. */
  function interrupted(step: string, when: When, event: () => Promise<void>) {
    let happened = false
    const wrap = <Port extends object>(port: Port): Port =>
      new Proxy(port, {
        get: (target, name, receiver) => {
          const method: unknown = Reflect.get(target, name, receiver)
          if (name !== step || typeof method !== 'function') return method
          return async (...args: unknown[]) => {
            const now = !happened
            happened = true
            if (now && when === 'before') await event()
            const result: unknown = await method.apply(target, args)
            if (now && when === 'after') await event()
            return result
          }
        },
      })
    return { ports: { files: wrap(files), rows: wrap(rows) }, happened: () => happened }
  }

  it.each(cases)('an upload %s %s keeps its file', async (when, step) => {
    interruptions.tried += 1
    const content = `${when} ${step} ${randomUUID()}`
    const address = await leaveOrphan(content)
    let id = ''
    const { ports, happened } = interrupted(step as string, when as When, async () => {
      id = await upload(plain, await newJob(), content)
      expect(await read(id)).toBe(content)
    })
    await sweepFile(address, ports)
    // What is not wanted is discarded, and not put back.
    if (step === 'putBack') expect(happened()).toBe(false)
    else expect(await read(id)).toBe(content)
    const left = await readdir(dirname(pathOf(address)))
    const here = left.filter((name) => name.startsWith(address))
    expect(here).toEqual(step === 'putBack' ? [] : [basename(pathOf(address))])
    interruptions.right += 1
  })

  it.each(cases)('a sweep that is ended %s %s loses nothing that has a row', async (when, step) => {
    interruptions.tried += 1
    const content = `${when} ${step} ${randomUUID()}`
    const id = await upload(plain, await newJob(), content)
    const address = createHash('sha512').update(content).digest('hex')
    await age(pathOf(address))
    let kill: (how: string) => void = () => undefined
    const killed = new Promise<string>((resolve) => {
      kill = resolve
    })
    const { ports, happened } = interrupted(step as string, when as When, () => {
      kill('killed')
      // Nothing of what follows happens.
      return new Promise(() => undefined)
    })
    const ended = Promise.race([sweepFile(address, ports), killed])
    expect(await ended).toBe(step === 'discard' ? false : 'killed')
    expect(happened()).toBe(step !== 'discard')
    expect(await read(id)).toBe(content)
    // The next one puts in order what is left.
    const folder = blobFolder(ORGANIZATION, address)
    for (const name of await readdir(join(dataDir, folder))) {
      if (!name.startsWith(`${address}.`)) continue
      const file = { path: join(folder, name), form: 'aside', address } as const
      await sweepBlobFile({ files, rows }, { ...candidateOf(address), file }, oldest())
    }
    expect(await read(id)).toBe(content)
    const names = (await readdir(join(dataDir, folder))).filter((n) => n.startsWith(address))
    expect(names).toEqual([address])
    interruptions.right += 1
  })
})
