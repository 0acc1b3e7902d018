import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { PendingState } from '../domain/pending-hashes.js'
import type { TimestamperObserver } from '../flows/timestamper.js'

export interface TimestampMetrics extends TimestamperObserver {
  /** Undefined while the database is away. */
  setPending(state: PendingState | undefined): void
}

/** The metrics of secure hashes on their way to a hash repository. */
export function createTimestampMetrics(registers: Registry[]): TimestampMetrics {
  const pending = new Gauge({
    name: 'bytes_pending_hashes',
    help: 'Secure hashes that wait for a hash repository.',
    registers,
  })
  const oldest = new Gauge({
    name: 'bytes_pending_hash_oldest_age_seconds',
    help: 'Age of the oldest secure hash that waits for a hash repository.',
    registers,
  })
  const duration = new Histogram({
    name: 'bytes_timestamp_duration_seconds',
    help: 'Time of requests to hash repositories, by host and outcome.',
    labelNames: ['provider', 'outcome'],
    buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
    registers,
  })
  const failures = new Counter({
    name: 'bytes_timestamp_failures_total',
    help: 'Requests to hash repositories that failed, by host and reason.',
    labelNames: ['provider', 'reason'],
    registers,
  })
  const stamped = new Counter({
    name: 'bytes_hashes_stamped_total',
    help: 'Secure hashes that this process has got a retrieval link for, by host.',
    labelNames: ['provider'],
    registers,
  })
  return {
    setPending: (state) => {
      pending.remove()
      oldest.remove()
      if (!state) return
      pending.set(state.pending)
      oldest.set(state.oldestAgeSeconds)
    },
    onRequest: ({ provider, seconds, failure }) => {
      duration.observe({ provider, outcome: failure === undefined ? 'stamped' : 'failed' }, seconds)
      if (failure !== undefined) failures.inc({ provider, reason: failure })
    },
    onStamped: (provider, hashes) => stamped.inc({ provider }, hashes),
  }
}
