/** TimeStampReq (RFC 3161, section 2.4.1). */
import { randomBytes } from 'node:crypto'
import { Integer, Null, OctetString } from 'asn1js'
import { AlgorithmIdentifier, MessageImprint, TimeStampReq } from 'pkijs'

const SHA_512 = '2.16.840.1.101.3.4.2.3'
const NONCE_BYTES = 8

export interface TimestampRequest {
  readonly der: Uint8Array
  /** 64 random bits, in hex as `VerifiedToken` has it. */
  readonly nonce: string
}

/** Asks for a timestamp with the authority's certificates. @param imprint SHA-512 digest, 64 bytes */
export function makeRequest(imprint: Uint8Array): TimestampRequest {
  const nonce = randomBytes(NONCE_BYTES).readBigUInt64BE()
  const request = new TimeStampReq({
    version: 1,
    messageImprint: new MessageImprint({
      hashAlgorithm: new AlgorithmIdentifier({
        algorithmId: SHA_512,
        algorithmParams: new Null(),
      }),
      hashedMessage: new OctetString({ valueHex: Uint8Array.from(imprint).buffer }),
    }),
    nonce: Integer.fromBigInt(nonce),
    certReq: true,
  })
  const hex = nonce.toString(16)
  return {
    der: new Uint8Array(request.toSchema().toBER()),
    nonce: hex.padStart(hex.length + (hex.length % 2), '0'),
  }
}
