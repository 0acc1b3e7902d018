import type { AuditOptions } from '../flows/audit.js'
import { UsageError } from './command.js'

/** What the command line of `bytes audit` may say. */
export interface AuditArguments {
  readonly sample?: string | undefined
  readonly 'max-duration'?: string | undefined
  readonly grace?: string | undefined
  readonly 'stuck-after'?: string | undefined
  readonly sweep?: boolean | undefined
}

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }

/** Reads the options. @throws UsageError */
export function auditArguments(values: AuditArguments): Pick<
  AuditOptions,
  'share' | 'sweep' | 'graceSeconds' | 'stuckSeconds'
> & {
  readonly maxDurationMs: number
} {
  const maxDuration = values['max-duration']
  return {
    share: share(values.sample ?? '100%'),
    sweep: values.sweep ?? false,
    graceSeconds: seconds('--grace', values.grace ?? '24h'),
    stuckSeconds: seconds('--stuck-after', values['stuck-after'] ?? '1h'),
    maxDurationMs:
      maxDuration === undefined
        ? Number.POSITIVE_INFINITY
        : seconds('--max-duration', maxDuration) * 1000,
  }
}

function share(text: string): number {
  const percent = Number(text.slice(0, -1))
  if (!/^\d{1,3}(\.\d{1,6})?%$/.test(text) || percent > 100) {
    throw new UsageError('--sample takes a share from 0% to 100%, such as 5%')
  }
  return percent / 100
}

function seconds(option: string, text: string): number {
  const [, number = '', unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  const factor = UNITS[unit]
  if (factor === undefined) {
    throw new UsageError(`${option} takes a whole number and s, m, h or d, such as 10m`)
  }
  return Number(number) * factor
}
