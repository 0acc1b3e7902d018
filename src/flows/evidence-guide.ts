/** `VERIFY.md` of an evidence bundle: what it proves, and the commands that check it. */
import { BUNDLE, hashTreeName, inline } from '../domain/evidence-bundle.js'
import type { TimestampProof } from '../domain/hash-repository.js'
import type { RawFile } from '../domain/models.js'
import type { Anchor } from './evidence-anchors.js'
import type { NoProof } from './proof.js'
import { algorithmOf } from './verify.js'

/** A timestamp that verifies. */
export interface GuideTimestamp {
  readonly proof: TimestampProof
  /** Distinguished name of the authority. */
  readonly signer: string
  /** In hex. */
  readonly serial: string
  /** Trust anchors that the bundle holds. */
  readonly anchors: readonly Anchor[]
}

/** The text of `VERIFY.md`. Of what users have chosen there is nothing in it. */
export function guideText(rawFile: RawFile, timestamp: GuideTimestamp | NoProof): string {
  const proved = 'proof' in timestamp
  const parts = [
    `# Evidence for raw file ${rawFile.id}`,
    proved ? whatIsProved(timestamp) : whyNotProved(timestamp),
    'Run the commands below in the folder of this file. They need `openssl` (3.0 or later) and the ' +
      'commands of every Unix system, and neither the network nor the service that made the ' +
      'bundle. Each ends with an error when something is wrong.',
    contentPart(),
    secureHashPart(rawFile.secureHash),
  ]
  if (proved) parts.push(timestampPart(timestamp), anchorPart(timestamp))
  return `${parts.join('\n\n')}\n`
}

function whatIsProved({ proof, signer, serial }: GuideTimestamp): string {
  const way =
    proof.record === null
      ? 'The timestamp is for the SHA-512 of the secure hash.'
      : 'The timestamp is for the root of a hash tree (RFC 4998) that the SHA-512 of the secure hash is a leaf of.'
  return (
    `The file \`${BUNDLE.content}\` existed, exactly as it is here, at **${proof.time}**, and so ` +
    `did the claim that its job ended at the time in \`${BUNDLE.endedAt}\`. The timestamp authority ` +
    `\`${inline(signer)}\` says so, by timestamp number \`${inline(serial)}\` (RFC 3161). ${way}`
  )
}

function whyNotProved({ reason, publishedAt }: NoProof): string {
  const told = `**This bundle proves no time:** ${inline(reason)}.`
  if (publishedAt === undefined) return told
  return (
    `${told} See whether what is at \`${inline(publishedAt)}\` is the text of ` +
    `\`${BUNDLE.secureHash}\`, and since when whoever keeps it there says that it is.`
  )
}

const block = (...lines: readonly string[]): string => ['```sh', ...lines, '```'].join('\n')

/** A comparison whose outcome is told, and is the exit code as well. */
const compared = (name: string, left: string, right: string): string =>
  `if test "${left}" = "${right}"; then echo '${name}: OK'; else echo '${name}: FAILED'; false; fi`

function contentPart(): string {
  return [
    '## 1. The content is whole',
    `\`${BUNDLE.contentDigest}\` holds the SHA-512 of \`${BUNDLE.content}\`.`,
    block(`sha512sum -c ${BUNDLE.contentDigest}`),
  ].join('\n\n')
}

function secureHashPart(secureHash: string | null): string {
  const algorithm = secureHash === null ? undefined : algorithmOf(secureHash)
  if (algorithm === undefined) {
    const why = secureHash === null ? 'has none' : 'has one by an algorithm that is not known here'
    return `## 2. The secure hash\n\nThe raw file ${why}: there is nothing to be checked.`
  }
  const found = `${algorithm}:$(cat ${BUNDLE.content} ${BUNDLE.endedAt} | ${algorithm}sum | cut -d ' ' -f 1)`
  return [
    '## 2. The secure hash is that of the content',
    `The secure hash in \`${BUNDLE.secureHash}\` is the ${algorithm === 'sha512' ? 'SHA-512' : 'SHA-224'} ` +
      `of the content followed by the end time of its job in \`${BUNDLE.endedAt}\`: seconds since ` +
      `1970-01-01 00:00:00 UTC. \`${BUNDLE.meta}\` tells both; what else it tells of the job is not ` +
      'covered by the secure hash, and so not proved.',
    block(compared('secure hash', found, `$(cat ${BUNDLE.secureHash})`)),
  ].join('\n\n')
}

function timestampPart({ proof }: GuideTimestamp): string {
  const alone = proof.steps.length === 0
  const before = alone
    ? `\`${BUNDLE.token}\` is the timestamp of \`${BUNDLE.secureHash}\`.`
    : `Other files share the timestamp \`${BUNDLE.token}\`. The SHA-512 of ` +
      `\`${BUNDLE.secureHash}\` leads to it by way of the hashes in \`hash_tree\`: each step hashes ` +
      `hashes that are put together. \`${BUNDLE.record}\` says the same in the form of RFC 4998, ` +
      'for programs that read it.'
  return [
    '## 3. The secure hash has a timestamp',
    `${before} The certificates are checked as of the time of the timestamp (\`-attime\`): that one ` +
      'of them has expired since does not matter.',
    alone ? block(verifyCommand(proof, BUNDLE.secureHash)) : block(...treeCommands(proof)),
    'The time above is the one that the timestamp itself tells:',
    block(timeCommand(proof)),
  ].join('\n\n')
}

function verifyCommand(proof: TimestampProof, data: string): string {
  const seconds = Math.floor(Date.parse(proof.time) / 1000)
  const signers = proof.certificates === '' ? BUNDLE.anchors : BUNDLE.tokenCertificates
  return (
    `openssl ts -verify -token_in -in ${BUNDLE.token} -data ${data} ` +
    `-CAfile ${BUNDLE.anchors} -untrusted ${signers} -partial_chain -attime ${seconds}`
  )
}

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ')

/** Compares the time as `openssl` writes it, such as `Jan  4 21:57:43 2026 GMT`. */
function timeCommand({ time }: TimestampProof): string {
  const date = new Date(time)
  const day = String(date.getUTCDate()).padStart(2)
  const start = `${MONTHS[date.getUTCMonth()]} ${day} ${time.slice(11, 19)}`
  // How many digits of a fraction follow is up to the authority.
  const fraction = time.includes('.') ? "'*'" : ''
  const pattern = `*'Time stamp: ${start}${fraction} ${date.getUTCFullYear()} GMT'*`
  const told = `openssl ts -reply -token_in -in ${BUNDLE.token} -text -token_out`
  return (
    `case "$(${told})" in ${pattern}) echo 'time: OK, ${time}';; ` +
    "*) echo 'time: FAILED'; false;; esac"
  )
}

/** From the secure hash to what the token is for; what is made on the way goes to a folder of its own. */
function treeCommands(proof: TimestampProof): string[] {
  let hashes = 0
  const made = (step: number): string => `"$way/${step}.bin"`
  const joined = proof.steps.map((parts, step) => {
    const names = parts.map((part) => (part === null ? made(step) : hashTreeName(++hashes)))
    return `cat ${names.join(' ')}`
  })
  const hash = (to: string): string => `openssl dgst -sha512 -binary > ${to}`
  const commands = joined.map((cat, step) =>
    step + 1 < joined.length ? `${cat} | ${hash(made(step + 1))}` : `${cat} > "$way/root"`,
  )
  return [
    // In a shell of its own, which cleans up and ends at the first error.
    '(',
    '  set -e',
    '  way=$(mktemp -d)',
    `  trap 'rm -r "$way"' EXIT`,
    `  cat ${BUNDLE.secureHash} | ${hash(made(0))}`,
    ...commands.map((command) => `  ${command}`),
    `  ${verifyCommand(proof, '"$way/root"')}`,
    ')',
  ]
}

function anchorPart({ anchors }: GuideTimestamp): string {
  const [only, ...more] = anchors
  const told = anchors.map(
    ({ subject, fingerprint }) => `- \`${inline(subject)}\`: SHA-256 \`${fingerprint}\``,
  )
  const command = `openssl x509 -in ${BUNDLE.anchors} -noout -fingerprint -sha256`
  return [
    '## 4. The authority is one that you trust',
    `The commands above trust \`${BUNDLE.anchors}\`, which came with this bundle: whoever forges a ` +
      'bundle puts an authority of his own there. So compare its fingerprint with the one that the ' +
      'authority publishes, and not with this page alone:',
    told.join('\n'),
    only !== undefined && more.length === 0
      ? block(command, compared('fingerprint', `$(${command} | cut -d = -f 2)`, only.fingerprint))
      : 'The fingerprint of each is told by `openssl x509 -noout -fingerprint -sha256`.',
  ].join('\n\n')
}
