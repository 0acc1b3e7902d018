/** Columns as the queries select them, and rows to domain objects. */
import { sql } from 'drizzle-orm'
import { instantFromPostgres } from '../domain/instant.js'
import type { Blob, BoefjeMeta, MiddlewareName, RawFile, StoredRawFile } from '../domain/models.js'
import { blob, boefjeMeta, rawFile, signingProvider } from './schema.js'

/** JSON columns are selected as text: parsing them would lose digits and key order. */
export const boefjeMetaColumns = {
  id: boefjeMeta.id,
  boefjeId: boefjeMeta.boefjeId,
  boefjeVersion: boefjeMeta.boefjeVersion,
  organization: boefjeMeta.organization,
  arguments: sql<string>`${boefjeMeta.arguments}::text`,
  startedAt: sql<string | null>`${boefjeMeta.startedAt}::text`,
  endedAt: sql<string | null>`${boefjeMeta.endedAt}::text`,
  inputOoi: boefjeMeta.inputOoi,
  environment: sql<string | null>`${boefjeMeta.environment}::text`,
  runnableHash: boefjeMeta.runnableHash,
}

export const rawFileColumns = {
  id: rawFile.id,
  mimeTypes: rawFile.mimeTypes,
  secureHash: rawFile.secureHash,
  hashRetrievalLink: rawFile.hashRetrievalLink,
}

export const blobColumns = {
  organization: blob.organization,
  contentDigest: blob.contentDigest,
  size: blob.size,
  address: blob.address,
  storedSize: blob.storedSize,
  middleware: blob.middleware,
  keyId: blob.keyId,
  sealedKey: blob.sealedKey,
}

export interface BoefjeMetaRow {
  readonly id: string
  readonly boefjeId: string
  readonly boefjeVersion: string | null
  readonly organization: string
  readonly arguments: string
  readonly startedAt: string | null
  readonly endedAt: string | null
  readonly inputOoi: string | null
  readonly environment: string | null
  readonly runnableHash: string | null
}

/** A time column may be null in a table that another version of the service filled: year 1 then. */
export function instantOf(column: string | null): string {
  return column === null ? '0001-01-01T00:00:00Z' : instantFromPostgres(column)
}

export function toBoefjeMeta(row: BoefjeMetaRow): BoefjeMeta {
  return {
    id: row.id,
    startedAt: instantOf(row.startedAt),
    endedAt: instantOf(row.endedAt),
    boefje: { id: row.boefjeId, version: row.boefjeVersion },
    inputOoi: row.inputOoi,
    arguments: row.arguments,
    organization: row.organization,
    runnableHash: row.runnableHash,
    environment: row.environment,
  }
}

export interface RawFileRow {
  readonly job: BoefjeMetaRow
  readonly raw: {
    readonly id: string
    readonly mimeTypes: string[] | null
    readonly secureHash: string | null
    readonly hashRetrievalLink: string | null
  }
  readonly signingProviderUrl: string | null
}

export function toRawFile(row: RawFileRow): RawFile {
  return {
    id: row.raw.id,
    boefjeMeta: toBoefjeMeta(row.job),
    mimeTypes: row.raw.mimeTypes ?? [],
    secureHash: row.raw.secureHash,
    signingProviderUrl: row.signingProviderUrl,
    hashRetrievalLink: row.raw.hashRetrievalLink,
  }
}

export interface StoredRawFileRow extends RawFileRow {
  readonly fileName: string | null
  readonly blob: {
    readonly organization: string
    readonly contentDigest: string
    readonly size: number
    readonly address: string
    readonly storedSize: number
    readonly middleware: string
    readonly keyId: string | null
    readonly sealedKey: Uint8Array | null
  }
}

export function toStoredRawFile(row: StoredRawFileRow): StoredRawFile {
  return { rawFile: toRawFile(row), fileName: row.fileName, blob: toBlob(row.blob) }
}

export function toBlob(row: StoredRawFileRow['blob']): Blob {
  // The column is written from this type alone; a name that is not known fails when it is read.
  const { keyId, sealedKey, ...rest } = row
  return {
    ...rest,
    middleware: row.middleware as MiddlewareName,
    sealedKey: keyId === null || sealedKey === null ? null : { keyId, sealed: sealedKey },
  }
}

/** The columns of a raw file with its job, blob and signing provider. */
export const storedRawFileColumns = {
  job: boefjeMetaColumns,
  raw: rawFileColumns,
  fileName: rawFile.fileName,
  blob: blobColumns,
  signingProviderUrl: signingProvider.url,
}
