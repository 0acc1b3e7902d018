import { BUNDLE, hashTreeName } from '../domain/evidence-bundle.js'
import type { TimestampProof } from '../domain/hash-repository.js'
import { pythonTimestamp } from '../domain/instant.js'
import type { SecureHash, StoredRawFile } from '../domain/models.js'
import { rawFileText } from '../domain/wire-text.js'
import { parseAnchors } from '../hashing/rfc3161/anchors.js'
import { examineTimestamp } from '../hashing/rfc3161/check.js'
import { anchorsIn } from './evidence-anchors.js'
import { type GuideTimestamp, guideText } from './evidence-guide.js'
import { type NoProof, type ProofPorts, proofOf, type TimestampFiles } from './proof.js'
import { checkContents, findRawFile, openContent, withoutTexts } from './retrieve.js'
import { type LazyContent, type ZipEntry, type ZipStream, zipStream } from './zip-stream.js'

export type EvidencePorts = ProofPorts

/**
 * The evidence bundle of a raw file as a zip archive: all that an outsider needs to check it, and how.
 * Its bytes are the same each time, as long as the raw file has the same timestamp. Content that is
 * found to be damaged while it is read ends the archive before its end.
 * @throws BytesError as `openContent`; `database_unavailable`
 */
export async function openEvidence(ports: EvidencePorts, file: StoredRawFile): Promise<ZipStream> {
  await checkContents(ports, [file])
  const { rawFile, blob } = file
  const timestamp = await timestampOf(ports, file)
  const digest = blob.contentDigest.slice('sha512:'.length)
  const slim = withoutTexts(file)
  const entries: ZipEntry[] = [
    text(BUNDLE.guide, guideText(rawFile, timestamp)),
    { name: BUNDLE.content, content: contentOf(ports, slim) },
    text(BUNDLE.contentDigest, `${digest}  ${BUNDLE.content}\n`),
    { name: BUNDLE.meta, content: metaOf(ports, slim, Buffer.byteLength(rawFileText(rawFile))) },
    text(BUNDLE.endedAt, pythonTimestamp(rawFile.boefjeMeta.endedAt)),
  ]
  if (rawFile.secureHash !== null) entries.push(text(BUNDLE.secureHash, rawFile.secureHash))
  if ('proof' in timestamp) entries.push(...filesOf(timestamp.proof), ...entriesOf(timestamp))
  else if (timestamp.files !== undefined) entries.push(...filesOf(timestamp.files))
  const time = 'proof' in timestamp ? timestamp.proof.time : rawFile.boefjeMeta.endedAt
  return zipStream(entries, new Date(time))
}

const text = (name: string, content: string): ZipEntry => ({ name, content: Buffer.from(content) })

// What is opened when its turn comes: the long texts of the job are not kept until then.

function contentOf(ports: EvidencePorts, file: StoredRawFile): LazyContent {
  async function* open(): AsyncGenerator<Uint8Array> {
    yield* await openContent(ports, file)
  }
  return { size: file.blob.size, open }
}

/** @param slim has all but the texts of the job, which never change */
function metaOf(ports: EvidencePorts, slim: StoredRawFile, size: number): LazyContent {
  async function* open(): AsyncGenerator<Uint8Array> {
    const { boefjeMeta } = (await findRawFile(ports, slim.rawFile.id)).rawFile
    yield Buffer.from(rawFileText({ ...slim.rawFile, boefjeMeta }))
  }
  return { size, open }
}

function filesOf({ token, record }: TimestampFiles): ZipEntry[] {
  const entries = [{ name: BUNDLE.token, content: token }]
  return record === null ? entries : [...entries, { name: BUNDLE.record, content: record }]
}

function entriesOf({ proof, anchors }: GuideTimestamp): ZipEntry[] {
  const entries = [text(BUNDLE.anchors, anchors.map(({ pem }) => pem).join(''))]
  if (proof.certificates !== '') entries.push(text(BUNDLE.tokenCertificates, proof.certificates))
  const hashes = proof.steps.flat().filter((hash) => hash !== null)
  return [...entries, ...hashes.map((content, i) => ({ name: hashTreeName(i + 1), content }))]
}

async function timestampOf(
  ports: EvidencePorts,
  file: StoredRawFile,
): Promise<GuideTimestamp | NoProof> {
  const proof = await proofOf(ports, file)
  if ('reason' in proof) return proof
  const { secureHash } = file.rawFile
  if (secureHash === null) throw new Error('a proof without a secure hash')
  return withAnchors(proof, secureHash)
}

/** With the one trust anchor that the timestamp leads to, if one is enough, as is usual. */
function withAnchors(proof: TimestampProof, secureHash: SecureHash): GuideTimestamp {
  const all = anchorsIn(proof.anchors)
  for (const anchors of [...all.map((each) => [each]), all]) {
    const pem = anchors.map((each) => each.pem).join('')
    const { verified } = examineTimestamp(proof, secureHash, parseAnchors(pem))
    if (verified !== undefined) {
      const { signer, serial } = verified.timestamp
      return { proof, signer, serial, anchors }
    }
  }
  throw new Error('a proof that does not verify with its trust anchors')
}
