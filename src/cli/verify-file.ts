/** `bytes verify ID`: checks a raw file of a service, which need not be believed. */
import { type BytesClient, BytesClientError, type Verification } from '../client/client.js'
import type { Check } from '../domain/hash-repository.js'
import { type LinkFindings, verdictOf } from '../flows/verify.js'
import { checkTimestamp, withoutEvidence } from '../hashing/rfc3161/check.js'
import { parseTimestampLink } from '../hashing/rfc3161/links.js'
import { type ChosenAnchors, chooseAnchors } from './anchors.js'
import { printVerification } from './check-lines.js'
import { complain } from './command.js'
import { withClient } from './connect.js'

/** @returns the exit code: 1 only when something is wrong */
export async function verifyFile(id: string, anchorFile: string | undefined): Promise<number> {
  const chosen = await chooseAnchors(anchorFile)
  return withClient(async ({ client, signal, progress }) => {
    const line = progress(id)
    const result = await client.verify(id, {
      onProgress: ({ received, total, fileName }) => line.update(received, total, fileName),
      signal,
    })
    line.finish()
    const timestamp = await timestampOf(client, result, chosen, signal)
    const checks = [
      digestCheck('content_digest', result.contentDigest),
      digestCheck('secure_hash', result.secureHash),
      ...timestamp.checks,
    ]
    const verdict = verdictOf(checks, timestamp)
    printVerification(verdict, checks)
    if (!result.passed) complain(`raw file ${id} is not what was stored`)
    const wrong = timestamp.checks.find(({ passed }) => passed === false)
    if (wrong !== undefined) complain(`the timestamp of raw file ${id} is not good`)
    if (wrong?.name === 'timestamp_certificate') {
      complain(
        `it was checked with ${chosen.origin}: if it is of another authority, give the certificate ` +
          'of that by --anchor or BYTES_RFC3161_CERT_FILE',
      )
    }
    return verdict === 'failed' ? 1 : 0
  })
}

type DigestCheck = Verification['contentDigest']

function digestCheck(name: string, { passed, found, expected }: DigestCheck): Check {
  return { name, passed, detail: passed ? found : `${found}, recorded ${expected}` }
}

async function timestampOf(
  client: BytesClient,
  { rawFile: { hash_retrieval_link: link }, secureHash: { expected } }: Verification,
  { anchors }: ChosenAnchors,
  signal: AbortSignal,
): Promise<LinkFindings> {
  const none = (detail: string, pending = false): LinkFindings => {
    const checks = [{ name: 'timestamp', passed: null, detail }]
    return { checks, thirdParty: false, pending }
  }
  // A service that asks nobody gives a link of its own at once.
  if (link === null) return none('none yet: ask again later', true)
  const parsed = parseTimestampLink(link)
  if (parsed === undefined) {
    return URL.canParse(link)
      ? none(`none: see whether the secure hash is at ${link}`)
      : none('none: the service has kept the secure hash to itself')
  }
  const found = (checks: readonly Check[]): LinkFindings => {
    return { checks, thirdParty: true, pending: false }
  }
  const check = (token: Uint8Array | undefined, record: Uint8Array | null): LinkFindings =>
    found(checkTimestamp({ token, record }, expected, anchors))
  if (parsed.kind === 'token') return check(parsed.token, null)
  try {
    return check(undefined, await client.evidenceRecord(link, { signal }))
  } catch (error) {
    if (!(error instanceof BytesClientError) || error.code !== 'not_found') throw error
    return found(withoutEvidence(true, false, 'no such evidence record'))
  }
}
