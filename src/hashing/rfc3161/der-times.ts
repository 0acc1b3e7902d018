import { type Instant, parseInstant } from '../../domain/instant.js'
import { type DerNode, TAG } from '../der.js'
import { StructureError } from './fields.js'

/** Two digits of a year are those of 1950 to 2049 (RFC 5280, section 4.1.2.5.1). */
const FIRST_CENTURY_YEAR = 50

/**
 * Reads a UTCTime or a GeneralizedTime, with its fraction down to the microsecond.
 * @throws StructureError when it is neither, or there is no such time
 */
export function instantOf(node: DerNode | undefined, name: string): Instant {
  let text = Buffer.from(node?.content ?? []).toString('latin1')
  if (node?.tag === TAG.utcTime) {
    text = `${Number(text.slice(0, 2)) < FIRST_CENTURY_YEAR ? '20' : '19'}${text}`
  } else if (node?.tag !== TAG.generalizedTime) {
    throw new StructureError(`${name} is no time`)
  }
  const iso = text.replace(/^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)/, '$1-$2-$3T$4:$5:$6')
  const parsed = parseInstant(iso)
  if (!parsed.ok) throw new StructureError(`${name} ${parsed.reason}`)
  return parsed.instant
}
