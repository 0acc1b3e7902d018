import type { Readable } from 'node:stream'
import { DataStore, ERRORS, Upload } from '@tus/server'
import { BytesError } from '../../domain/errors.js'
import type { ResumableUploads } from '../../flows/resumable.js'
import { hashed } from '../body-digest.js'
import { currentExchange, type Exchange } from './exchange.js'

/** Resumable uploads as the package's handlers want them. */
export class UploadDataStore extends DataStore {
  override extensions = ['creation', 'creation-with-upload', 'expiration', 'termination']
  readonly #uploads: ResumableUploads

  constructor(uploads: ResumableUploads) {
    super()
    this.#uploads = uploads
  }

  override async create(upload: Upload): Promise<Upload> {
    const exchange = currentExchange()
    const { description } = exchange
    if (!description || upload.size === undefined) throw ERRORS.INVALID_LENGTH
    await this.#uploads.create({ id: upload.id, size: upload.size, ...description })
    exchange.created = upload.id
    return upload
  }

  override async getUpload(id: string): Promise<Upload> {
    const found = await this.#uploads.find(id)
    if (!found) throw ERRORS.FILE_NOT_FOUND
    currentExchange().found = found
    const { size, offset, createdAt } = found
    return new Upload({ id, size, offset, creation_date: new Date(createdAt).toISOString() })
  }

  override write(chunk: Readable, id: string, offset: number): Promise<number> {
    const exchange = currentExchange()
    const { pieces, confirm } = hashedIfAsked(chunk, exchange)
    const written = this.#uploads.append(id, offset, pieces, confirm)
    exchange.writing = written.then(
      () => undefined,
      (error: unknown) => {
        if (error instanceof BytesError) exchange.storeFailure = error
      },
    )
    return written
  }

  override async remove(id: string): Promise<void> {
    if (!(await this.#uploads.remove(id))) throw ERRORS.FILE_NOT_FOUND
  }

  override getExpiration(): number {
    return this.#uploads.lifetimeMs
  }
}

function hashedIfAsked(chunk: Readable, { digests }: Pick<Exchange, 'digests'>) {
  if (digests.length > 0) return hashed<Uint8Array>(chunk, digests)
  return { pieces: chunk, confirm: undefined }
}
