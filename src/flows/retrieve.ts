import { BytesError } from '../domain/errors.js'
import type { MetaRepository } from '../domain/meta-repository.js'
import type { StoredRawFile, Uuid } from '../domain/models.js'
import type { RawRepository } from '../domain/ports.js'

export interface RetrievePorts {
  readonly meta: MetaRepository
  readonly raw: RawRepository
  /** Counts blobs that could not be read, for the metrics. */
  readonly countBlobError: (code: string) => void
}

/** @throws BytesError `raw_file_not_found` */
export async function findRawFile(ports: RetrievePorts, id: Uuid): Promise<StoredRawFile> {
  const found = await ports.meta.findRawFile(id)
  if (!found) throw new BytesError('raw_file_not_found', 'No raw data found')
  return found
}

/**
 * Opens the content of a raw file. The size of what is stored has been checked then.
 * @throws BytesError `blob_missing` or `blob_damaged`, with the raw file's id in the message
 */
export async function openContent(
  ports: RetrievePorts,
  { rawFile, blob }: StoredRawFile,
): Promise<AsyncIterable<Uint8Array>> {
  try {
    return await ports.raw.get(blob)
  } catch (error) {
    if (!(error instanceof BytesError)) throw error
    ports.countBlobError(error.code)
    throw new BytesError(error.code, `Raw file ${rawFile.id} cannot be read: ${error.message}`, {
      cause: error,
    })
  }
}

/** The content of a raw file in one piece. @throws as `openContent` */
export async function readContent(ports: RetrievePorts, file: StoredRawFile): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of await openContent(ports, file)) chunks.push(chunk)
  return Buffer.concat(chunks)
}
