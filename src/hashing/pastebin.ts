import { BytesError } from '../domain/errors.js'
import type { HashRepository } from '../domain/hash-repository.js'

/** Pastebin as a hash repository: each secure hash is a paste. */
export function createPastebinRepository(options: {
  /** Developer key. */
  readonly key: string
  /** Where Pastebin is, such as `https://pastebin.com`. */
  readonly baseUrl: string
  /** For a whole exchange, in milliseconds. */
  readonly timeoutMs: number
}): HashRepository {
  const { origin } = new URL(options.baseUrl)
  return {
    thirdParty: true,
    signingProviderUrl: origin,
    recognizes: (link) => link.startsWith(`${origin}/`),
    store: () => Promise.reject(new BytesError('hash_repository_failed', 'Pastebin: no answer')),
    verify: async () => [{ name: 'retrieval_link', passed: null, detail: 'not looked at' }],
  }
}
