/** Builds the adapters that the settings ask for, joins them, and releases them in reverse order. */
import { mkdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createApp } from './api/app.js'
import { createAuth } from './api/auth.js'
import { createMetrics } from './api/metrics.js'
import { docsRoutes } from './api/routes/docs.js'
import { jobRoutes } from './api/routes/jobs.js'
import { rawRoutes } from './api/routes/raw.js'
import { serviceRoutes } from './api/routes/service.js'
import { tokenRoute } from './api/routes/token.js'
import { startServer } from './api/server.js'
import { type Credentials, generatedCredentials } from './credentials.js'
import type { Log } from './domain/ports.js'
import { startEmbeddedPostgres } from './embedded/postgres.js'
import { createRabbitMQEventManager } from './events/rabbitmq.js'
import { createCountsReader } from './flows/counts.js'
import { type Relay, startRelay } from './flows/relay.js'
import { createInMemoryHashRepository } from './hashing/in-memory.js'
import { type Database, openDatabase, waitForDatabase } from './meta/client.js'
import { applyMigrations } from './meta/migrator.js'
import { createOutbox } from './meta/outbox.js'
import { createMetaRepository } from './meta/repository.js'
import { openDiskRepository } from './raw/disk-repository.js'
import { identity } from './raw/middleware/identity.js'
import type { Settings } from './settings.js'

/** Version of the package. */
export const VERSION: string = createRequire(import.meta.url)('../package.json').version

export interface Service {
  /** Where it listens. */
  readonly url: string
  readonly dataDir: string
  /** Credentials that were generated because none were given, and the file that keeps them. */
  readonly generated: (Credentials & { readonly path: string }) | undefined
  /** Finishes the requests in flight, stops the loops and closes everything. */
  stop(): Promise<void>
}

type Release = () => Promise<unknown>

/** Runs `build` with a list of releasers; when it fails, what was built is released again. */
async function releasing<T>(build: (releases: Release[]) => Promise<T>): Promise<T> {
  const releases: Release[] = []
  try {
    return await build(releases)
  } catch (error) {
    await releaseAll(releases)
    throw error
  }
}

async function releaseAll(releases: Release[]): Promise<void> {
  for (const release of releases.reverse()) await release()
}

/**
 * Opens the database of the settings, or starts the embedded one, and brings it up to date.
 * @throws BytesError `database_unavailable`, or the error of a failed migration
 */
async function composeDatabase(
  settings: Settings,
  log: Log,
  releases: Release[],
  signal?: AbortSignal,
): Promise<Database> {
  const uri = settings.dbUri ?? (await composeEmbedded(settings, log, releases))
  const database = openDatabase(uri, settings.dbPoolSize, log)
  releases.push(() => database.close())
  await waitForDatabase(database.pool, settings.dbConnectTimeoutSeconds * 1000, log, signal)
  if (settings.migrateOnStart) await applyMigrations(uri)
  return database
}

async function composeEmbedded(settings: Settings, log: Log, releases: Release[]): Promise<string> {
  await mkdir(settings.dataDir, { recursive: true })
  const dataDir = join(settings.dataDir, 'postgres')
  const embedded = await startEmbeddedPostgres({ dataDir, log })
  releases.push(() => embedded.stop())
  return embedded.uri
}

/** Applies the migrations and returns. */
export async function migrateOnly(settings: Settings, log: Log): Promise<void> {
  await releasing(async (releases) => {
    await composeDatabase({ ...settings, migrateOnStart: true }, log, releases)
    await releaseAll(releases)
  })
}

/**
 * Starts the service; resolves when it accepts requests.
 * @param signal ends a start that waits for its database
 */
export function startService(settings: Settings, log: Log, signal?: AbortSignal): Promise<Service> {
  return releasing(async (releases) => {
    const { username, password, secret } = settings
    const given = username && password && secret ? { username, password, secret } : undefined
    const generated = given ? undefined : await generatedCredentials(settings.dataDir)
    const credentials = { ...generated, ...settings }

    const database = await composeDatabase(settings, log, releases, signal)
    const meta = createMetaRepository(database)
    const raw = await openDiskRepository({
      dataDir: settings.dataDir,
      folderPermission: settings.folderPermission,
      filePermission: settings.filePermission,
      middleware: identity,
      readers: [identity],
    })
    const readCounts = createCountsReader(meta, settings.metricsTtlSeconds)
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

    const auth = createAuth({
      username: credentials.username ?? '',
      password: credentials.password ?? '',
      secret: credentials.secret ?? '',
      tokenLifetimeMs: settings.accessTokenExpireMinutes * 60_000,
    })
    const ingestPorts = {
      meta,
      raw,
      hashes: createInMemoryHashRepository(),
      algorithm: settings.hashingAlgorithm,
      wakeRelay: () => relay?.wake(),
    }
    const retrievePorts = { meta, raw, countBlobError: metrics.countBlobError }
    const api = [
      ...serviceRoutes({ version: VERSION, meta, raw, events, metrics }),
      tokenRoute(auth, settings.tokenRateLimit),
      ...jobRoutes(meta),
      ...rawRoutes(ingestPorts, retrievePorts),
    ]
    const app = createApp({
      routes: [...api, ...docsRoutes(api, VERSION)],
      auth,
      maxBodyBytes: settings.maxBodyBytes,
      log,
      observe: metrics.observeRequest,
    })
    const server = await startServer(app, settings.host, settings.port)
    releases.push(async () => {
      const whole = await server.stop(settings.shutdownTimeoutSeconds * 1000)
      if (!whole) log.warn({}, 'requests in flight were cut at the end of the shutdown timeout')
    })
    return {
      url: server.url,
      dataDir: settings.dataDir,
      generated,
      stop: () => releaseAll(releases),
    }
  })
}
