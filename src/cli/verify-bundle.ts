/** `bytes verify BUNDLE.zip`: checks an evidence bundle by itself. */
import { basename } from 'node:path'
import { BUNDLE, hashTreeName } from '../domain/evidence-bundle.js'
import type { Check } from '../domain/hash-repository.js'
import { type Instant, parseInstant, pythonTimestamp } from '../domain/instant.js'
import { algorithmOf, noSecureHash, verdictOf } from '../flows/verify.js'
import { parseAnchors } from '../hashing/rfc3161/anchors.js'
import { examineTimestamp, type TimestampFindings } from '../hashing/rfc3161/check.js'
import { parseTimestampLink } from '../hashing/rfc3161/links.js'
import { type ChosenAnchors, chooseAnchors, namesOf } from './anchors.js'
import { type Bundle, BundleError, fileOf, openBundle } from './bundle.js'
import { printVerification } from './check-lines.js'
import { complain, interruptible } from './command.js'
import { createProgress } from './progress.js'

/**
 * Checks a bundle: no database, no network, no settings but the trust anchors.
 * @returns the exit code: 0 only when all of it is proved
 */
export async function verifyBundle(path: string, anchorFile: string | undefined): Promise<number> {
  const chosen = await chooseAnchors(anchorFile)
  return interruptible((signal) => verifyWith(path, chosen, signal)).catch((error: unknown) => {
    if (error instanceof BundleError) throw new Error(`${path}: ${error.message}`, { cause: error })
    throw error
  })
}

async function verifyWith(
  path: string,
  chosen: ChosenAnchors,
  signal: AbortSignal,
): Promise<number> {
  const bundle = await openBundle(path)
  const progress = createProgress(basename(path))
  try {
    const onProgress = (bytes: number): void => progress.update(bytes, bundle.contentSize)
    const { checks, thirdParty, distrusted } = await examine(bundle, chosen, onProgress, signal)
    progress.finish()
    const verdict = verdictOf(checks, { thirdParty, pending: false })
    printVerification(verdict, checks)
    if (distrusted) tellOtherAnchors(bundle, chosen)
    return verdict === 'verified' ? 0 : 1
  } finally {
    progress.finish()
    bundle.close()
  }
}

interface Examined {
  readonly checks: readonly Check[]
  readonly thirdParty: boolean
  /** Whether the timestamp fails for its certificates only. */
  readonly distrusted: boolean
}

async function examine(
  bundle: Bundle,
  { anchors }: ChosenAnchors,
  onProgress: (bytes: number) => void,
  signal: AbortSignal,
): Promise<Examined> {
  const meta = readMeta(fileOf(bundle, BUNDLE.meta))
  const endedAt = fileOf(bundle, BUNDLE.endedAt).toString('latin1')
  const secureHash = bundle.files.get(BUNDLE.secureHash)?.toString('latin1') ?? null
  const algorithm = secureHash === null ? undefined : algorithmOf(secureHash)
  const hashes = await bundle.hashContent(algorithm ?? 'sha512', onProgress, signal)
  const checks: Check[] = [
    compare('content_digest', digestIn(bundle), hashes.contentDigest),
    algorithm === undefined || secureHash === null
      ? { name: 'secure_hash', passed: null, detail: noSecureHash(secureHash) }
      : compare('secure_hash', secureHash, hashes.secureHash(meta.endedAt)),
    metaCheck(bundle, meta, secureHash, endedAt),
  ]
  const token = bundle.files.get(BUNDLE.token)
  const record = bundle.files.get(BUNDLE.record) ?? null
  if (secureHash === null || (token === undefined && record === null)) {
    return { checks: [...checks, noTimestamp(meta.link)], thirdParty: false, distrusted: false }
  }
  const found = examineTimestamp({ token, record }, secureHash, anchors)
  checks.push(...found.checks)
  if (record !== null && found.verified !== undefined)
    checks.push(treeFiles(bundle, found.verified))
  const untrusted = ({ name, passed }: Check): boolean =>
    name === 'timestamp_certificate' && passed === false
  return { checks, thirdParty: true, distrusted: found.checks.some(untrusted) }
}

interface Meta {
  readonly secureHash: unknown
  readonly endedAt: Instant
  readonly link: unknown
}

function readMeta(bytes: Buffer): Meta {
  let value: unknown
  try {
    value = JSON.parse(bytes.toString('utf8'))
  } catch (error) {
    throw new BundleError(`${BUNDLE.meta} in it is no JSON`, { cause: error })
  }
  const endedAt = parseInstant(memberOf(memberOf(value, 'boefje_meta'), 'ended_at'))
  if (!endedAt.ok) throw new BundleError(`${BUNDLE.meta} in it tells no end time of the job`)
  return {
    secureHash: memberOf(value, 'secure_hash') ?? null,
    endedAt: endedAt.instant,
    link: memberOf(value, 'hash_retrieval_link') ?? null,
  }
}

const memberOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? Reflect.get(value, name)
    : undefined

/** As `sha512sum` reads it. */
function digestIn(bundle: Bundle): string {
  const line = fileOf(bundle, BUNDLE.contentDigest).toString('latin1')
  const digits = /^([0-9a-f]{128}) [ *]content\n?$/.exec(line)?.[1]
  if (digits !== undefined) return `sha512:${digits}`
  throw new BundleError(`${BUNDLE.contentDigest} in it is not what sha512sum writes`)
}

function compare(name: string, recorded: string, found: string): Check {
  const passed = recorded === found
  return { name, passed, detail: passed ? found : `${found}, recorded ${recorded}` }
}

/** Whether the metadata is about what the other files are about. */
function metaCheck(
  bundle: Bundle,
  { secureHash, endedAt, link }: Meta,
  hashFile: string | null,
  endedAtFile: string,
): Check {
  const check = (passed: boolean, detail: string): Check => ({ name: 'raw_meta', passed, detail })
  if (secureHash !== hashFile) return check(false, `its secure hash is not ${BUNDLE.secureHash}`)
  if (pythonTimestamp(endedAt) !== endedAtFile) {
    return check(false, `the end time of its job is not ${BUNDLE.endedAt}`)
  }
  if (!linkFits(bundle, link)) {
    return check(false, 'its retrieval link is not that of the timestamp in the bundle')
  }
  return check(true, 'of this secure hash, this end time and this retrieval link')
}

function linkFits({ files }: Bundle, link: unknown): boolean {
  const parsed = typeof link === 'string' ? parseTimestampLink(link) : undefined
  const token = files.get(BUNDLE.token)
  if (files.has(BUNDLE.record) !== (parsed?.kind === 'record')) return false
  if (parsed?.kind === 'token') return token?.equals(parsed.token) === true
  return (token === undefined) === (parsed === undefined)
}

function noTimestamp(link: unknown): Check {
  const detail =
    typeof link === 'string' && URL.canParse(link)
      ? `no timestamp: see whether the secure hash is at ${link}`
      : 'there is no timestamp in the bundle: nothing proves a time'
  return { name: 'retrieval_link', passed: null, detail }
}

/** The hashes that `VERIFY.md` works with are those of the record. */
function treeFiles(
  { files }: Bundle,
  { steps }: NonNullable<TimestampFindings['verified']>,
): Check {
  const hashes = steps.flat().filter((hash) => hash !== null)
  const given = [...files.keys()].filter((name) => name.startsWith('hash_tree/'))
  const passed =
    given.length === hashes.length &&
    hashes.every((hash, i) => files.get(hashTreeName(i + 1))?.equals(hash) === true)
  const detail = passed ? 'those of the evidence record' : 'not those of the evidence record'
  return { name: 'hash_tree_files', passed, detail }
}

/** A forged bundle would bring its own anchors: only people can tell whether they are good. */
function tellOtherAnchors({ files }: Bundle, { origin, anchors }: ChosenAnchors): void {
  const pem = files.get(BUNDLE.anchors)
  if (pem === undefined) return
  let others: string[]
  try {
    const known = namesOf(anchors)
    // Read as `--anchor` would: what is shown must be what would be trusted.
    const given = namesOf(parseAnchors(pem.toString('latin1')))
    others = given.filter((name) => !known.includes(name))
  } catch {
    complain(`${BUNDLE.anchors} in the bundle cannot be read`)
    return
  }
  if (others.length === 0) return
  complain(
    `the timestamp was checked with ${origin}; the bundle came with other trust anchors:`,
    ...others.map((name) => `  ${name}`),
    'if the authority publishes this fingerprint, unzip the bundle and give',
    `  --anchor ${BUNDLE.anchors}`,
  )
}
