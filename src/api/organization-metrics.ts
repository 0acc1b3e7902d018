import type { OrganizationCounts } from '../domain/meta-repository.js'
import { createTurns } from '../flows/turns.js'

/** Samples that are written between two turns of others: a few milliseconds. */
const SAMPLES_AT_ONCE = 5_000

interface Gauge {
  readonly name: string
  readonly help: string
  /** A sample's value, as it is written. */
  readonly value: (counts: OrganizationCounts) => string
}

/**
 * Those of the protocol come first, which existing dashboards read: their values are floats with a
 * fraction, which prom-client does not write.
 */
const GAUGES: readonly Gauge[] = [
  {
    name: 'bytes_database_raw_files_total',
    help: 'Total amount of raw files in the bytes database.',
    value: ({ rawFiles }) => `${rawFiles}.0`,
  },
  {
    name: 'bytes_stored_bytes',
    help: 'Size of the stored blobs, by organization.',
    value: ({ storedBytes }) => String(storedBytes),
  },
  {
    name: 'bytes_deduplicated_bytes',
    help: 'Size of uploaded content that was stored already, by organization.',
    value: ({ savedBytes }) => String(savedBytes),
  },
]

/**
 * The part of the metrics page that is about organizations. There may be any number of them, so it is
 * written by hand and in turns: a label of prom-client costs several times as much, all at once.
 * @param organizations undefined when they are not known: then there are no samples
 */
export async function organizationSamples(
  organizations: readonly OrganizationCounts[] | undefined,
): Promise<string> {
  const turn = createTurns(SAMPLES_AT_ONCE)
  const lines = head(
    'bytes_database_organizations_total',
    'Total amount of organizations in the bytes database.',
  )
  if (organizations) lines.push(`bytes_database_organizations_total ${organizations.length}.0`)
  for (const { name, help, value } of GAUGES) {
    lines.push(...head(name, help))
    for (const counts of organizations ?? []) {
      const label = escapeLabel(counts.organization)
      lines.push(`${name}{organization_id="${label}"} ${value(counts)}`)
      await turn(1)
    }
  }
  return `${lines.join('\n')}\n`
}

const head = (name: string, help: string): string[] => [
  `# HELP ${name} ${help}`,
  `# TYPE ${name} gauge`,
]

/** Label values escape backslash, double quote and newline, nothing else. */
function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
