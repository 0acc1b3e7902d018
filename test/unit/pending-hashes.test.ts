import { pendingHashesContract } from '../contracts/pending-hashes.contract.js'
import { memoryPendingHashes } from '../support/pending-hashes.js'

pendingHashesContract('memory', async () => {
  let clock = 0
  const pending = memoryPendingHashes(() => clock)
  return {
    pending,
    rival: pending,
    insert: async (secureHash) => pending.add(secureHash),
    remove: async (id) => pending.delete(id),
    pass: async (ms) => {
      clock += ms
    },
    fileOf: async (id) => {
      const { link, signingProviderUrl } = pending.files.get(id) ?? {
        link: null,
        signingProviderUrl: null,
      }
      return { link, signingProviderUrl }
    },
  }
})
