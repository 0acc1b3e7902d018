import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { HashRepository } from '../domain/hash-repository.js'
import type { SecureHash } from '../domain/models.js'
import { parseUuid } from '../domain/uuid.js'

/** Bytes of the UUID before the one that carries the variant; they are random. */
const RANDOM_BYTES = 8

/**
 * A hash repository for installations without a third party: nothing leaves the process, and links
 * can be verified until it ends.
 *
 * A link is a version 8 UUID (RFC 9562, section 5.8) of 60 random bits and 62 bits of an
 * HMAC-SHA-256 over these and the hash, under a key made here. So links need not be remembered.
 */
export function createInMemoryHashRepository(): HashRepository {
  const key = randomBytes(32)

  function complete(random: Uint8Array, secureHash: SecureHash): Buffer {
    const mac = createHmac('sha256', key).update(random).update(secureHash).digest()
    const link = Buffer.concat([random, mac.subarray(0, 16 - RANDOM_BYTES)])
    link.writeUInt8((link.readUInt8(8) & 0x3f) | 0x80, 8)
    return link
  }

  /** Other spellings of a UUID are not the link that was given. */
  const recognizes = (link: string): boolean => parseUuid(link) === link

  function given(link: string, secureHash: SecureHash): boolean {
    if (!recognizes(link)) return false
    const bytes = Buffer.from(link.replaceAll('-', ''), 'hex')
    return timingSafeEqual(bytes, complete(bytes.subarray(0, RANDOM_BYTES), secureHash))
  }

  return {
    thirdParty: false,
    signingProviderUrl: null,
    recognizes,

    async store(secureHash) {
      const random = randomBytes(RANDOM_BYTES)
      random.writeUInt8((random.readUInt8(6) & 0x0f) | 0x80, 6)
      const hex = complete(random, secureHash).toString('hex')
      return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
    },

    async verify(link, secureHash) {
      const passed = given(link, secureHash)
      const detail = passed
        ? 'given for this hash by this process, which proves nothing to an outsider'
        : 'not given for this hash since this process has started'
      // An earlier process may have given it: nobody knows.
      return [{ name: 'retrieval_link', passed: passed || null, detail }]
    },
  }
}
