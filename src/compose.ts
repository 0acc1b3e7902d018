/** Builds the adapters that the settings ask for, joins them, and releases them in reverse order. */
import { createApp } from './api/app.js'
import { createAuth } from './api/auth.js'
import { createMetrics } from './api/metrics.js'
import { contentRoutes } from './api/routes/contents.js'
import { docsRoutes } from './api/routes/docs.js'
import { ingestRoute } from './api/routes/ingest.js'
import { jobRoutes } from './api/routes/jobs.js'
import { rawRoutes } from './api/routes/raw.js'
import { rawListRoutes } from './api/routes/raw-lists.js'
import { serviceRoutes } from './api/routes/service.js'
import { tokenRoute } from './api/routes/token.js'
import { uploadRoutes } from './api/routes/uploads.js'
import { verificationRoutes } from './api/routes/verification.js'
import { startServer } from './api/server.js'
import { UploadGate, type UploadLimits } from './api/upload-limits.js'
import { readAnchors } from './compose-anchors.js'
import { composeDatabase } from './compose-database.js'
import { releaseAll, releasing } from './compose-releases.js'
import { composeScrub } from './compose-scrub.js'
import { composeStorage } from './compose-storage.js'
import { composeTimestamps, startStamping } from './compose-timestamps.js'
import { type Credentials, generatedCredentials } from './credentials.js'
import type { Log } from './domain/ports.js'
import { shared } from './domain/shared.js'
import { createRabbitMQEventManager } from './events/rabbitmq.js'
import { createAnswerMemory } from './flows/answer-room.js'
import { Budget } from './flows/budget.js'
import { createCountsReader } from './flows/counts.js'
import { MAX_EVENTS } from './flows/event-room.js'
import type { IngestPorts } from './flows/ingest.js'
import { ingestFile } from './flows/ingest-file.js'
import { tellOfMissingBlobs } from './flows/missing-blobs.js'
import { type Relay, startRelay } from './flows/relay.js'
import { createResumableUploads, type ResumableUploads } from './flows/resumable.js'
import { Traffic } from './flows/traffic.js'
import { tellOfUnfitDatabase } from './flows/unfit-database.js'
import { startUploadSweep } from './flows/upload-sweep.js'
import { MOST_VERIFIED } from './flows/verify.js'
import { createAuditRows } from './meta/audit.js'
import { createBlobKeys } from './meta/blob-keys.js'
import { createOutbox } from './meta/outbox.js'
import { createMetaRepository } from './meta/repository.js'
import { createScrubRows } from './meta/scrub.js'
import { createAuditFiles } from './raw/audit-files.js'
import { UploadCipher } from './raw/upload-cipher.js'
import { openUploadStore } from './raw/upload-store.js'
import type { Settings } from './settings.js'
import { VERSION } from './version.js'

/** Requests under way beside which stored content goes on being checked. */
const MUCH_TRAFFIC = 4

export interface Service {
  /** Where it listens. */
  readonly url: string
  readonly username: string
  /** What was generated because it was not given, and the file that keeps it. */
  readonly generated: { readonly password: string | undefined; readonly path: string } | undefined
  /** Resolves when the embedded database has ended by itself: the service is of no use then. */
  readonly failed: Promise<void>
  /** Finishes the requests in flight, stops the loops and closes everything. */
  stop(): Promise<void>
}

/** The given credentials; what is missing of them is generated. */
async function credentialsOf(
  settings: Settings,
): Promise<{ credentials: Credentials; generated: Service['generated'] }> {
  const { username, password, secret } = settings
  if (username && password && secret) {
    return { credentials: { username, password, secret }, generated: undefined }
  }
  const { path, ...made } = await generatedCredentials(settings.dataDir)
  return {
    credentials: {
      username: username ?? made.username,
      password: password ?? made.password,
      secret: secret ?? made.secret,
    },
    generated: { password: password ? undefined : made.password, path },
  }
}

async function composeUploads(
  settings: Settings,
  secret: string,
  ports: IngestPorts,
  log: Log,
): Promise<ResumableUploads> {
  const store = await openUploadStore({
    ...settings,
    reserveBytes: settings.diskReserveBytes,
    cipher: new UploadCipher(secret),
    ciphered: settings.encryptionMiddleware !== 'IDENTITY',
  })
  return createResumableUploads(
    {
      store,
      jobExists: async (id) => (await ports.meta.findBoefjeMeta(id)) !== undefined,
      ensureRoom: (bytes) => ports.raw.ensureRoom(bytes),
      ingestFile: (boefjeMetaId, file) => ingestFile(ports, boefjeMetaId, file),
      log,
    },
    {
      lifetimeMs: settings.uploadExpiryHours * 60 * 60 * 1000,
      unfinished: settings.maxResumableUploads,
    },
  )
}

/**
 * Starts the service; resolves when it accepts requests.
 * @param signal ends a start that waits for its database
 */
export function startService(settings: Settings, log: Log, signal?: AbortSignal): Promise<Service> {
  return releasing(log, async (releases) => {
    let onFailed: () => void = () => undefined
    const failed = new Promise<void>((resolve) => {
      onFailed = resolve
    })
    // First, as it wipes the private keys of the settings.
    const openStorage = composeStorage(settings)
    const anchors = await readAnchors(settings)
    const database = await composeDatabase(settings, log, releases, onFailed, signal)
    const { credentials, generated } = await credentialsOf(settings)
    const meta = createMetaRepository(database)
    await tellOfUnfitDatabase(meta, log)
    const raw = await openStorage()
    const timestamps = composeTimestamps(settings, anchors, database.pool)
    const { pending } = timestamps
    const readCounts = createCountsReader(
      {
        meta,
        blobKeys: createBlobKeys(database.pool),
        pending,
        scrub: createScrubRows(database.pool),
      },
      settings.metricsTtlSeconds,
    )
    const metrics = createMetrics(VERSION, readCounts)

    let relay: Relay | undefined
    const events = settings.queueUri
      ? createRabbitMQEventManager({
          uri: settings.queueUri,
          log,
          onConnected: () => relay?.wake(),
        })
      : undefined
    if (events) {
      releases.push(() => events.close())
      relay = startRelay({
        outbox: createOutbox(database.pool),
        events,
        log,
        count: metrics.countEvents,
      })
      releases.push(() => relay?.stop() ?? Promise.resolve())
    } else {
      log.warn({}, 'QUEUE_URI is not set: events wait in the database until it is')
    }

    const timestamper = await startStamping(timestamps, settings, log, metrics.timestamps)
    if (timestamper) releases.push(() => timestamper.stop())

    const auth = createAuth({
      ...credentials,
      tokenLifetimeMs: settings.accessTokenExpireMinutes * 60_000,
      logInsPerMinute: settings.tokenRateLimit,
    })
    const idleMs = settings.idleTimeoutSeconds * 1000
    const ingestPorts = {
      log,
      meta,
      raw,
      hashes: timestamps.inline,
      algorithm: settings.hashingAlgorithm,
      eventMemory: new Budget(MAX_EVENTS),
      wakeRelay: () => relay?.wake(),
      wakeTimestamper: () => timestamper?.wake(),
    }
    const retrievePorts = { meta, raw, countBlobError: metrics.countBlobError }
    const answerMemory = createAnswerMemory()
    const limits: UploadLimits = {
      maxBytes: settings.maxBodyBytes,
      maxFiles: settings.maxFilesPerUpload,
      idleMs,
      gate: new UploadGate(settings.maxConcurrentUploads),
    }
    const uploads = await composeUploads(settings, credentials.secret, ingestPorts, log)
    const sweep = startUploadSweep(uploads, log)
    releases.push(() => sweep.stop())
    await tellOfMissingBlobs(
      createAuditRows(database.pool),
      createAuditFiles(settings.dataDir),
      log,
    )
    const traffic = new Traffic(MUCH_TRAFFIC)
    const scrub = composeScrub(settings, database.pool, traffic, log, metrics.countBlobError)
    if (scrub) releases.push(() => scrub.stop())
    const api = [
      ...serviceRoutes({
        version: VERSION,
        meta,
        raw,
        events,
        timestamps: timestamps.inline
          ? undefined
          : {
              pendingState: shared(() => pending.pendingState()),
              maxAgeSeconds: settings.timestampMaxAgeSeconds,
            },
        metrics,
      }),
      tokenRoute(auth, idleMs),
      ...jobRoutes(meta, answerMemory),
      ingestRoute(ingestPorts, limits),
      ...uploadRoutes({ uploads, limits, log }),
      ...rawRoutes(retrievePorts, answerMemory),
      ...contentRoutes(retrievePorts),
      ...rawListRoutes(retrievePorts, answerMemory),
      ...verificationRoutes({
        ...retrievePorts,
        ...timestamps,
        places: new Budget(MOST_VERIFIED),
      }),
    ]
    const app = createApp({
      routes: [...api, ...docsRoutes(api, VERSION)],
      auth,
      idleMs,
      log,
      observe: metrics.observeRequest,
    })
    const server = await startServer(app, {
      host: settings.host,
      port: settings.port,
      headersMs: settings.headersTimeoutSeconds * 1000,
      idleMs,
      keepAliveMs: settings.keepAliveTimeoutSeconds * 1000,
      log,
      traffic,
    })
    releases.push(async () => {
      const whole = await server.stop(settings.shutdownTimeoutSeconds * 1000)
      if (!whole) log.warn({}, 'requests in flight were cut at the end of the shutdown timeout')
    })
    return {
      url: server.url,
      username: credentials.username,
      generated,
      failed,
      stop: () => releaseAll(releases, log),
    }
  })
}
