/** The wire types: they validate requests, and the OpenAPI document is made from them. */
import { z } from 'zod'
import { boefjeMetaCursor, normalizerMetaCursor, rawFileCursor } from '../domain/cursor.js'
import { LIMITS, MAX_MIME_TYPES } from '../domain/models.js'
import {
  after,
  column,
  flag,
  instant,
  jsonObject,
  list,
  many,
  organization,
  plainText,
  rows,
  search,
  stringMap,
  uuid,
} from './fields.js'

const text = z.string()
const optionalText = text.nullish().default(null)

/** A job that produced files, as clients send it. */
export const boefjeMeta = z
  .object({
    id: uuid,
    started_at: instant,
    ended_at: instant,
    boefje: z.object({
      id: column(LIMITS.boefjeId),
      version: column(LIMITS.boefjeVersion).nullish().default(null),
    }),
    input_ooi: column(LIMITS.inputOoi).nullish().default(null),
    arguments: jsonObject,
    organization: organization(LIMITS.organization),
    runnable_hash: column(LIMITS.runnableHash).nullish().default(null),
    environment: stringMap,
  })
  .meta({ id: 'BoefjeMeta', description: 'The job that produced files' })

const mimeType = z.object({ value: text })

/** Of a raw file inside a normalizer meta only the id counts; the rest must have the right form. */
export const rawData = z
  .object({
    id: uuid,
    boefje_meta: z.object({
      id: uuid,
      started_at: instant,
      ended_at: instant,
      boefje: z.object({ id: text, version: optionalText }),
      input_ooi: optionalText,
      arguments: jsonObject,
      organization: text,
      runnable_hash: optionalText,
      environment: stringMap,
    }),
    mime_types: list(mimeType).prefault([]),
    secure_hash: optionalText,
    signing_provider_url: optionalText,
    hash_retrieval_link: optionalText,
  })
  .meta({ id: 'RawDataMeta', description: 'One raw file' })

/** A job that consumed a raw file, as clients send it. */
export const normalizerMeta = z
  .object({
    id: uuid,
    started_at: instant,
    ended_at: instant,
    raw_data: rawData,
    normalizer: z.object({
      id: column(LIMITS.normalizerId),
      version: column(LIMITS.normalizerVersion).nullish().default(null),
    }),
  })
  .meta({ id: 'NormalizerMeta', description: 'A job that consumed one raw file' })

const status = z.enum(['COMPLETED', 'FAILED'])

/** MIME types of a file. */
export const tags = list(column(LIMITS.mimeType), {
  items: MAX_MIME_TYPES,
  message: `A file has at most ${MAX_MIME_TYPES} tags`,
})

/** Body of an upload. */
export const rawUpload = z
  .object({
    status: status.default('COMPLETED'),
    files: list(
      z.object({
        name: text,
        content: text.meta({ contentEncoding: 'base64' }),
        tags: tags.prefault([]),
      }),
    ).prefault([]),
  })
  .meta({ id: 'RawUpload', description: 'Files that a job produced' })

/** What a resumable upload says of its file. */
export const uploadMetadata = z.object({
  boefje_meta_id: uuid,
  filename: plainText.default('file'),
  tags: tags.prefault([]),
})

/** Answer of `GET /bytes/raws`. */
export const rawContents = z
  .object({
    status,
    files: z.array(
      z.object({
        name: uuid,
        content: text.meta({ contentEncoding: 'base64' }),
        tags: z.array(text),
      }),
    ),
  })
  .meta({ id: 'RawContents', description: 'Raw files with their content' })

const order = { descending: flag.default(true), limit: rows(1), offset: rows(0) }

/** Which jobs to list. */
export const boefjeMetaQuery = z.object({
  organization: search,
  boefje_id: search.optional(),
  input_ooi: search
    .optional()
    .meta({ description: 'Left out: jobs without an input. `*`: all jobs.' }),
  ...order,
  after: after(boefjeMetaCursor),
})

/** Which consuming jobs to list. */
export const normalizerMetaQuery = z.object({
  organization: search,
  normalizer_id: search.optional(),
  raw_id: uuid.optional(),
  ...order,
  after: after(normalizerMetaCursor),
})

/** Of which raw files to count the MIME types; what is left out does not narrow. */
export const mimeTypesQuery = z.object({
  organization: many(search),
  boefje_meta_id: uuid.optional(),
  normalized: flag.optional(),
  mime_types: many(search),
})

/** Which raw files to list; what is left out does not narrow. */
export const rawQuery = z.object({
  ...mimeTypesQuery.shape,
  raw_ids: many(uuid),
  limit: rows(1),
  after: after(rawFileCursor),
})

/** The job that an upload belongs to, and what there is to say of a body that is one file. */
export const uploadQuery = z.object({
  boefje_meta_id: uuid,
  name: text.optional().meta({ description: 'Of a body that is one file: its name' }),
  tag: tags.prefault([]).meta({ description: 'Of a body that is one file: its MIME types' }),
})

/** Form of an upload. */
export const formUpload = z
  .object({
    file: text.meta({ format: 'binary', description: 'A file; there may be several, of any name' }),
    tag: tags.prefault([]).meta({
      description: 'MIME types: before the first file of all files, after a file of that one',
    }),
  })
  .meta({ id: 'FormUpload', description: 'Files that a job produced' })

/** Answer of a verification. */
export const verification = z
  .object({
    raw_file: uuid,
    verdict: z.enum(['verified', 'pending', 'failed', 'unverifiable']),
    checks: z.array(
      z.object({
        name: text,
        passed: z.boolean().nullable().meta({ description: 'Null: it could not be checked' }),
        detail: text.meta({ description: 'What was found, or what is wrong' }),
        time: text.optional().meta({ format: 'date-time', description: 'Of the timestamp' }),
        signer: text.optional().meta({ description: 'Distinguished name of the authority' }),
        serial: text.optional().meta({ description: 'Serial number of the timestamp, in hex' }),
      }),
    ),
  })
  .meta({ id: 'Verification', description: 'What came of the checks of one raw file' })

/** Form of a log-in. */
export const credentials = z
  .object({
    username: text,
    password: text,
    grant_type: z.literal('password').optional(),
  })
  .meta({ id: 'Credentials' })

/** Answer of a log-in. */
export const accessToken = z
  .object({ access_token: text, token_type: text, expires_at: instant })
  .meta({ id: 'AccessToken' })

/** Answer to metadata that was stored. */
export const success = z.object({ status: z.literal('success') }).meta({ id: 'Success' })

/** A refusal or a failure, told as text. */
export const failure = z.object({ detail: text }).meta({ id: 'Failure' })

/** Answer to metadata whose id is taken, or that refers to what does not exist. */
export const integrityFailure = z
  .object({ status: z.literal('failed'), message: text })
  .meta({ id: 'IntegrityFailure' })

/** Answer to a request that breaks its schema: see `validate.ts`. */
export const validationFailure = z
  .object({
    value: text.meta({ description: 'What is wrong, as text' }),
    detail: z
      .array(z.object({ loc: z.array(z.union([text, z.number()])), msg: text, type: text }))
      .optional()
      .meta({ description: 'What is wrong with the form of the request' }),
  })
  .meta({ id: 'ValidationFailure' })

/** Health of a part, or of the service with its parts in `results`. */
export interface HealthResult {
  readonly service: string
  readonly healthy: boolean
  readonly version: string | null
  readonly additional: unknown
  readonly results: readonly HealthResult[]
}

/** The wire form of `HealthResult`. */
export const health = z
  .object({
    service: text,
    healthy: z.boolean(),
    version: text.nullable(),
    additional: z.unknown(),
    get results(): z.ZodArray<z.ZodUnknown> {
      return z.array(z.unknown())
    },
  })
  .meta({ id: 'Health' })
