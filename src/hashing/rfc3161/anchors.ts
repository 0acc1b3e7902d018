import { type Certificate, isFormatError, pemOf, readCertificate } from './certificate.js'
import { TimestampError } from './errors.js'

/** Certificates that are trusted without further proof. */
export interface Anchors {
  /** At least one, each once. */
  readonly certificates: readonly Certificate[]
  /** The same, as PEM. */
  readonly pem: string
}

const BOUNDARY = /^-----(BEGIN|END) ([^\r\n]*)-----[ \t]*$/
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
const LABEL = 'CERTIFICATE'
/** Longest label that a message repeats. */
const MAX_LABEL = 40

function bad(what: string, cause?: unknown): never {
  throw new TimestampError('bad_anchors', what, { cause })
}

/** The base64 text between the boundaries of each block. */
function blocksOf(pem: string): string[] {
  const blocks: string[] = []
  let open: string[] | undefined
  for (const line of pem.split(/\r\n|\n|\r/)) {
    const [, kind, label = ''] = BOUNDARY.exec(line) ?? []
    if (kind === undefined) {
      open?.push(line.trim())
      continue
    }
    if (label !== LABEL) {
      const shown = label.slice(0, MAX_LABEL).replace(/[^ -~]/g, '?')
      bad(`there is a block "${shown}" in it; only certificates (BEGIN ${LABEL}) belong there`)
    }
    if (kind === 'BEGIN') {
      if (open !== undefined) bad(`certificate ${blocks.length + 1} has no end`)
      open = []
    } else {
      if (open === undefined) bad(`there is an end of a certificate that has no beginning`)
      blocks.push(open.join(''))
      open = undefined
    }
  }
  if (open !== undefined) bad(`certificate ${blocks.length + 1} has no end`)
  return blocks
}

/**
 * Reads the certificates of a PEM file (RFC 7468). Text outside the blocks is passed over.
 * @throws TimestampError `bad_anchors`, whose message says what is wrong, and never holds a key
 */
export function parseAnchors(pem: string): Anchors {
  const found = new Map<string, Certificate>()
  blocksOf(pem).forEach((base64, i) => {
    const which = `certificate ${i + 1}`
    if (base64 === '' || !BASE64.test(base64)) bad(`${which} is not in base64`)
    try {
      const certificate = readCertificate(Buffer.from(base64, 'base64'))
      found.set(Buffer.from(certificate.raw).toString('base64'), certificate)
    } catch (error) {
      if (!isFormatError(error)) throw error
      bad(`${which} is no certificate: ${error.message}`, error)
    }
  })
  if (found.size === 0) bad(`there is no certificate (BEGIN ${LABEL}) in it`)
  const certificates = [...found.values()]
  return { certificates, pem: pemOf(certificates) }
}
