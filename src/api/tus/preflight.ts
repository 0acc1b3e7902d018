/** Checks of a request's headers, before anything is done for it: the package tells less, or other statuses. */
import type { IncomingHttpHeaders } from 'node:http'
import { type ExpectedDigest, expectedDigests } from '../body-digest.js'
import { hasBody, refuseEncoded } from '../body-stream.js'
import { detail } from '../problems.js'
import { parseChecksum } from './checksum.js'
import type { Exchange } from './exchange.js'
import { parseMetadata } from './metadata.js'

/** The one version of the protocol. */
export const TUS_VERSION = '1.0.0'
/** Media type of a chunk. */
export const CHUNK_TYPE = 'application/offset+octet-stream'

/**
 * @param maxBytes longest file
 * @returns what the store has to know of the request
 * @throws HttpProblem 400, 412, 413, 415, 422
 */
export function preflight(
  method: string,
  headers: IncomingHttpHeaders,
  maxBytes: number,
): Pick<Exchange, 'description' | 'digests'> {
  if (headers['tus-resumable'] !== TUS_VERSION) {
    throw detail(412, `Send the header Tus-Resumable: ${TUS_VERSION}`, {
      'tus-version': TUS_VERSION,
    })
  }
  if (method !== 'POST' && method !== 'PATCH') return { digests: [] }
  refuseEncoded(headers)
  if (method === 'PATCH') {
    requireChunkType(headers)
    wholeNumber('Upload-Offset', headers)
    // Only a length that was deferred can be told now, which the package answers 501.
    if (headers['upload-length'] !== undefined) {
      throw detail(400, 'Send Upload-Length with the creation of the upload, and not with a chunk')
    }
    if (headers['repr-digest'] !== undefined) {
      throw detail(400, 'Send Repr-Digest, of the whole file, with the creation of the upload')
    }
    return { digests: digestsOf(headers) }
  }
  if (hasBody(headers)) requireChunkType(headers)
  return { digests: digestsOf(headers), description: describe(headers, maxBytes) }
}

function describe(headers: IncomingHttpHeaders, maxBytes: number): Exchange['description'] {
  for (const name of ['Upload-Concat', 'Upload-Defer-Length']) {
    if (headers[name.toLowerCase()] === undefined) continue
    throw detail(400, `${name} is not supported: upload one file, and give its Upload-Length`)
  }
  if (wholeNumber('Upload-Length', headers) > maxBytes) {
    throw detail(
      413,
      `The file is longer than the ${maxBytes} bytes that BYTES_MAX_BODY_BYTES allows`,
    )
  }
  const metadata = String(headers['upload-metadata'] ?? '')
  // Refused now if it cannot be checked in the end.
  expectedDigests(headers, ['repr-digest'])
  const reprDigest = headers['repr-digest'] === undefined ? null : String(headers['repr-digest'])
  return { ...parseMetadata(metadata), metadata, reprDigest }
}

/** Of the bytes of this request. */
function digestsOf(headers: IncomingHttpHeaders): ExpectedDigest[] {
  const digests = expectedDigests(headers, ['content-digest'])
  const checksum = headers['upload-checksum']
  return checksum === undefined ? digests : [...digests, parseChecksum(String(checksum))]
}

function requireChunkType(headers: IncomingHttpHeaders): void {
  if (headers['content-type']?.trim().toLowerCase() === CHUNK_TYPE) return
  throw detail(415, `Send bytes with the header Content-Type: ${CHUNK_TYPE}`)
}

function wholeNumber(name: string, headers: IncomingHttpHeaders): number {
  const text = String(headers[name.toLowerCase()] ?? '')
  // 15 digits are exact in a number.
  if (!/^(0|[1-9]\d{0,14})$/.test(text)) throw detail(400, `Give ${name} as a number of bytes`)
  return Number(text)
}
