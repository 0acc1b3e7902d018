/**
 * Tables. Those of the existing service keep their table and column names; `blob`, `outbox` and
 * the columns marked as ours are additions.
 */
import { sql } from 'drizzle-orm'
import {
  bigint,
  customType,
  index,
  integer,
  json,
  pgTable,
  serial,
  text,
  timestamp,
  uniqueIndex,
  uuid,
  varchar,
} from 'drizzle-orm/pg-core'
import { LIMITS } from '../domain/models.js'

const bytea = customType<{ data: Buffer }>({ dataType: () => 'bytea' })
/** Text, not Date: a JavaScript Date would lose the microseconds. */
const instant = (name: string) =>
  timestamp(name, { withTimezone: true, precision: 6, mode: 'string' })

export const boefjeMeta = pgTable(
  'boefje_meta',
  {
    id: uuid('id').primaryKey(),
    boefjeId: varchar('boefje_id', { length: LIMITS.boefjeId }).notNull(),
    boefjeVersion: varchar('boefje_version', { length: LIMITS.boefjeVersion }),
    organization: varchar('organization', { length: LIMITS.organization }).notNull(),
    arguments: json('arguments').notNull(),
    startedAt: instant('started_at'),
    endedAt: instant('ended_at'),
    inputOoi: varchar('input_ooi', { length: LIMITS.inputOoi }),
    environment: json('environment'),
    runnableHash: varchar('runnable_hash', { length: LIMITS.runnableHash }),
  },
  (t) => [
    index('ix_boefje_meta_organization_boefje_id').on(t.organization, t.boefjeId),
    index('ix_boefje_meta_organization_started_at').on(t.organization, t.startedAt, t.id),
    // A B-tree entry holds at most 2704 bytes, and 1024 characters can be more: hence hash.
    index('ix_boefje_meta_input_ooi').using('hash', t.inputOoi),
  ],
)

export const signingProvider = pgTable('signing_provider', {
  id: serial('id').primaryKey(),
  url: varchar('url', { length: 256 }).notNull().unique(),
})

/** Ours: the stored bytes, shared by equal files of one organization. */
export const blob = pgTable(
  'blob',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    organization: varchar('organization', { length: LIMITS.organization }).notNull(),
    contentDigest: text('content_digest').notNull(),
    size: bigint('size', { mode: 'number' }).notNull(),
    address: text('address').notNull(),
    storedSize: bigint('stored_size', { mode: 'number' }).notNull(),
    middleware: varchar('middleware', { length: 32 }).notNull(),
    keyId: varchar('key_id', { length: 32 }),
    sealedKey: bytea('sealed_key'),
    createdAt: instant('created_at').notNull().default(sql`now()`),
    /** When all stored bytes were last read and found right; what is stored is hashed on its way. */
    verifiedAt: instant('verified_at'),
    /** Until then the scrub of another instance leaves it alone. */
    verifyClaimedUntil: instant('verify_claimed_until'),
  },
  (t) => [
    uniqueIndex('ux_blob_organization_content_digest').on(t.organization, t.contentDigest),
    index('ix_blob_key_id').on(t.keyId, t.id),
    // New blobs come at its end.
    index('ix_blob_verified').on(sql`coalesce(${t.verifiedAt}, ${t.createdAt})`, t.id),
    // For files whose row is looked for. Hash, as addresses are long.
    index('ix_blob_address').using('hash', t.address),
  ],
)

export const rawFile = pgTable(
  'raw_file',
  {
    id: uuid('id').primaryKey(),
    secureHash: varchar('secure_hash', { length: 256 }),
    hashRetrievalLink: text('hash_retrieval_link'),
    boefjeMetaId: uuid('boefje_meta_id')
      .notNull()
      .references(() => boefjeMeta.id, { onDelete: 'cascade' }),
    mimeTypes: varchar('mime_types', { length: LIMITS.mimeType }).array(),
    signingProviderId: integer('signing_provider_id').references(() => signingProvider.id),
    // Ours. `file_name` is for saving the content; `seq` is the order in which the files were stored.
    seq: bigint('seq', { mode: 'number' }).notNull().generatedAlwaysAsIdentity(),
    organization: varchar('organization', { length: LIMITS.organization }).notNull(),
    mimeTypesDigest: bytea('mime_types_digest').notNull(),
    fileName: varchar('file_name', { length: 255 }),
    blobId: bigint('blob_id', { mode: 'number' })
      .notNull()
      .references(() => blob.id),
    createdAt: instant('created_at').notNull().default(sql`now()`),
  },
  (t) => [
    // Serves the foreign key to boefje_meta as well, being its first column.
    uniqueIndex('ux_raw_file_boefje_meta_id_mime_types').on(t.boefjeMetaId, t.mimeTypesDigest),
    index('ix_raw_file_signing_provider_id').on(t.signingProviderId),
    index('ix_raw_file_blob_id').on(t.blobId),
    index('ix_raw_file_organization_seq').on(t.organization, t.seq),
    uniqueIndex('ux_raw_file_seq').on(t.seq),
    index('ix_raw_file_mime_types').using('gin', t.mimeTypes),
  ],
)

export const normalizerMeta = pgTable(
  'normalizer_meta',
  {
    id: uuid('id').primaryKey(),
    normalizerId: varchar('normalizer_id', { length: LIMITS.normalizerId }).notNull(),
    normalizerVersion: varchar('normalizer_version', { length: LIMITS.normalizerVersion }),
    startedAt: instant('started_at'),
    endedAt: instant('ended_at'),
    rawFileId: uuid('raw_file_id')
      .notNull()
      .references(() => rawFile.id, { onDelete: 'cascade' }),
    // Ours: the raw file's.
    organization: varchar('organization', { length: LIMITS.organization }).notNull(),
  },
  (t) => [
    index('ix_normalizer_meta_raw_file_id').on(t.rawFileId),
    index('ix_normalizer_meta_organization_started_at').on(t.organization, t.startedAt, t.id),
    index('ix_normalizer_meta_organization_normalizer_id').on(
      t.organization,
      t.normalizerId,
      t.startedAt,
    ),
  ],
)

/** Ours: events that were committed with their rows and wait for the broker's confirm. */
export const outbox = pgTable('outbox', {
  id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
  messageId: uuid('message_id').notNull(),
  eventId: varchar('event_id', { length: 64 }).notNull(),
  body: text('body').notNull(),
  headers: json('headers').$type<Record<string, string | number>>().notNull(),
  createdAt: instant('created_at').notNull().default(sql`now()`),
})

/** Ours: secure hashes that wait for a hash repository, committed with their raw files. */
export const pendingHash = pgTable(
  'pending_hash',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    rawFileId: uuid('raw_file_id')
      .notNull()
      .unique()
      .references(() => rawFile.id, { onDelete: 'cascade' }),
    claimId: uuid('claim_id'),
    /** Until then nobody else claims it. */
    claimedUntil: instant('claimed_until'),
    createdAt: instant('created_at').notNull().default(sql`now()`),
  },
  (t) => [index('ix_pending_hash_claim_id').on(t.claimId)],
)

/** Ours: timestamp tokens (RFC 3161) of hash trees, in DER. */
export const timestampToken = pgTable('timestamp_token', {
  id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
  token: bytea('token').notNull(),
  createdAt: instant('created_at').notNull().default(sql`now()`),
})

/** Ours: the way from one secure hash to the root that a timestamp token is for (RFC 4998). */
export const evidenceRecord = pgTable(
  'evidence_record',
  {
    id: uuid('id').primaryKey(),
    timestampTokenId: bigint('timestamp_token_id', { mode: 'number' })
      .notNull()
      .references(() => timestampToken.id),
    reducedHashTree: bytea('reduced_hash_tree').notNull(),
  },
  (t) => [index('ix_evidence_record_timestamp_token_id').on(t.timestampTokenId)],
)
