/** The lists of the HTTP application over rows that are made up, without a database or a disk. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createApp } from '../../src/api/app.js'
import { createAuth } from '../../src/api/auth.js'
import { jobRoutes } from '../../src/api/routes/jobs.js'
import { rawListRoutes } from '../../src/api/routes/raw-lists.js'
import type { JobKey } from '../../src/domain/cursor.js'
import type { Listed, MetaRepository, Page } from '../../src/domain/meta-repository.js'
import type { BoefjeMeta, StoredRawFile } from '../../src/domain/models.js'
import { createAnswerMemory } from '../../src/flows/answer-room.js'
import { boefjeMeta } from './rows.js'

const idOf = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`

/** @param rows of each list; all of one job, whose texts may be changed */
export function listService(rows: number, memory = createAnswerMemory()) {
  const job: { -readonly [K in keyof BoefjeMeta]: BoefjeMeta[K] } = { ...boefjeMeta() }
  /** Calls so far, and milliseconds that each takes. */
  const counts = { slice: 0, get: 0 }
  const delays = { slice: 0, get: 0 }
  /** Slices that can be read. */
  const good = { slices: Infinity }
  const errors: object[] = []
  const statuses: number[] = []

  const fileOf = (n: number): StoredRawFile => ({
    rawFile: {
      id: idOf(n),
      boefjeMeta: { ...job },
      mimeTypes: ['text/plain'],
      secureHash: null,
      signingProviderUrl: null,
      hashRetrievalLink: null,
    },
    fileName: null,
    blob: {
      organization: 'o',
      contentDigest: `sha512:${'0'.repeat(128)}`,
      size: 1,
      address: String(n),
      storedSize: 1,
      middleware: 'IDENTITY',
      sealedKey: null,
    },
  })
  const slice = async <Row>(
    rowOf: (n: number) => Row,
    { limit, offset = 0 }: { limit: number; offset?: number },
    after: number,
  ): Promise<{ rows: Row[]; last: number | undefined }> => {
    counts.slice += 1
    await sleep(delays.slice)
    if (counts.slice > good.slices) throw new Error('a slice that cannot be read')
    const begin = after + 1 + offset
    const end = Math.min(rows, begin + limit)
    const found = Array.from({ length: Math.max(0, end - begin) }, (_, i) => rowOf(begin + i))
    return { rows: found, last: end < rows ? end - 1 : undefined }
  }
  const numbered = async <Row>(
    rowOf: (n: number) => Row,
    page: { limit: number; after?: number | undefined },
  ): Promise<Listed<Row, number>> => {
    const { rows: found, last } = await slice(rowOf, page, page.after ?? -1)
    return { rows: found, next: last, length: found.length * job.arguments.length }
  }
  const numberOf = (key: JobKey | undefined): number => (key ? Number(key.id.slice(-12)) : -1)
  const ofJobs = async <Row>(
    rowOf: (n: number) => Row,
    page: Page<JobKey>,
  ): Promise<Listed<Row, JobKey>> => {
    const { rows: found, last } = await slice(rowOf, page, numberOf(page.after))
    return {
      rows: found,
      next: last === undefined ? undefined : { startedAt: null, id: idOf(last) },
      length: found.length * job.arguments.length,
    }
  }
  const endOfJobs = async () => ({ last: { startedAt: null, id: idOf(rows - 1) }, more: false })
  const meta: Partial<MetaRepository> = {
    listRawFiles: (_filter, page) => numbered(fileOf, page),
    listContents: (_filter, page) => numbered(fileOf, page),
    endOfRawFiles: async () => ({ last: rows - 1, more: false }),
    listBoefjeMeta: (_filter, page) => ofJobs((n) => ({ ...job, id: idOf(n) }), page),
    endOfBoefjeMeta: endOfJobs,
    listNormalizerMeta: (_filter, page) =>
      ofJobs(
        (n) => ({
          id: idOf(n),
          startedAt: job.startedAt,
          endedAt: job.endedAt,
          normalizer: { id: 'n', version: null },
          rawFile: fileOf(n).rawFile,
        }),
        page,
      ),
    endOfNormalizerMeta: endOfJobs,
  }
  const ports = {
    // The others are not called.
    meta: meta as MetaRepository,
    raw: {
      get: async () => {
        counts.get += 1
        await sleep(delays.get)
        return (async function* () {
          yield Buffer.from('x')
        })()
      },
    },
    countBlobError: () => undefined,
  }
  const ignore = (): void => undefined
  const log = {
    debug: ignore,
    info: ignore,
    warn: (fields: object) => void errors.push(fields),
    error: (fields: object) => void errors.push(fields),
  }
  const auth = createAuth({
    username: 'u',
    password: 'p',
    secret: 's',
    tokenLifetimeMs: 60_000,
    logInsPerMinute: 1,
  })
  const app = createApp({
    routes: [...jobRoutes(ports.meta, memory), ...rawListRoutes(ports, memory)],
    auth: { ...auth, requireBearer: async () => undefined },
    idleMs: 60_000,
    log,
    observe: ({ status }) => void statuses.push(status),
  })
  return { app, log, job, counts, delays, good, errors, statuses }
}
