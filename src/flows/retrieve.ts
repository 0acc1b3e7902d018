import { BytesError, type ErrorCode } from '../domain/errors.js'
import type { MetaRepository } from '../domain/meta-repository.js'
import type { Blob, ContentDigest, StoredContent, StoredRawFile, Uuid } from '../domain/models.js'
import type { ByteRange, RawRepository } from '../domain/ports.js'

export interface RetrievePorts {
  readonly meta: MetaRepository
  readonly raw: Pick<RawRepository, 'get'>
  /** Counts blobs that could not be read, for the metrics. */
  readonly countBlobError: (code: string) => void
}

export type OpenPorts = Pick<RetrievePorts, 'raw' | 'countBlobError'> & {
  readonly meta: Pick<MetaRepository, 'findBlob'>
}

/** What is wrong with a blob that an upload of the same content replaces. */
const REPLACEABLE: readonly ErrorCode[] = ['blob_missing', 'blob_damaged', 'key_missing']

/** @throws BytesError `raw_file_not_found` */
export async function findRawFile(ports: RetrievePorts, id: Uuid): Promise<StoredRawFile> {
  const found = await ports.meta.findRawFile(id)
  if (!found) throw new BytesError('raw_file_not_found', 'No raw data found')
  return found
}

/**
 * The raw file without the long texts of its job, which need not be in memory while its content is
 * read.
 * @throws BytesError `raw_file_not_found`
 */
export async function findContent(ports: RetrievePorts, id: Uuid): Promise<StoredRawFile> {
  return withoutTexts(await findRawFile(ports, id))
}

/** Without the long texts of its job. */
export function withoutTexts({ rawFile, ...rest }: StoredRawFile): StoredRawFile {
  const boefjeMeta = { ...rawFile.boefjeMeta, arguments: '{}', environment: null }
  return { ...rest, rawFile: { ...rawFile, boefjeMeta } }
}

/**
 * The blob of a content that at least one raw file of the organization has.
 * @throws BytesError `blob_not_found`
 */
export async function findBlob(
  ports: RetrievePorts,
  organization: string,
  contentDigest: ContentDigest,
): Promise<Blob> {
  const found = await ports.meta.findBlob(organization, contentDigest)
  if (!found) {
    throw new BytesError('blob_not_found', 'No raw file of the organization has this content')
  }
  return found
}

/**
 * Opens the content of a raw file or a blob, or a range of it. The size of what is stored has been
 * checked then; a whole content is checked against its digest before its last piece comes. The
 * caller must consume or `return()` it; what fails while it is read is told as what fails here.
 * @param range lies inside the content
 * @throws BytesError `blob_missing`, `blob_damaged`, `key_missing` or `storage_unavailable`, with the
 *   raw file's id or the blob's digest in the message; `database_unavailable`
 */
export async function openContent(
  ports: OpenPorts,
  file: StoredContent | Blob,
  range?: ByteRange,
): Promise<AsyncIterable<Uint8Array>> {
  const [name, blob] =
    'blob' in file
      ? [`Raw file ${file.rawFile.id}`, file.blob]
      : [`Blob ${file.contentDigest}`, file]
  const tell = (error: unknown): never => {
    if (!(error instanceof BytesError)) throw error
    // Nothing is wrong with a blob whose key is kept elsewhere.
    if (error.code !== 'key_missing') ports.countBlobError(error.code)
    throw new BytesError(error.code, `${name} cannot be read: ${error.message}`, { cause: error })
  }
  const content = await ports.raw.get(blob, range).catch(async (error: unknown) => {
    const now = await replacementOf(ports, blob, error)
    return now ? ports.raw.get(now, range).catch(tell) : tell(error)
  })
  return {
    [Symbol.asyncIterator]: () => {
      const pieces = content[Symbol.asyncIterator]()
      return {
        next: () => pieces.next().catch(tell),
        return: async () => {
          await pieces.return?.()
          return { done: true, value: undefined }
        },
      }
    },
  }
}

/** An upload that heals a blob takes it away from those who have read its old address. */
async function replacementOf(
  { meta }: OpenPorts,
  { organization, contentDigest, address }: Blob,
  error: unknown,
): Promise<Blob | undefined> {
  if (!(error instanceof BytesError) || !REPLACEABLE.includes(error.code)) return undefined
  const now = await meta.findBlob(organization, contentDigest)
  return now?.address === address ? undefined : now
}

/** Opens each content and closes it again, to find out before an answer begins. @throws as `openContent` */
export async function checkContents(
  ports: RetrievePorts,
  files: Iterable<StoredContent | Blob> | AsyncIterable<StoredContent>,
): Promise<void> {
  for await (const file of files) {
    await (await openContent(ports, file))[Symbol.asyncIterator]().return?.()
  }
}
