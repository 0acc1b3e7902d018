/** `bytes audit` as a judge after a fault: it knows nothing of the test, and reads the whole store. */
import type { TestStore } from './service.js'

export interface AuditReport {
  readonly findings: readonly {
    readonly kind: string
    readonly detail: string
    readonly raw_file_ids: readonly string[]
  }[]
  readonly summary: { readonly blobs: number; readonly verified: number }
}

/** @throws Error when the audit did not run to its end */
export async function auditReport(
  store: Pick<TestStore, 'run'>,
  environment: Record<string, string> = {},
): Promise<AuditReport & { readonly code: number | null }> {
  const { code, stdout, stderr } = await store.run(['audit', '--json'], environment)
  if (code !== 0 && code !== 1) throw new Error(`the audit ended with ${code}: ${stderr}`)
  return { ...(JSON.parse(stdout) as AuditReport), code }
}

/**
 * What is wrong with a store, in the words of the audit. What nothing refers to is allowed to be
 * there: an upload that was cut off may leave it, and the sweep removes it.
 * @param databaseUri when it is not that of the store
 * @returns a line for each finding
 */
export async function auditFindings(
  store: Pick<TestStore, 'run'>,
  databaseUri?: string,
): Promise<string[]> {
  const environment = databaseUri === undefined ? {} : { BYTES_DB_URI: databaseUri }
  const { code, findings, summary } = await auditReport(store, environment)
  const found = findings.map((finding) => `the audit found ${JSON.stringify(finding)}`)
  if (found.length === 0 && (code !== 0 || summary.verified !== summary.blobs)) {
    found.push(`the audit ended with ${code} and ${JSON.stringify(summary)}`)
  }
  return found
}
