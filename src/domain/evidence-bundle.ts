/** The names of the files in an evidence bundle. Nothing that a user has chosen is among them. */
export const BUNDLE = {
  guide: 'VERIFY.md',
  content: 'content',
  /** The content digest as `sha512sum` writes it. */
  contentDigest: 'content.sha512',
  /** As the API gives the raw file's metadata. */
  meta: 'raw_meta.json',
  /** In ASCII, without a line break. */
  secureHash: 'secure_hash.txt',
  /** What follows the content in the secure hash: ASCII, without a line break. */
  endedAt: 'ended_at.txt',
  /** TimeStampToken, DER. */
  token: 'timestamp_token.der',
  /** EvidenceRecord, DER. */
  record: 'evidence_record.der',
  /** PEM. */
  anchors: 'certificates/anchors.pem',
  /** PEM. */
  tokenCertificates: 'certificates/token.pem',
} as const

/** A hash that the way from the secure hash to the timestamp needs. @param number from 1 */
export const hashTreeName = (number: number): string => `hash_tree/${number}.bin`

/** Text that is no user's, such as a distinguished name, on one line and without a backtick. */
export function inline(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}`]+/gu, ' ').trim()
}

/** Whether `hashTreeName` gives this name for a number below 1000. */
export const isHashTreeName = (name: string): boolean => /^hash_tree\/[1-9]\d{0,2}\.bin$/.test(name)
