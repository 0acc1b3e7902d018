import { BytesError } from '../../domain/errors.js'
import type { MetaRepository } from '../../domain/meta-repository.js'
import type { PendingHashes } from '../../domain/pending-hashes.js'
import type { EventManager, RawRepository } from '../../domain/ports.js'
import type { Metrics } from '../metrics.js'
import { RETRY_LATER } from '../problems.js'
import { type Route, route } from '../route.js'
import { failure, type HealthResult, health } from '../schemas.js'

export interface ServicePorts {
  readonly version: string
  readonly meta: Pick<MetaRepository, 'check'>
  readonly raw: Pick<RawRepository, 'check'>
  /** Undefined when no broker is configured. */
  readonly events: Pick<EventManager, 'connected'> | undefined
  /** Undefined when no third party is to stamp hashes. */
  readonly timestamps: TimestampHealth | undefined
  readonly metrics: Metrics
}

export interface TimestampHealth {
  readonly pendingState: PendingHashes['pendingState']
  /** How long a hash may be pending, in seconds. */
  readonly maxAgeSeconds: number
}

/** A probe that takes longer has failed: a frozen database must not freeze the answer. */
const PROBE_MS = 2000

/** Resources for operators: health and metrics. */
export function serviceRoutes(ports: ServicePorts): Route[] {
  return [
    route({
      method: 'get',
      pattern: '/',
      summary: 'Redirects to the health',
      access: 'open',
      answers: { 307: { description: 'See /health' } },
      handle: ({ c }) => c.redirect('/health', 307),
    }),
    route({
      method: 'get',
      pattern: '/health',
      summary: 'Whether uploads can be accepted, with a result for each part',
      access: 'open',
      answers: {
        200: { description: 'They can', schema: health },
        503: { description: 'They cannot', schema: health },
      },
      handle: async ({ c }) => {
        const result = await checkHealth(ports)
        return result.healthy ? c.json(result) : c.json(result, 503, RETRY_LATER)
      },
    }),
    route({
      method: 'get',
      pattern: '/health/live',
      summary: 'That the process answers; says nothing of the database',
      access: 'open',
      answers: { 200: { description: 'It does', schema: health } },
      handle: ({ c }) => c.json(result('bytes', true, null, [], ports.version)),
    }),
    route({
      method: 'get',
      pattern: '/metrics',
      summary: 'Metrics in the Prometheus text format',
      access: 'bearer or basic',
      answers: {
        200: { description: 'Metrics', mediaType: 'text/plain' },
        429: { description: 'Too many wrong credentials', schema: failure },
      },
      handle: async ({ c }) => {
        const page = await ports.metrics.page()
        return c.body(page, 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
      },
    }),
  ]
}

function result(
  service: string,
  healthy: boolean,
  additional: unknown,
  results: readonly HealthResult[] = [],
  version: string | null = null,
): HealthResult {
  return { service, healthy, version, additional, results }
}

async function checkHealth(ports: ServicePorts): Promise<HealthResult> {
  const { timestamps } = ports
  const [database, storage, timestamper] = await Promise.all([
    probe('postgres', () => ports.meta.check()),
    probe('data_directory', () => ports.raw.check()),
    timestamps && probe('timestamper', () => checkTimestamps(timestamps)),
  ])
  const results = [database, storage]
  const healthy = database.healthy && storage.healthy
  if (ports.events) {
    const { connected } = ports.events
    // Uploads go on without the broker; only the events come later.
    const state = connected ? null : 'degraded: no connection; events wait in the outbox'
    results.push(result('rabbitmq', connected, state))
  }
  if (timestamper) results.push(timestamper)
  return result('bytes', healthy, null, results, ports.version)
}

/** Uploads go on while hashes wait; only the proof comes later. */
async function checkTimestamps({ pendingState, maxAgeSeconds }: TimestampHealth): Promise<void> {
  const { pending, oldestAgeSeconds } = await pendingState()
  if (oldestAgeSeconds <= maxAgeSeconds) return
  const files = pending === 1 ? '1 file waits' : `${pending} files wait`
  const age = Math.floor(oldestAgeSeconds)
  throw new Degraded(`degraded: ${files} for a timestamp, the oldest for ${age} s`)
}

class Degraded extends Error {}

async function inTime<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Late()), PROBE_MS)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

class Late extends Error {
  override readonly message = `no answer within ${PROBE_MS / 1000} s`
}

async function probe(service: string, check: () => Promise<unknown>): Promise<HealthResult> {
  try {
    return result(service, true, (await inTime(check())) ?? null)
  } catch (error) {
    // Other errors may quote addresses or paths.
    const tellable =
      error instanceof BytesError || error instanceof Late || error instanceof Degraded
    return result(service, false, tellable ? error.message : 'check failed')
  }
}
