import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { BytesError } from '../domain/errors.js'
import type { Counts } from '../flows/counts.js'
import type { TimestamperObserver } from '../flows/timestamper.js'
import { organizationSamples } from './organization-metrics.js'
import { createTimestampMetrics } from './timestamp-metrics.js'

export interface Metrics {
  /** The page in the Prometheus text format; without what the database counts while it is away. */
  page(): Promise<string>
  observeRequest(request: { route: string; method: string; status: number; seconds: number }): void
  countEvents(outcome: 'published' | 'failed', events: number): void
  countBlobError(code: string): void
  /** Of the timestamper. */
  readonly timestamps: TimestamperObserver
}

/** Failures of a database that does not answer, or not soon enough. */
const AWAY: ReadonlySet<string> = new Set(['database_unavailable', 'database_timeout'])

/** Gauges of Node's that are named like counters. */
const MISNAMED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
]

/** @param readCounts what the database counts, read anew for each page */
export function createMetrics(version: string, readCounts: () => Promise<Counts>): Metrics {
  const registry = new Registry()
  const registers = [registry]
  const databaseUp = new Gauge({
    name: 'bytes_postgres_up',
    help: 'Whether the database answered; without it the samples that it counts are left out.',
    registers,
  })
  const requests = new Histogram({
    name: 'bytes_http_request_duration_seconds',
    help: 'Time to answer HTTP requests, by route, method and status.',
    labelNames: ['route', 'method', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers,
  })
  const blobs = new Gauge({
    name: 'bytes_blobs',
    help: 'Stored blobs, by the key that their file keys are sealed to; none for those without.',
    labelNames: ['key_id'],
    registers,
  })
  const outboxEvents = new Gauge({
    name: 'bytes_outbox_events',
    help: 'Events that wait to be published.',
    registers,
  })
  const outboxAge = new Gauge({
    name: 'bytes_outbox_oldest_event_age_seconds',
    help: 'Age of the oldest event that waits to be published.',
    registers,
  })
  const relayed = new Counter({
    name: 'bytes_relay_events_total',
    help: 'Events handed to the broker, by outcome.',
    labelNames: ['outcome'],
    registers,
  })
  relayed.inc({ outcome: 'published' }, 0)
  relayed.inc({ outcome: 'failed' }, 0)
  const blobErrors = new Counter({
    name: 'bytes_blob_errors_total',
    help: 'Reads of content that failed, also by the scrub, by error code.',
    labelNames: ['code'],
    registers,
  })
  blobErrors.inc({ code: 'blob_missing' }, 0)
  blobErrors.inc({ code: 'blob_damaged' }, 0)
  const unverifiedAge = new Gauge({
    name: 'bytes_oldest_unverified_blob_age_seconds',
    help: 'Time since the blob was verified, or stored, for which that is longest ago.',
    registers,
  })
  const timestamps = createTimestampMetrics(registers)
  new Gauge({
    name: 'bytes_build_info',
    help: 'Version that runs; the value is always 1.',
    labelNames: ['version'],
    registers,
  }).set({ version }, 1)
  collectDefaultMetrics({ register: registry })
  for (const name of MISNAMED) registry.removeSingleMetric(name)

  return {
    page: async () => {
      const counts = await readCounts().catch((error: unknown) => {
        if (error instanceof BytesError && AWAY.has(error.code)) return undefined
        throw error
      })
      databaseUp.set(counts ? 1 : 0)
      blobs.reset()
      outboxEvents.remove()
      outboxAge.remove()
      unverifiedAge.remove()
      timestamps.setPending(counts?.pendingHashes)
      const ofOrganizations = await organizationSamples(counts?.organizations)
      if (!counts) return ofOrganizations + (await registry.metrics())
      for (const [keyId, count] of counts.blobsByKey) blobs.set({ key_id: keyId ?? 'none' }, count)
      outboxEvents.set(counts.outbox.depth)
      outboxAge.set(counts.outbox.oldestAgeSeconds)
      unverifiedAge.set(counts.oldestUnverifiedSeconds)
      return ofOrganizations + (await registry.metrics())
    },
    observeRequest: ({ route, method, status, seconds }) => {
      requests.observe({ route, method, status }, seconds)
    },
    countEvents: (outcome, events) => relayed.inc({ outcome }, events),
    countBlobError: (code) => blobErrors.inc({ code }),
    timestamps,
  }
}
