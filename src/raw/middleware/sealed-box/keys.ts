import { createHash } from 'node:crypto'
import nacl from 'tweetnacl'
import { type KeyPair, type PublicKey, seal } from './box.js'
import { privateKeyFrom, publicBytesOf, publicKeyFrom } from './x25519.js'

/** Raw keys of 32 bytes. */
export interface RawKeys {
  /** File keys of new blobs are sealed to it. */
  readonly publicKey?: Uint8Array | undefined
  /** That of `publicKey`. */
  readonly privateKey?: Uint8Array | undefined
  /** For blobs whose keys were sealed to other public keys, in any order. */
  readonly oldPrivateKeys?: readonly Uint8Array[] | undefined
}

/** The keys of a service. */
export interface KeyRing {
  /** Undefined when nothing can be sealed. */
  readonly current: PublicKey | undefined
  /** The pair whose public key has this id, if its private key is here. */
  pairOf(keyId: string): KeyPair | undefined
  /** Ids of all pairs whose private key is here, that of `current` first. */
  readonly keyIds: readonly string[]
}

/**
 * Tells a public key, and so a pair.
 * @param publicKey 32 bytes
 * @returns the first 16 hex digits of its SHA-256, in lower case
 */
export function keyIdOf(publicKey: Uint8Array): string {
  return createHash('sha256').update(publicKey).digest('hex').slice(0, 16)
}

/** A new pair of raw keys, as libsodium's `crypto_box_keypair` makes them. The caller wipes the private one. */
export function generateKeyPair(): { publicKey: Uint8Array; privateKey: Uint8Array } {
  const { publicKey, secretKey } = nacl.box.keyPair()
  return { publicKey, privateKey: secretKey }
}

/** True when both raw keys are a pair. */
export function isPair(publicKey: Uint8Array, privateKey: Uint8Array): boolean {
  return publicBytesOf(privateKeyFrom(privateKey)).equals(publicKey)
}

/**
 * Takes over the raw keys: the private ones are zero when it returns or throws. From then on OpenSSL
 * keeps them for as long as the ring lives, and no buffer of ours does.
 * @throws Error that says which key is wrong and why, by its key id
 */
export function createKeyRing(keys: RawKeys): KeyRing {
  const { publicKey, privateKey, oldPrivateKeys = [] } = keys
  const privateKeys = privateKey ? [privateKey, ...oldPrivateKeys] : oldPrivateKeys
  try {
    const current = publicKey && publicKeyOf(publicKey)
    if (current) expectUsable(current)
    if (current && privateKey && !isPair(current.bytes, privateKey)) {
      const { publicKey: its } = pairOf(privateKey)
      throw new Error(
        `the private key belongs to the public key ${its.id}, and not to the public key ${current.id}`,
      )
    }
    const pairs = new Map(privateKeys.map(pairOf).map((pair) => [pair.publicKey.id, pair]))
    return { current, pairOf: (keyId) => pairs.get(keyId), keyIds: [...pairs.keys()] }
  } finally {
    for (const key of privateKeys) key.fill(0)
  }
}

function publicKeyOf(bytes: Uint8Array): PublicKey {
  return { id: keyIdOf(bytes), bytes: Buffer.from(bytes), key: publicKeyFrom(bytes) }
}

function pairOf(bytes: Uint8Array): KeyPair {
  const privateKey = privateKeyFrom(bytes)
  return { privateKey, publicKey: publicKeyOf(publicBytesOf(privateKey)) }
}

function expectUsable(publicKey: PublicKey): void {
  try {
    seal(new Uint8Array(0), publicKey)
  } catch (cause) {
    throw new Error(`the public key ${publicKey.id} is none: nothing can be sealed to it`, {
      cause,
    })
  }
}
