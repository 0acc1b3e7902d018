/** TimeStampResp (RFC 3161, section 2.4.2). */
import { fromBER } from 'asn1js'
import { PKIStatusInfo } from 'pkijs'
import { DerError, type DerNode, parseDer, TAG } from '../der.js'
import { shownText } from '../exchange.js'
import { TimestampError } from './errors.js'
import { Fields, StructureError } from './fields.js'

const STATUS: Readonly<Record<number, string>> = {
  0: 'granted',
  1: 'grantedWithMods',
  2: 'rejection',
  3: 'waiting',
  4: 'revocationWarning',
  5: 'revocationNotification',
}

/** PKIFailureInfo by the number of the bit. */
const FAILURES: Readonly<Record<number, string>> = {
  0: 'badAlg',
  2: 'badRequest',
  5: 'badDataFormat',
  14: 'timeNotAvailable',
  15: 'unacceptedPolicy',
  16: 'unacceptedExtension',
  17: 'addInfoNotAvailable',
  25: 'systemFailure',
}
const MAX_FAILURE_BITS = 64

function failuresOf(bits: Uint8Array): string[] {
  const names: string[] = []
  for (let bit = 0; bit < Math.min(bits.length * 8, MAX_FAILURE_BITS); bit++) {
    if (((bits[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) === 0) continue
    names.push(FAILURES[bit] ?? `failure ${bit}`)
  }
  return names
}

/** @throws TimestampError `not_granted` */
function checkStatus(statusInfo: DerNode): void {
  let status: number
  let texts: string[]
  let failures: string[]
  try {
    const info = new PKIStatusInfo({ schema: fromBER(Uint8Array.from(statusInfo.raw)).result })
    status = info.status
    texts = (info.statusStrings ?? []).map((text) => shownText(String(text.valueBlock.value)))
    failures = failuresOf(info.failInfo?.valueBlock.valueHexView ?? new Uint8Array())
  } catch (cause) {
    throw new StructureError(`the status cannot be read (${String(cause)})`)
  }
  if (status === 0 || status === 1) return
  const what = [STATUS[status] ?? `status ${status}`, ...failures, ...texts]
  const said = shownText(what.filter((part) => part !== '').join('; '))
  throw new TimestampError('not_granted', `the authority refused: ${said}`)
}

/**
 * The TimeStampToken of an answer that grants one; it is not verified.
 * @returns a view of the answer
 * @throws TimestampError `not_granted`, `malformed_response`
 */
export function tokenOf(answer: Uint8Array): Uint8Array {
  try {
    const fields = new Fields(parseDer(answer), 'TimeStampResp')
    const status = fields.take(TAG.sequence, 'the status')
    checkStatus(status)
    return fields.only(TAG.sequence, 'the token').raw
  } catch (cause) {
    if (!(cause instanceof DerError || cause instanceof StructureError)) throw cause
    const what = `the authority's answer is no TimeStampResp: ${cause.message}`
    throw new TimestampError('malformed_response', what, { cause })
  }
}
