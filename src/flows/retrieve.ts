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
 * Opens the content of a raw file. The size of what is stored has been checked then. The caller
 * must consume or `return()` it; what fails while it is read is told as what fails here.
 * @throws BytesError `blob_missing`, `blob_damaged` or `storage_unavailable`, with the raw file's
 *   id in the message
 */
export async function openContent(
  ports: RetrievePorts,
  { rawFile, blob }: StoredRawFile,
): Promise<AsyncIterable<Uint8Array>> {
  const told = async <T>(action: () => Promise<T>): Promise<T> => {
    try {
      return await action()
    } catch (error) {
      if (!(error instanceof BytesError)) throw error
      ports.countBlobError(error.code)
      throw new BytesError(error.code, `Raw file ${rawFile.id} cannot be read: ${error.message}`, {
        cause: error,
      })
    }
  }
  const content = await told(() => ports.raw.get(blob))
  return {
    [Symbol.asyncIterator]: () => {
      const pieces = content[Symbol.asyncIterator]()
      return {
        next: () => told(() => pieces.next()),
        return: async () => {
          await pieces.return?.()
          return { done: true, value: undefined }
        },
      }
    },
  }
}

/** Opens each content and closes it again, to find out before an answer begins. @throws as `openContent` */
export async function checkContents(
  ports: RetrievePorts,
  files: readonly StoredRawFile[],
): Promise<void> {
  for (const file of files) {
    await (await openContent(ports, file))[Symbol.asyncIterator]().return?.()
  }
}

/** The content of a raw file in one piece. @throws as `openContent` */
export async function readContent(
  ports: RetrievePorts,
  file: StoredRawFile,
): Promise<Buffer<ArrayBuffer>> {
  const chunks: Uint8Array[] = []
  for await (const chunk of await openContent(ports, file)) chunks.push(chunk)
  return Buffer.concat(chunks)
}
