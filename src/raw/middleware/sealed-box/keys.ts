import { createHash } from 'node:crypto'
import nacl from 'tweetnacl'

/** An X25519 key pair, 32 bytes each. */
export interface KeyPair {
  readonly publicKey: Uint8Array
  readonly secretKey: Uint8Array
}

/** What a public key is called: the first 16 hex digits of its SHA-256. */
export function keyIdOf(publicKey: Uint8Array): string {
  return createHash('sha256').update(publicKey).digest('hex').slice(0, 16)
}

/** A new random pair. */
export function generateKeyPair(): KeyPair {
  return nacl.box.keyPair()
}

/** The public key that new file keys are sealed to, and the pairs that open sealed ones, by id. */
export class KeyRing {
  readonly publicKey: Uint8Array | undefined
  /** Id of `publicKey`. */
  readonly currentKeyId: string | undefined
  readonly #pairs: ReadonlyMap<string, KeyPair>

  /** @param secretKeys in any order, the current one among them or not */
  constructor(publicKey: Uint8Array | undefined, secretKeys: readonly Uint8Array[]) {
    this.publicKey = publicKey
    this.currentKeyId = publicKey && keyIdOf(publicKey)
    this.#pairs = new Map(
      secretKeys.map((secretKey) => {
        const pair = nacl.box.keyPair.fromSecretKey(secretKey)
        return [keyIdOf(pair.publicKey), pair]
      }),
    )
  }

  /** Ids of the keys whose private key is here. */
  get keyIds(): string[] {
    return [...this.#pairs.keys()]
  }

  /** The pair with this id, if its private key is here. */
  find(keyId: string): KeyPair | undefined {
    return this.#pairs.get(keyId)
  }
}
