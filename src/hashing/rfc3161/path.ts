/**
 * From a signer's certificate to a trust anchor (RFC 5280, section 6.1), at the time of the
 * timestamp. Policies and name constraints are not processed: a critical extension that asks for it
 * is refused. Revocation is not asked for.
 */
import { type Instant, instantMicros } from '../../domain/instant.js'
import { oidOf, sameBytes } from '../der.js'
import { fits, schemeOf, weaknessOf } from './algorithms.js'
import { type Certificate, KEY_USAGE_BITS } from './certificate.js'
import { TimestampError, type TimestampErrorCode } from './errors.js'

export const TIME_STAMPING = '1.3.6.1.5.5.7.3.8'
const ANY_PURPOSE = '2.5.29.37.0'

/** Most steps in search of a path, so that a token cannot send us round in circles for long. */
const MAX_STEPS = 200

interface Fault {
  readonly code: TimestampErrorCode
  readonly message: string
}

/** Why a path that is right by itself is not taken; undefined when it is. */
export type PathRule = (path: readonly Certificate[]) => Fault | undefined

const isSame = (a: Certificate, b: Certificate): boolean => a === b || sameBytes(a.raw, b.raw)
const has = (list: readonly Certificate[], one: Certificate): boolean =>
  list.some((other) => isSame(other, one))

function faultOfBond(certificate: Certificate, issuer: Certificate): Fault | undefined {
  const { subject, signatureAlgorithm } = certificate
  const weak = (message: string): Fault => ({ code: 'weak_certificate', message })
  const scheme = schemeOf(signatureAlgorithm)
  if (scheme === undefined || (scheme.kind === 'rsa' && scheme.digest === null)) {
    const oid = oidOf(signatureAlgorithm.children[0])
    return weak(
      `the certificate of ${subject} is signed with an algorithm that is not taken, ${oid}`,
    )
  }
  const key = issuer.publicKey
  if (key === undefined) return weak(`${issuer.subject} has a key of a type that is not known`)
  const weakness = weaknessOf(key)
  if (weakness !== undefined) return weak(`${issuer.subject} has ${weakness}`)
  if (fits(scheme, key) && certificate.x509.verify(key)) return undefined
  const message = `the signature of the certificate of ${subject} is not that of ${issuer.subject}`
  return { code: 'wrong_certificate_signature', message }
}

/** What certificates say of each other does not change, and is asked for each timestamp. */
const BONDS = new WeakMap<Certificate, WeakMap<Certificate, Fault | 'none'>>()

/** Why the certificate does not bear the issuer's signature; undefined when it does. */
function bond(certificate: Certificate, issuer: Certificate): Fault | undefined {
  const known = BONDS.get(certificate) ?? new WeakMap<Certificate, Fault | 'none'>()
  BONDS.set(certificate, known)
  const fault = known.get(issuer) ?? faultOfBond(certificate, issuer) ?? 'none'
  known.set(issuer, fault)
  return fault === 'none' ? undefined : fault
}

const isIssuer = (issuer: Certificate, certificate: Certificate): boolean =>
  issuer.subjectKey === certificate.issuerKey

/** Why the certificate was not valid at this time; undefined when it was. */
export function faultOfValidity(certificate: Certificate, time: Instant): Fault | undefined {
  const { subject, notBefore, notAfter } = certificate
  const micros = instantMicros(time)
  if (micros < instantMicros(notBefore)) {
    const message = `the certificate of ${subject} was not yet valid at ${time}, only from ${notBefore}`
    return { code: 'certificate_not_yet_valid', message }
  }
  if (micros > instantMicros(notAfter)) {
    const message = `the certificate of ${subject} had expired at ${time}, on ${notAfter}`
    return { code: 'certificate_expired', message }
  }
  return undefined
}

/** Why the certificate at this place of the path may not be there; undefined when it may. */
function faultAt(path: readonly Certificate[], index: number, time: Instant): Fault | undefined {
  const certificate = path[index]
  if (certificate === undefined) return undefined
  const { subject, keyUsage, extendedKeyUsage, pathLength, unknownCritical } = certificate
  const validity = faultOfValidity(certificate, time)
  if (validity !== undefined) return validity
  if (unknownCritical.length > 0) {
    const message = `the certificate of ${subject} has a critical extension, ${unknownCritical[0]}, that is not understood`
    return { code: 'unknown_critical_extension', message }
  }
  if (index === 0) return undefined
  if (!certificate.isCa) {
    return { code: 'not_a_ca', message: `${subject} may not issue certificates` }
  }
  if (keyUsage !== undefined && !keyUsage.has(KEY_USAGE_BITS.keyCertSign)) {
    const message = `the key of ${subject} is not for signing certificates`
    return { code: 'wrong_key_usage', message }
  }
  const purposes = extendedKeyUsage?.purposes ?? [ANY_PURPOSE]
  // Whoever chooses an anchor chooses what for.
  if (index < path.length - 1 && !purposes.some((p) => p === ANY_PURPOSE || p === TIME_STAMPING)) {
    const message = `${subject} may not issue certificates for timestamps`
    return { code: 'wrong_extended_key_usage', message }
  }
  const between = path.slice(1, index).filter((one) => one.subjectKey !== one.issuerKey).length
  if (pathLength !== undefined && between > pathLength) {
    const message = `${subject} allows ${pathLength} certificates below it; there are ${between}`
    return { code: 'path_too_long', message }
  }
  return undefined
}

function refuse({ code, message }: Fault): never {
  throw new TimestampError(code, message)
}

/**
 * The path from `signer` to the first anchor that it can be made to. An anchor is held to the same
 * rules as the others, its validity included; only its own signature does not count. A signer that
 * is itself an anchor needs no other.
 * @param rule what else each path is held to: one that breaks it is passed over for the next
 * @throws TimestampError of the stage `certificate`: the reason why the first path does not do
 */
export function findPath(
  signer: Certificate,
  embedded: readonly Certificate[],
  anchors: readonly Certificate[],
  time: Instant,
  rule: PathRule,
): readonly Certificate[] {
  const candidates = [...anchors, ...embedded.filter((one) => !has(anchors, one))]
  let steps = 0
  let first: Fault | undefined

  const search = (trail: readonly Certificate[]): readonly Certificate[] | undefined => {
    const last = trail[trail.length - 1] ?? signer
    if (has(anchors, last)) {
      const faults = trail.map((_, i) => faultAt(trail, i, time))
      const fault = faults.find((one) => one !== undefined) ?? rule(trail)
      first ??= fault
      return fault === undefined ? trail : undefined
    }
    let fault: Fault | undefined
    let bonds = 0
    for (const issuer of candidates) {
      if (!isIssuer(issuer, last) || has(trail, issuer)) continue
      steps += 1
      if (steps > MAX_STEPS) break
      const wrong = bond(last, issuer)
      fault ??= wrong
      if (wrong !== undefined) continue
      bonds += 1
      const path = search([...trail, issuer])
      if (path !== undefined) return path
    }
    if (bonds === 0) {
      const isRoot = isIssuer(last, last) && bond(last, last) === undefined
      const why = isRoot
        ? `${last.subject} is none of the trust anchors`
        : `the certificate of ${last.issuer}, who issued that of ${last.subject}, is not there`
      first ??= fault && !isRoot ? fault : { code: 'untrusted', message: `not trusted: ${why}` }
    }
    return undefined
  }

  const path = search([signer])
  if (path !== undefined) return path
  return refuse(first ?? { code: 'untrusted', message: 'not trusted: no path to a trust anchor' })
}

/**
 * Sees to it that every certificate of a token is vouched for: it is an anchor, or bears the
 * signature of an anchor, of another one in the token, or its own. So no bit of a token is free.
 * @throws TimestampError `stray_certificate`
 */
export function refuseStrays(
  embedded: readonly Certificate[],
  anchors: readonly Certificate[],
): void {
  const issuers = [...anchors, ...embedded]
  for (const certificate of embedded) {
    if (has(anchors, certificate)) continue
    const mine = issuers.filter((issuer) => isIssuer(issuer, certificate))
    if (mine.some((issuer) => bond(certificate, issuer) === undefined)) continue
    const { subject, serial, issuer } = certificate
    const message = `nobody vouches for the certificate of ${subject} (serial number ${serial}) in the token: that of its issuer, ${issuer}, is not there, or does not fit; if it is a good one, add its issuer's to the trust anchors`
    refuse({ code: 'stray_certificate', message })
  }
}
