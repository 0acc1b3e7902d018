import type { Instant } from '../../domain/instant.js'
import { contextTag, type DerNode, numberOf, parseDer, TAG } from '../der.js'
import { type Digest, digestOf } from './algorithms.js'
import { instantOf } from './der-times.js'
import { TimestampError } from './errors.js'
import { Fields, StructureError } from './fields.js'

/** TSTInfo (RFC 3161, section 2.4.2). */
export interface TstInfo {
  readonly policy: string
  /** Undefined when it is another than SHA-256, SHA-384 and SHA-512. */
  readonly hashAlgorithm: Digest | undefined
  readonly imprint: Uint8Array
  readonly serialNode: DerNode
  readonly time: Instant
  readonly accuracyMs: number | null
  readonly nonceNode: DerNode | undefined
  /** GeneralName of the authority. */
  readonly tsa: DerNode | undefined
}

/** Of milliseconds and microseconds in an Accuracy. */
const MAX_PART = 999

function accuracyOf(node: DerNode | undefined): number | null {
  if (node === undefined) return null
  const fields = new Fields(node, 'the accuracy')
  const seconds = fields.optional(TAG.integer)
  const parts = [fields.optional(contextTag(0, false)), fields.optional(contextTag(1, false))]
  fields.end()
  const whole = seconds === undefined ? 0 : numberOf(seconds)
  const [millis = -1, micros = -1] = parts.map((part) => {
    if (part === undefined) return 0
    const value = numberOf({ ...part, tag: TAG.integer }) ?? -1
    const isShortest = part.content.length === (value < 0x80 ? 1 : 2)
    return value > 0 && value <= MAX_PART && isShortest ? value : -1
  })
  if (whole === undefined || millis < 0 || micros < 0) {
    throw new StructureError('the accuracy is out of range')
  }
  return whole * 1000 + millis + micros / 1000
}

/** @throws TimestampError `unknown_token_extension` */
function refuseCritical(extensions: DerNode | undefined): void {
  for (const child of extensions?.children ?? []) {
    const fields = new Fields(child, 'the extension')
    const oid = fields.oid('the type')
    const critical = fields.optional(TAG.boolean)?.content[0] === 0xff
    fields.only(TAG.octetString, 'the value')
    if (critical) {
      const what = `the timestamp has a critical extension, ${oid}, that is not understood`
      throw new TimestampError('unknown_token_extension', what)
    }
  }
}

/**
 * @param der the eContent of a token
 * @throws DerError, StructureError
 * @throws TimestampError `unknown_token_extension`
 */
export function readTstInfo(der: Uint8Array): TstInfo {
  const fields = new Fields(parseDer(der), 'TSTInfo')
  const version = numberOf(fields.take(TAG.integer, 'the version'))
  if (version !== 1) throw new StructureError('the version of TSTInfo is not 1')
  const policy = fields.oid('the policy')
  const messageImprint = new Fields(fields.take(TAG.sequence, 'messageImprint'), 'messageImprint')
  const hashAlgorithm = digestOf(messageImprint.take(TAG.sequence, 'hashAlgorithm'))
  const imprint = messageImprint.only(TAG.octetString, 'hashedMessage').content
  const serialNode = fields.take(TAG.integer, 'serialNumber')
  const time = instantOf(fields.take(TAG.generalizedTime, 'genTime'), 'genTime')
  const accuracyMs = accuracyOf(fields.optional(TAG.sequence))
  // DER leaves a default value out, which is false.
  if (fields.optional(TAG.boolean)?.content[0] === 0) {
    throw new StructureError('ordering is false, and there all the same')
  }
  const nonceNode = fields.optional(TAG.integer)
  const tsa = fields.optional(contextTag(0))
  if (tsa !== undefined && tsa.children.length !== 1) {
    throw new StructureError('tsa is no name')
  }
  const extensions = fields.optional(contextTag(1))
  fields.end()
  refuseCritical(extensions)
  return {
    policy,
    hashAlgorithm,
    imprint,
    serialNode,
    time,
    accuracyMs,
    nonceNode,
    tsa: tsa?.children[0],
  }
}
