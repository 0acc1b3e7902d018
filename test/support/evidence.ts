/** Raw files in memory with real timestamps, for tests of verification and evidence. */
import { execFile } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { BytesError, type ErrorCode } from '../../src/domain/errors.js'
import { pythonTimestamp } from '../../src/domain/instant.js'
import type { MetaRepository } from '../../src/domain/meta-repository.js'
import type { BoefjeMeta, RawFile, StoredRawFile } from '../../src/domain/models.js'
import type { EvidencePorts } from '../../src/flows/evidence.js'
import { buildHashTree, leafOf } from '../../src/hashing/evidence-record/hash-tree.js'
import { encodeReducedHashTree } from '../../src/hashing/evidence-record/record.js'
import { createInMemoryHashRepository } from '../../src/hashing/in-memory.js'
import { parseAnchors } from '../../src/hashing/rfc3161/anchors.js'
import { recordLink, tokenLink } from '../../src/hashing/rfc3161/links.js'
import { createTimestampVerifier } from '../../src/hashing/rfc3161/verifier.js'
import { memoryEvidenceRecords } from './evidence-records.js'
import { boefjeMeta } from './rows.js'

const run = promisify(execFile)

/** A TimeStampToken of an authority, asked for by `openssl`. @param imprint SHA-512 */
export async function stamp(url: string, imprint: Uint8Array): Promise<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), 'bytes-test-stamp-'))
  const [query, reply, token] = ['q', 'r', 't'].map((name) => join(folder, name))
  if (!query || !reply || !token) throw new Error('no paths')
  try {
    const digest = Buffer.from(imprint).toString('hex')
    await run('openssl', ['ts', '-query', '-digest', digest, '-sha512', '-cert', '-out', query])
    const answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/timestamp-query' },
      body: await readFile(query),
    })
    await writeFile(reply, Buffer.from(await answer.arrayBuffer()))
    await run('openssl', ['ts', '-reply', '-in', reply, '-token_out', '-out', token])
    return await readFile(token)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

export interface NewFile {
  readonly content?: Uint8Array
  readonly algorithm?: 'sha512' | 'sha224'
  readonly job?: Partial<BoefjeMeta>
  /** What is recorded wrongly, or not at all. */
  readonly rawFile?: Partial<RawFile>
}

export interface MemoryStore {
  readonly ports: EvidencePorts
  /** Contents by raw file id, to be changed. */
  readonly contents: Map<string, Uint8Array>
  /** What the storage answers in place of a content. `damaged` comes after its first pieces. */
  readonly faults: Map<string, ErrorCode>
  readonly pending: Set<string>
  /** Codes of the blobs that could not be read. */
  readonly counted: string[]
  /** Contents that are open now. */
  open(): number
  add(file?: NewFile): StoredRawFile
  /** Gives a raw file a retrieval link. */
  link(file: StoredRawFile, link: string | null): StoredRawFile
  /** A timestamp for one raw file. */
  stamp(file: StoredRawFile): Promise<StoredRawFile>
  /** One timestamp for all of them. */
  stampAll(files: readonly StoredRawFile[]): Promise<StoredRawFile[]>
  remove(file: StoredRawFile): void
}

/** @param anchors PEM */
export function memoryStore(anchors: string, authorityUrl: string): MemoryStore {
  const files = new Map<string, StoredRawFile>()
  const contents = new Map<string, Uint8Array>()
  const faults = new Map<string, ErrorCode>()
  const pending = new Set<string>()
  const counted: string[] = []
  const records = memoryEvidenceRecords()
  const verifier = createTimestampVerifier({ anchors: parseAnchors(anchors), records })
  let open = 0

  async function* pieces(id: string): AsyncGenerator<Uint8Array> {
    open += 1
    try {
      const content = contents.get(id) ?? new Uint8Array()
      for (let at = 0; at < content.length; at += 1000) yield content.subarray(at, at + 1000)
      if (faults.get(id) === 'blob_damaged') throw new BytesError('blob_damaged', 'it is damaged')
    } finally {
      open -= 1
    }
  }

  const meta: Partial<MetaRepository> = {
    findRawFile: async (id) => files.get(id),
    findBlob: async () => undefined,
    countByOrganization: async () => [
      { organization: 'org', rawFiles: files.size, storedBytes: 0, savedBytes: 0 },
    ],
    listRawFiles: async (_filter, { limit, after = 0 }) => {
      const rows = [...files.values()].slice(after, after + limit)
      return { rows, next: after + limit < files.size ? after + limit : undefined, length: 0 }
    },
  }
  const ports: EvidencePorts = {
    // The others are not called.
    meta: meta as MetaRepository,
    raw: {
      get: async ({ address }) => {
        const fault = faults.get(address)
        if (fault !== undefined && fault !== 'blob_damaged') throw new BytesError(fault, 'a fault')
        return pieces(address)
      },
    },
    countBlobError: (code) => void counted.push(code),
    verifiers: [createInMemoryHashRepository(), verifier],
    pending: { isPending: async (id) => pending.has(id) },
    proof: verifier.proof,
    records,
  }

  const put = (file: StoredRawFile): StoredRawFile => {
    files.set(file.rawFile.id, file)
    return file
  }
  const link = (file: StoredRawFile, hashRetrievalLink: string | null): StoredRawFile =>
    put({ ...file, rawFile: { ...file.rawFile, hashRetrievalLink } })
  const hashOf = ({ rawFile }: StoredRawFile): string => rawFile.secureHash ?? ''

  return {
    ports,
    contents,
    faults,
    pending,
    counted,
    open: () => open,
    add: ({ content = Buffer.from(randomUUID()), algorithm = 'sha512', job, rawFile } = {}) => {
      const id = randomUUID()
      const meta = boefjeMeta(job)
      contents.set(id, content)
      const time = pythonTimestamp(meta.endedAt)
      const secure = createHash(algorithm).update(content).update(time).digest('hex')
      return put({
        rawFile: {
          id,
          boefjeMeta: meta,
          mimeTypes: ['text/plain'],
          secureHash: `${algorithm}:${secure}`,
          signingProviderUrl: null,
          hashRetrievalLink: null,
          ...rawFile,
        },
        fileName: null,
        blob: {
          organization: meta.organization,
          contentDigest: `sha512:${createHash('sha512').update(content).digest('hex')}`,
          size: content.length,
          // By which the contents are found here.
          address: id,
          storedSize: content.length,
          middleware: 'IDENTITY',
          sealedKey: null,
        },
      })
    },
    link,
    stamp: async (file) => link(file, tokenLink(await stamp(authorityUrl, leafOf(hashOf(file))))),
    stampAll: async (all) => {
      const tree = buildHashTree(all.map((file) => leafOf(hashOf(file))))
      const token = await stamp(authorityUrl, tree.root)
      const trees = all.map((_, leaf) => encodeReducedHashTree(tree.reduced(leaf)))
      const ids = await records.save(token, trees)
      return all.map((file, i) => link(file, recordLink(ids[i] ?? '')))
    },
    remove: (file) => void files.delete(file.rawFile.id),
  }
}
