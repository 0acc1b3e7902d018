import pg from 'pg'
import { BytesError } from '../domain/errors.js'
import type { MetaRepository, NewRawFile, UploadTarget } from '../domain/meta-repository.js'
import type { Blob, ContentDigest, Uuid } from '../domain/models.js'
import { grouped } from './grouped.js'
import { repeated } from './repeated.js'
import { type BoefjeMetaRow, type StoredRawFileRow, toBlob, toBoefjeMeta } from './rows.js'
import { translated } from './sqlstate.js'
import { withClient } from './with-client.js'

type Uploads = Pick<MetaRepository, 'findUploadTarget' | 'replaceBlob' | 'commitUpload'>

/**
 * Jobs, with those of their raw files that have one of the given sets of MIME types, and the blobs
 * of the contents that are given for each job. Raw and prepared, like the statement below: these
 * two are on the path of every upload. One row for each job: a subselect of the list is run for each
 * row. OFFSET 0 makes Postgres look up each content by itself.
 */
const TARGET = {
  name: 'upload-target',
  text: `
    SELECT j.id, j.boefje_id AS "boefjeId", j.boefje_version AS "boefjeVersion", j.organization,
           j.arguments::text AS arguments, j.started_at::text AS "startedAt",
           j.ended_at::text AS "endedAt", j.input_ooi AS "inputOoi",
           j.environment::text AS environment, j.runnable_hash AS "runnableHash",
           (
             SELECT json_agg(json_build_array(encode(r.mime_types_digest, 'hex'), r.id))
             FROM raw_file r
             WHERE r.boefje_meta_id = j.id AND r.mime_types_digest = ANY($2::bytea[])
           ) AS existing,
           (
             SELECT json_agg(json_build_object(
               'organization', b.organization, 'contentDigest', b.content_digest, 'size', b.size,
               'address', b.address, 'storedSize', b.stored_size, 'middleware', b.middleware,
               'keyId', b.key_id, 'sealedKey', encode(b.sealed_key, 'hex')))
             FROM unnest($3::uuid[], $4::text[]) AS wanted (job_id, content_digest)
             CROSS JOIN LATERAL (
               SELECT * FROM blob
               WHERE organization = j.organization AND content_digest = wanted.content_digest
               OFFSET 0
             ) b
             WHERE wanted.job_id = j.id
           ) AS blobs
    FROM boefje_meta j
    WHERE j.id = ANY($1::uuid[])`,
}

/**
 * Finds or inserts the blobs, inserts the raw files and their events, and the secure hashes that
 * have no link yet. The blobs go in by content digest, so that two uploads of the same blobs wait
 * for each other in one order. DO UPDATE changes nothing; unlike DO NOTHING it returns a row that a
 * concurrent upload inserted.
 */
const COMMIT = {
  name: 'upload-commit',
  text: `
    WITH input AS (
      SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[],
        $8::text[], $9::text[], $10::text[], $11::text[], $12::bytea[], $13::text[], $14::text[],
        $15::text[], $16::text[], $17::bytea[]
      ) WITH ORDINALITY AS t (
        id, boefje_meta_id, organization, content_digest, size, address, stored_size,
        middleware, secure_hash, link, mime_types, mime_types_digest, body, headers, file_name,
        key_id, sealed_key, ord
      )
    ), known AS (
      SELECT b.id, b.organization, b.content_digest FROM blob b
      JOIN (SELECT DISTINCT organization, content_digest FROM input) i USING (organization, content_digest)
    ), added AS (
      INSERT INTO blob (organization, content_digest, size, address, stored_size, middleware, key_id,
                        sealed_key)
      SELECT DISTINCT ON (organization, content_digest)
             organization, content_digest, size, address, stored_size, middleware, key_id, sealed_key
      FROM input i
      WHERE NOT EXISTS (SELECT 1 FROM known k
                        WHERE k.organization = i.organization AND k.content_digest = i.content_digest)
      ORDER BY organization, content_digest
      ON CONFLICT (organization, content_digest) DO UPDATE SET organization = excluded.organization
      RETURNING id, organization, content_digest
    ), stored AS (
      SELECT * FROM known UNION ALL SELECT * FROM added
    ), inserted AS (
      INSERT INTO raw_file (id, boefje_meta_id, organization, mime_types, mime_types_digest,
                            secure_hash, hash_retrieval_link, file_name, blob_id)
      SELECT i.id, i.boefje_meta_id, i.organization,
             ARRAY(SELECT json_array_elements_text(i.mime_types::json))::varchar[],
             i.mime_types_digest, i.secure_hash, i.link, i.file_name, s.id
      FROM input i
      JOIN stored s ON s.organization = i.organization AND s.content_digest = i.content_digest
      ORDER BY i.ord
      ON CONFLICT (boefje_meta_id, mime_types_digest) DO NOTHING
      RETURNING id
    ), announced AS (
      INSERT INTO outbox (message_id, event_id, body, headers)
      SELECT i.id, 'raw_file_received', i.body, i.headers::json
      FROM input i JOIN inserted n ON n.id = i.id
      ORDER BY i.ord
    ), waiting AS (
      INSERT INTO pending_hash (raw_file_id)
      SELECT i.id FROM input i JOIN inserted n ON n.id = i.id
      WHERE i.link IS NULL
      ORDER BY i.ord
    )
    SELECT id FROM inserted`,
}

/** Its times begin anew: no sweep takes the row before the upload has committed, and it was stored just now. */
const REPLACE_BLOB = `
  UPDATE blob SET address = $4, stored_size = $5, middleware = $6, key_id = $7, sealed_key = $8,
    created_at = now(), verified_at = NULL, verify_claimed_until = NULL
  WHERE organization = $1 AND content_digest = $2 AND address = $3`

/** The foreign key from raw files to blobs. */
const BLOB_KEY = 'raw_file_blob_id_blob_id_fk'
const DELETED = 'Boefje meta not found: it was deleted during the upload'
const WINNER_DELETED = 'a raw file of the job was deleted during the upload: send it again'

/**
 * Statements of concurrent uploads become one, which costs Postgres little more than a single one.
 * One group at a time made the largest groups and the most uploads a second.
 */
const CONCURRENCY = 1
/** In one statement: its joins have no index, and take the square of its rows. */
const MOST_FILES = 100
/** Characters of events that weigh as much as a file, so that a hundred of them are 16 MiB. */
const CHARACTERS = (16 * 1024 * 1024) / MOST_FILES
const weightOfFiles = (files: readonly NewRawFile[]): number =>
  files.reduce((sum, { event }) => sum + 1 + Math.floor(event.body.length / CHARACTERS), 0)
const weightOfWanted = ({ mimeTypesDigests, contentDigests }: Wanted): number =>
  Math.max(1, mimeTypesDigests.length, contentDigests.length)

/** The part of the meta repository that uploads go through. */
export function createUploads(pool: pg.Pool): Uploads {
  const findTargets = async (wanted: readonly Wanted[]): Promise<(UploadTarget | undefined)[]> => {
    const jobIds = [...new Set(wanted.map(({ boefjeMetaId }) => boefjeMetaId))]
    const digests = wanted.flatMap(({ mimeTypesDigests }) => mimeTypesDigests)
    const contents = wanted.flatMap(({ boefjeMetaId, contentDigests }) =>
      contentDigests.map((digest) => [boefjeMetaId, digest] as const),
    )
    const values = [jobIds, digests, contents.map(([id]) => id), contents.map(([, d]) => d)]
    const { rows } = await translated(() => pool.query<TargetRow>({ ...TARGET, values }))
    const targets = new Map(rows.map((row) => [row.id, toTarget(row)]))
    return wanted.map(({ boefjeMetaId }) => targets.get(boefjeMetaId))
  }

  /** @returns for each upload the ids that were inserted, among them those of the others */
  const commit = async (uploads: readonly (readonly NewRawFile[])[]): Promise<Set<Uuid>[]> => {
    const inserted = await committed(() => insert(pool, uploads.flat()))
    return uploads.map(() => inserted)
  }

  /** In parts, of one transaction. */
  const commitLarge = (files: readonly NewRawFile[]): Promise<Set<Uuid>> =>
    committed(() =>
      withClient(pool, async (client) => {
        await client.query('BEGIN')
        const inserted = new Set<Uuid>()
        for (let at = 0; at < files.length; at += MOST_FILES) {
          const part = await insert(client, files.slice(at, at + MOST_FILES))
          for (const id of part) inserted.add(id)
        }
        await client.query('COMMIT')
        return inserted
      }),
    )

  const groups = { concurrency: CONCURRENCY, weight: MOST_FILES }
  const findTarget = grouped({ ...groups, weigh: weightOfWanted }, findTargets)
  const commitGrouped = grouped({ ...groups, weigh: weightOfFiles }, commit)
  const findUploadTarget = (
    boefjeMetaId: Uuid,
    mimeTypesDigests: readonly Buffer[],
    contentDigests: readonly ContentDigest[] = [],
  ) => {
    const wanted = { boefjeMetaId, mimeTypesDigests, contentDigests }
    const large = weightOfWanted(wanted) > MOST_FILES
    return large ? findTargets([wanted]).then(([target]) => target) : findTarget(wanted)
  }

  return {
    findUploadTarget,
    replaceBlob: async (lost, found) => {
      const { address, storedSize, middleware, sealedKey } = found
      const where = [lost.organization, lost.contentDigest, lost.address]
      const key = [sealedKey?.keyId ?? null, sealedKey?.sealed ?? null]
      const values = [...where, address, storedSize, middleware, ...key]
      const { rowCount } = await translated(() => pool.query(REPLACE_BLOB, values))
      return rowCount === 1
    },
    commitUpload: async (files) => {
      // A large one has a connection of its own: the small ones do not wait for it.
      const large = weightOfFiles(files) > MOST_FILES
      const inserted = await (large ? commitLarge(files) : commitGrouped(files))
      // A file that was not inserted lost a race: the winner's row is visible by now.
      const winner = async (file: NewRawFile): Promise<Uuid> => {
        const target = await findUploadTarget(file.boefjeMetaId, [file.mimeTypesDigest])
        const id = target?.existing.get(file.mimeTypesDigest.toString('hex'))
        // The others are committed: nobody may take this for a failure that stored nothing.
        if (id === undefined) throw new BytesError('database_timeout', WINNER_DELETED)
        return id
      }
      return Promise.all(files.map((file) => (inserted.has(file.id) ? file.id : winner(file))))
    },
  }
}

async function insert(
  connection: pg.Pool | pg.PoolClient,
  files: readonly NewRawFile[],
): Promise<Set<Uuid>> {
  const { rows } = await connection.query<{ id: string }>({ ...COMMIT, values: columnsOf(files) })
  return new Set(rows.map((row) => row.id))
}

/** Runs a commit, again if need be. */
async function committed<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await repeated(run, isBlobGone)
  } catch (error) {
    const missing = error instanceof BytesError && error.code === 'reference_missing'
    throw missing ? new BytesError('boefje_meta_not_found', DELETED) : error
  }
}

/** Its row was removed while no raw file had it: the next attempt inserts it again. */
function isBlobGone({ code, cause }: BytesError): boolean {
  return (
    code === 'reference_missing' &&
    cause instanceof pg.DatabaseError &&
    cause.constraint === BLOB_KEY
  )
}

interface Wanted {
  readonly boefjeMetaId: Uuid
  readonly mimeTypesDigests: readonly Buffer[]
  readonly contentDigests: readonly ContentDigest[]
}

interface TargetRow extends BoefjeMetaRow {
  /** Hex of the MIME types' digest, and the raw file's id. */
  readonly existing: readonly [string, string][] | null
  /** The sealed keys in hex. */
  readonly blobs:
    | readonly (Omit<StoredRawFileRow['blob'], 'sealedKey'> & {
        readonly sealedKey: string | null
      })[]
    | null
}

const toTarget = (row: TargetRow): UploadTarget => ({
  boefjeMeta: toBoefjeMeta(row),
  existing: new Map(row.existing ?? []),
  blobs: blobsOf(row),
})

function blobsOf({ blobs }: TargetRow): Map<ContentDigest, Blob> {
  const found = (blobs ?? []).map(({ sealedKey, ...row }) =>
    toBlob({ ...row, sealedKey: sealedKey === null ? null : Buffer.from(sealedKey, 'hex') }),
  )
  return new Map(found.map((blob) => [blob.contentDigest, blob]))
}

/** One array per column of `input`. */
function columnsOf(files: readonly NewRawFile[]): unknown[] {
  return [
    files.map((f) => f.id),
    files.map((f) => f.boefjeMetaId),
    files.map((f) => f.blob.organization),
    files.map((f) => f.blob.contentDigest),
    files.map((f) => f.blob.size),
    files.map((f) => f.blob.address),
    files.map((f) => f.blob.storedSize),
    files.map((f) => f.blob.middleware),
    files.map((f) => f.secureHash),
    files.map((f) => f.hashRetrievalLink),
    files.map((f) => JSON.stringify(f.mimeTypes)),
    files.map((f) => f.mimeTypesDigest),
    files.map((f) => f.event.body),
    files.map((f) => JSON.stringify(f.event.headers)),
    files.map((f) => f.fileName),
    files.map((f) => f.blob.sealedKey?.keyId ?? null),
    files.map((f) => f.blob.sealedKey?.sealed ?? null),
  ]
}
